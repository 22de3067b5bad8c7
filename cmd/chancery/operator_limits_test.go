package main

import (
	"strings"
	"testing"
	"time"

	"chancery/admin"
	"chancery/cmd/chancery/catest"
)

// TestLimitsCommands: lego fails for a name until its account is paused, is
// told what to do, and that command lets it pass.
func TestLimitsCommands(t *testing.T) {
	c := catest.Start(t, catest.Set("limits.enabled=true", "limits.pause_after=3", "limits.pause_over=0s", "limits.failed_validations_per_name=10/1h"))
	c.Net.Point("good.example", "127.0.0.1")
	client := c.Client(catest.HTTP)
	client.Obtain("good.example")
	at := []string{"--dir", c.Dir, "--set", "admin.listen=" + strings.TrimPrefix(c.AdminURL, "http://")}
	run := func(args ...string) string { t.Helper(); return want(t, append(args, at...)...) }
	account := lines[admin.Account](t, run("account", "list", "--json"))[0].ID

	show := func() admin.AccountLimits {
		t.Helper()
		return lines[admin.AccountLimits](t, run("limits", "show", "--account", account, "--json"))[0]
	}
	if l := show(); !l.Enabled || len(l.Failing) != 0 || len(l.Limits) != 2 || l.Limits[0].Left != 4999 {
		t.Errorf("%+v", l)
	}
	if text := run("limits", "show", "--account", account); !strings.Contains(text, "No name fails.") || !strings.Contains(text, "new_orders_per_account") {
		t.Errorf("limits show:\n%s", text)
	}
	wantFail(t, "not paused", append([]string{"account", "unpause", account}, at...)...)
	wantFail(t, "no such", append([]string{"account", "unpause", "AZmqAAAAAAAAAAAAAAAAAA"}, at...)...)
	wantFail(t, "account", append([]string{"limits", "show"}, at...)...)

	c.Net.Fail("bad.example", 3) // NXDOMAIN
	for range 3 {
		if _, err := client.TryObtain("bad.example"); err == nil || strings.Contains(err.Error(), "paused") {
			t.Fatalf("got %v, want a failed validation", err)
		}
	}
	_, err := client.TryObtain("bad.example")
	command := "chancery account unpause " + account + " --name bad.example"
	if err == nil || !strings.Contains(err.Error(), "rateLimited") || !strings.Contains(err.Error(), command) {
		t.Fatalf("got %v, want to be told: %s", err, command)
	}
	client.Obtain("good.example") // other names go on
	if l := show(); len(l.Failing) != 1 || l.Failing[0].Failures != 3 || time.Since(l.Failing[0].PausedAt) > time.Minute {
		t.Errorf("%+v", l.Failing)
	}
	if text := run("limits", "show", "--account", account); !strings.Contains(text, "bad.example") || !strings.Contains(text, "chancery account unpause "+account) {
		t.Errorf("limits show:\n%s", text)
	}
	if text := run(strings.Fields(command)[1:]...); text != account+" may try again: bad.example.\n" {
		t.Errorf("unpause: %s", text)
	}
	c.Net.Point("bad.example", "127.0.0.1")
	if _, err := client.TryObtain("bad.example"); err != nil && strings.Contains(err.Error(), "paused") {
		t.Errorf("still paused: %v", err)
	}
}

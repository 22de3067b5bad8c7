package main

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"chancery/admin"
	"chancery/cmd/chancery/catest"
)

// TestOrderWhy tells two orders of a real CA: one that was issued and revoked,
// and one that was refused.
func TestOrderWhy(t *testing.T) {
	c := catest.Start(t)
	client := c.Client(catest.HTTP)
	cert := client.Obtain("good.example")
	client.Revoke(cert, 4)
	c.Net.Fail("bad.example", dns.RcodeServerFailure)
	if _, err := client.TryObtain("bad.example"); err == nil {
		t.Fatal("a name that does not resolve was certified")
	}
	at := []string{"--dir", c.Dir, "--set", "admin.listen=" + strings.TrimPrefix(c.AdminURL, "http://")}
	run := func(args ...string) string { t.Helper(); return want(t, append(args, at...)...) }
	orders := lines[admin.Order](t, run("order", "list", "--json"))
	if len(orders) != 2 {
		t.Fatalf("%d orders", len(orders))
	}
	bad, good := run("order", "why", orders[0].ID), run("order", "why", orders[1].ID)
	inOrder(t, good, " is valid.", "ordered a certificate (profile server) for good.example", "The client said that its answer to http-01 was in place",
		"http: GET http://good.example:", "200 OK", "Control was proven", "sent its CSR", "Certificate "+orders[1].Certificate+" was issued", "It is revoked.", "It was revoked (superseded).")
	inOrder(t, bad, " is invalid.", "for bad.example", "Chancery looked:", "dns: ", "So control was not proven:", "    dns: ", "make a new order")
	wantFail(t, "order", append([]string{"order", "why", "AaIBD7p8eheVY2NH_-g4zw"}, at...)...)
}

// inOrder wants the parts in the text, one behind the other.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("%q is not there, or not in its place:\n%s", part, text)
			return
		}
		rest = after
	}
}

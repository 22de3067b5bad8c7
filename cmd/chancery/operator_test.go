package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/admin"
	"chancery/cmd/chancery/app"
	"chancery/cmd/chancery/catest"
)

// operator runs one command as the program does and returns its output.
func operator(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(""))
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func want(t *testing.T, args ...string) string {
	t.Helper()
	out, _, err := operator(t, args...)
	if err != nil {
		t.Fatalf("chancery %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func wantFail(t *testing.T, why string, args ...string) {
	t.Helper()
	out, _, err := operator(t, args...)
	if err == nil || !strings.Contains(err.Error(), why) || out != "" {
		t.Errorf("chancery %s: output %q, error %v; want an error with %q", strings.Join(args, " "), out, err, why)
	}
}

func lines[T any](t *testing.T, text string) []T {
	t.Helper()
	var out []T
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil || !strings.HasSuffix(line, "}\n") {
			t.Fatalf("%v in line %q", err, line)
		}
		out = append(out, v)
	}
	return out
}

// TestOperatorOverTheListener walks the commands against a running Chancery
// with certificates that lego obtained.
func TestOperatorOverTheListener(t *testing.T) {
	c := catest.Start(t)
	c.Net.Point("a.example", "127.0.0.1")
	c.Net.Point("b.example", "127.0.0.1")
	client := c.Client(catest.HTTP)
	first := client.Obtain("a.example")
	second := client.Obtain("a.example", "b.example")
	at := []string{"--dir", c.Dir, "--set", "admin.listen=" + strings.TrimPrefix(c.AdminURL, "http://")}
	run := func(args ...string) string { t.Helper(); return want(t, append(args, at...)...) }

	list := lines[admin.Certificate](t, run("cert", "list", "--name", "a.example", "--json"))
	if len(list) != 2 || list[0].Serial != fmt.Sprintf("%032x", second.Leaf.SerialNumber) || list[1].Serial != fmt.Sprintf("%032x", first.Leaf.SerialNumber) {
		t.Fatalf("cert list: %+v", list)
	}
	got := list[0]
	if all := lines[admin.Certificate](t, run("cert", "list", "--json")); len(all) != 3 { // and Chancery's own
		t.Errorf("%d certificates in all", len(all))
	}
	if one := lines[admin.Certificate](t, run("cert", "list", "--json", "--limit", "1")); len(one) != 1 || one[0].Serial != got.Serial {
		t.Errorf("--limit 1: %+v", one)
	}
	if text := run("cert", "list", "--expiring", "1d"); strings.Contains(text, got.Serial) {
		t.Errorf("certificates of 90 days expire within one:\n%s", text)
	}
	if text := run("cert", "list", "--expiring", "52w", "--account", got.Account); strings.Count(text, "valid") != 2 {
		t.Errorf("within a year:\n%s", text)
	}
	if text := run("cert", "list", "--limit", "0"); !strings.Contains(text, "SERIAL") || !strings.Contains(text, "a.example b.example") {
		t.Errorf("as a table:\n%s", text)
	}

	file := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, []byte(run("cert", "show", strings.ToUpper(got.Serial), "--pem")), 0o600); err != nil {
		t.Fatal(err)
	}
	c.WantChain([]byte(run("cert", "show", "--file", file, "--pem")), "a.example", "b.example")
	if text := run("cert", "show", got.Serial); !strings.Contains(text, "Names:         a.example b.example\n") || !strings.Contains(text, "Status:        valid\n") || !strings.Contains(text, "Key:           RSA 2048\n") {
		t.Errorf("cert show:\n%s", text)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.pem")
	writeForeign(t, foreign, second.Leaf.SerialNumber)
	wantFail(t, "but is another one", append([]string{"cert", "revoke", "--file", foreign}, at...)...)
	writeForeign(t, foreign, big.NewInt(1))
	wantFail(t, "which Chancery never gave", append([]string{"cert", "revoke", "--file", foreign}, at...)...)
	if text := run("cert", "revoke", "--file", file, "--reason", "superseded"); !strings.Contains(text, got.Serial+" is revoked since ") {
		t.Errorf("cert revoke: %s", text)
	}
	c.WantRevoked(second.Leaf, 4)
	wantFail(t, "revoked already", append([]string{"cert", "revoke", got.Serial}, at...)...)
	wantFail(t, "can't be given", append([]string{"cert", "revoke", list[1].Serial, "--reason", "certificateHold"}, at...)...)
	if list := lines[admin.Certificate](t, run("cert", "list", "--json", "--status", "revoked")); len(list) != 1 || list[0].Reason != "superseded" || list[0].RevokedAt.IsZero() {
		t.Errorf("revoked are %+v", list)
	}

	order := lines[admin.OrderDetail](t, run("order", "show", got.Order, "--json"))[0]
	if order.Certificate != got.Serial || len(order.Authorizations) != 2 || order.Account != got.Account {
		t.Errorf("order show: %+v", order)
	}
	if text := run("order", "show", got.Order); !strings.Contains(text, "  Evidence:    http-01 for ") || !strings.Contains(text, ".well-known/acme-challenge/") {
		t.Errorf("order show:\n%s", text)
	}
	if orders := lines[admin.Order](t, run("order", "list", "--account", got.Account, "--json")); len(orders) != 2 || orders[0].ID != got.Order {
		t.Errorf("order list: %+v", orders)
	}

	if accounts := lines[admin.Account](t, run("account", "list", "--json")); len(accounts) != 1 || accounts[0].ID != got.Account || accounts[0].Status != "valid" {
		t.Errorf("account list: %+v", accounts)
	}
	if text := run("account", "deactivate", got.Account); text != got.Account+" is revoked.\n" {
		t.Errorf("account deactivate: %s", text)
	}
	if text := run("account", "show", got.Account); !strings.Contains(text, "Status:        revoked\n") {
		t.Errorf("account show:\n%s", text)
	}
	if _, err := client.TryObtain("a.example"); err == nil {
		t.Error("a revoked account obtained a certificate")
	}
	for action, object := range map[string]string{"certificate.revoke": got.Serial, "account.revoke": got.Account} {
		trail := lines[admin.Event](t, run("audit", "list", "--json", "--object", object, "--since", "1h"))
		if len(trail) == 0 || trail[0].Actor.Kind != "operator" || !strings.HasPrefix(trail[0].Actor.ID, "token:") || trail[0].Actor.Addr != "127.0.0.1" {
			t.Errorf("audit of %s: %+v", action, trail)
		}
	}
	c.Check()
}

// TestOperatorMistakes: each is answered with what is wrong, on nothing but
// standard error.
func TestOperatorMistakes(t *testing.T) {
	c := catest.Start(t)
	at := []string{"--dir", c.Dir, "--set", "admin.listen=" + strings.TrimPrefix(c.AdminURL, "http://")}
	for _, try := range []struct {
		why  string
		args []string
	}{
		{"no such object", []string{"cert", "show", "0199aa00bb11cc22dd33ee44ff556677"}},
		{"serial number", []string{"cert", "show", "xyz"}},
		{"name one certificate", []string{"cert", "show"}},
		{"name one certificate", []string{"cert", "revoke", "0199aa00bb11cc22dd33ee44ff556677", "--file", "x.pem"}},
		{"no such file", []string{"cert", "revoke", "--file", filepath.Join(c.Dir, "none.pem")}},
		{"no certificate in PEM", []string{"cert", "show", "--file", filepath.Join(c.Dir, "passphrase")}},
		{"no such object", []string{"cert", "show", "--file", c.RootPEM}},
		{"no such object", []string{"account", "show", "AZmqAAAAAAAAAAAAAAAAAA"}},
		{"nothing at this path", []string{"account", "show", "../certificates"}},
		{"nothing at this path", []string{"order", "show", "x/../y?z#"}},
		{"no ID", []string{"order", "list", "--account", "bob"}},
		{"one of valid, revoked", []string{"cert", "list", "--status", "alive"}},
		{"no length of time", []string{"cert", "list", "--expiring", "soon"}},
		{"no length of time", []string{"eab", "create", "--expires", "-5d"}},
		{"can't be printed", []string{"eab", "create", "--label", "a\nb"}},
		{"expired already", []string{"eab", "create", "--expires", "2001-01-01T00:00:00Z"}},
	} {
		wantFail(t, try.why, append(try.args, at...)...)
	}
}

// writeForeign writes another CA's certificate with a serial number of ours.
func writeForeign(t *testing.T, path string, serial *big.Int) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOperatorInProcess: what nobody serves is opened here, so that keys for
// accounts can be made before the first start.
func TestOperatorInProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := app.Init(t.Context(), app.InitSpec{Dir: dir, Name: "Test"}); err != nil {
		t.Fatal(err)
	}
	at := []string{"--dir", dir, "--set", fmt.Sprintf("admin.listen=127.0.0.1:%d", catest.FreePort(t))}
	run := func(args ...string) string { t.Helper(); return want(t, append(args, at...)...) }
	key := lines[admin.NewExternalKey](t, run("eab", "create", "--label", "team a", "--expires", "30d", "--json"))[0]
	if len(key.Secret) != 43 || key.Label != "team a" || time.Until(key.ExpiresAt) < 29*24*time.Hour {
		t.Errorf("eab create: %+v", key)
	}
	if text := run("eab", "create", "--reusable"); !strings.Contains(text, "--eab-kid ") || !strings.Contains(text, "any number of accounts") {
		t.Errorf("eab create:\n%s", text)
	}
	text := run("eab", "list")
	if !strings.Contains(text, key.ID) || strings.Contains(text, key.Secret) {
		t.Errorf("eab list:\n%s", text)
	}
	if text := run("eab", "revoke", key.ID); text != key.ID+" is revoked.\n" {
		t.Errorf("eab revoke: %s", text)
	}
	keys := lines[admin.ExternalKey](t, run("eab", "list", "--json"))
	if len(keys) != 2 || keys[1].ID != key.ID || keys[1].Status != "revoked" {
		t.Errorf("eab list: %+v", keys)
	}
	if trail := lines[admin.Event](t, run("audit", "list", "--json", "--object", key.ID)); len(trail) != 2 || trail[0].Actor.Addr != "" {
		t.Errorf("audit: %+v", trail)
	}
	wantFail(t, "serial number", append([]string{"cert", "show", "xyz"}, at...)...)
	wantFail(t, "no such object", append([]string{"cert", "show", "0199aa00bb11cc22dd33ee44ff556677"}, at...)...)
}

// TestOperatorGivesNoTokenToStrangers: while Chancery is down, anybody on the
// machine can listen in its place.
func TestOperatorGivesNoTokenToStrangers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := app.Init(t.Context(), app.InitSpec{Dir: dir, Name: "Test"}); err != nil {
		t.Fatal(err)
	}
	token, err := admin.ReadToken(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, fmt.Sprint(r.URL, r.Header))
		_, _ = fmt.Fprintf(w, `{"proof":%q,"items":[]}`, admin.Proof("what strangers know", r.URL.Query().Get("nonce")))
	}))
	defer stranger.Close()
	wantFail(t, "does not know the token", "cert", "list", "--dir", dir, "--set", "admin.listen="+stranger.Listener.Addr().String())
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || strings.Contains(asked[0], token) || strings.Contains(asked[0], "Authorization") {
		t.Errorf("the stranger was told %q", asked)
	}
}

// TestOperatorIsNotSentElsewhere: neither redirects nor proxies get the token.
func TestOperatorIsNotSentElsewhere(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was sent elsewhere", r.URL)
	}))
	defer elsewhere.Close()
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	d := remoteDoor(here.URL, "token")
	defer d.close() //nolint:errcheck // never fails
	if err := d.get(t.Context(), "/certificates", nil, &struct{}{}); err == nil || !strings.Contains(err.Error(), "status 307") {
		t.Errorf("error %v", err)
	}
}

// TestOperatorSilentListener: what takes the connection and says nothing does
// not hold the command for ever.
func TestOperatorSilentListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // end of the test
	d := remoteDoor("http://"+l.Addr().String(), "token")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.identify(ctx); err == nil {
		t.Error("silence was taken for a proof")
	}
	if d.http.Timeout != requestTime {
		t.Errorf("the client waits %s", d.http.Timeout)
	}
}

func TestNormalSerial(t *testing.T) {
	const good = "0199aa00bb11cc22dd33ee44ff556677"
	for in, out := range map[string]string{
		good: good, strings.ToUpper(good): good, "199AA00BB11CC22DD33EE44FF556677": good, "0x" + good: good, " " + good + "\n": good,
		"01:99:AA:00:BB:11:CC:22:DD:33:EE:44:FF:55:66:77": good,
	} {
		if got, err := normalSerial(in); err != nil || got != out {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "0", "xyz", good + "00", "ff" + good[2:], "-1", "../" + good[3:]} {
		if got, err := normalSerial(in); err == nil {
			t.Errorf("%q is %q", in, got)
		}
	}
}

func FuzzNormalSerial(f *testing.F) {
	f.Add("0x0199AA00BB11CC22DD33EE44FF556677")
	f.Add("01:99:aa")
	f.Fuzz(func(t *testing.T, in string) {
		out, err := normalSerial(in)
		if err != nil {
			return
		}
		if again, err := normalSerial(out); err != nil || again != out || len(out) != 32 {
			t.Errorf("%q is %q, and that is %q (%v)", in, out, again, err)
		}
	})
}

func TestSpans(t *testing.T) {
	day := 24 * time.Hour
	for in, out := range map[string]time.Duration{"30d": 30 * day, "2w": 14 * day, "36h": 36 * time.Hour, "0d": 0, "90m": 90 * time.Minute} {
		if got, err := parseSpan(in); err != nil || got != out {
			t.Errorf("%q is %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "d", "30", "-1d", "1.5d", "-3h", "99999999999d", "10001w", "1d2h", "soon"} {
		if got, err := parseSpan(in); err == nil {
			t.Errorf("%q is %s", in, got)
		}
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	if got, err := moment("1d", now, -1); err != nil || !got.Equal(now.Add(-day)) {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := moment("2026-11-22T12:00:00+02:00", now, 1); err != nil || !got.Equal(now) {
		t.Errorf("%s, %v", got, err)
	}
}

// TestPrintable: what others chose can't move the cursor or forge a line.
func TestPrintable(t *testing.T) {
	for in, out := range map[string]string{
		"team = ü": "team = ü", "a\nb": "a?b", "\x1b[2J": "?[2J", "a\u202eb": "a?b", "\u009b1m": "?1m", "\xff": "�",
	} {
		if got := printable(in); got != out {
			t.Errorf("%q is %q, want %q", in, got, out)
		}
	}
	var out strings.Builder
	s := sheet{w: &out}
	s.fact("Label", "x\nStatus: valid")
	s.fact("Nothing", "")
	if out.String() != "Label:         x?Status: valid\n" {
		t.Errorf("%q", out.String())
	}
}

// TestEach: limits and cursors, against a listing of 2,500.
func TestEach(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var from, limit int
		_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &from)
		_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
		page := admin.Page[int]{Items: []int{}}
		for i := from; i < min(from+limit, 2500); i++ {
			page.Items = append(page.Items, i)
		}
		if len(page.Items) == limit {
			page.Next = fmt.Sprint(from + limit)
		}
		_ = json.NewEncoder(w).Encode(page)
	}))
	defer server.Close()
	d := remoteDoor(server.URL, "token")
	for limit, want := range map[int]struct {
		n    int
		more bool
	}{0: {2500, false}, 1: {1, true}, 999: {999, true}, 1000: {1000, true}, 1001: {1001, true}, 2499: {2499, true}, 2501: {2500, false}, 9999: {2500, false}} {
		n := 0
		more, err := d.each(t.Context(), "/numbers", nil, limit, func(item json.RawMessage) error {
			if string(item) != fmt.Sprint(n) {
				t.Fatalf("item %d is %s", n, item)
			}
			n++
			return nil
		})
		if err != nil || n != want.n || more != want.more {
			t.Errorf("limit %d: %d items, more %v, %v", limit, n, more, err)
		}
	}
}

// TestConfirm: a script is taken at its word, a person is asked.
func TestConfirm(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // only read from
	if terminal(null) || terminal(strings.NewReader("")) {
		t.Error("nobody is there, and is asked")
	}
}

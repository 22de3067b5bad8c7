package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/admin"
	"chancery/ca"
)

// Public incidents of other CAs whose defence is the operator's door;
// docs/safety.md has them all.

// verbs are the requests that change something, each with a body that does.
func (w *world) verbs(serial, account, key string) map[string]string {
	return map[string]string{
		"/api/v1/certificates/" + serial + "/revoke":                    `{"reason":"superseded"}`,
		"/api/v1/accounts/" + account + "/unpause":                      `{"name":"a.example"}`,
		"/api/v1/accounts/" + account + "/deactivate":                   `{}`,
		"/api/v1/external-keys":                                         `{"label":"x"}`,
		"/api/v1/external-keys/" + key + "/revoke":                      `{}`,
		"/api/v1/blocked-keys":                                          `{"spki":"` + strings.Repeat("5a", 32) + `"}`,
		"/api/v1/blocked-keys/" + strings.Repeat("5a", 32) + "/unblock": `{}`,
	}
}

func (w *world) changes() (serial, account, key string) {
	w.t.Helper()
	c := w.register()
	serial = w.obtain(c, "a.example").Certificate.String()
	made, _, err := w.service.CreateExternalKey(w.t.Context(), ca.System("test"), acme.NewExternalKey{Label: "x"})
	must(w.t, err)
	return serial, c.Account.ID, made.ID
}

// TestIncident_I23: a destination was a hidden field of a form. Each verb with
// each fact that is ours to know, sent along: refused whole, nothing changed.
func TestIncident_I23(t *testing.T) {
	w := newWorld(t)
	serial, account, key := w.changes()
	before := len(get[events](w, "/api/v1/audit?limit=1000").Items)
	for path, body := range w.verbs(serial, account, key) {
		for _, field := range []string{"serial", "account", "actor", "by", "operator", "at", "revoked_at", "status", "id", "secret", "uses", "email", "source", "names", "Reason", "REASON", "constructor"} {
			more := strings.Replace(body, "{", fmt.Sprintf(`{%q:"x",`, field), 1)
			w.call(400, "POST", path, strings.Replace(more, ",}", "}", 1))
		}
	}
	if after := len(get[events](w, "/api/v1/audit?limit=1000").Items); after != before {
		t.Errorf("%d audit events after, %d before", after, before)
	}
}

// TestIncident_I26: the people who ran CAs made "test" certificates on them.
// Whatever an operator calls, no certificate comes of it, nor an order.
func TestIncident_I26(t *testing.T) {
	w := newWorld(t)
	serial, account, key := w.changes()
	for path, body := range w.verbs(serial, account, key) {
		r := w.raw(http.MethodPost, path, body, token)
		if r >= 500 {
			t.Errorf("POST %s: %d", path, r)
		}
		for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if r := w.raw(method, path, `{"names":["test.example"]}`, token); r != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, r)
			}
		}
	}
	for _, path := range []string{"certificates", "orders", "certificates/issue", "issue", "sign", "orders/AZmqAAAAAAAAAAAAAAAAAA/issue"} {
		if r := w.raw(http.MethodPost, "/api/v1/"+path, `{"names":["test.example"]}`, token); r != http.StatusNotFound && r != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, r)
		}
	}
	if n := len(get[certificates](w, "/api/v1/certificates").Items); n != 1 {
		t.Errorf("%d certificates", n)
	}
	if n := len(get[orders](w, "/api/v1/orders").Items); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// raw is the status of a request with this token.
func (w *world) raw(method, path, body, with string) int {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	must(w.t, err)
	if with != "" {
		r.Header.Set("Authorization", "Bearer "+with)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(admin.OperatorHeader, "root")
	res, err := w.server.Client().Do(r)
	must(w.t, err)
	must(w.t, res.Body.Close())
	return res.StatusCode
}

// TestIncident_I88: a role could do what was not its own. There are no roles:
// with the token all of it, without it nothing, and who the caller says to be
// changes what the audit shows, never what they may.
func TestIncident_I88(t *testing.T) {
	w := newWorld(t)
	serial, account, key := w.changes()
	before := len(get[events](w, "/api/v1/audit?limit=1000").Items)
	for path, body := range w.verbs(serial, account, key) {
		for _, wrong := range []string{"", "x", token[1:], token + "x", strings.ToLower(token), "root"} {
			if status := w.raw(http.MethodPost, path, body, wrong); status != http.StatusUnauthorized {
				t.Errorf("POST %s with the token %q: %d", path, wrong, status)
			}
		}
	}
	if after := len(get[events](w, "/api/v1/audit?limit=1000").Items); after != before {
		t.Errorf("%d audit events after, %d before", after, before)
	}
	if status := w.raw(http.MethodPost, "/api/v1/certificates/"+serial+"/revoke", `{"reason":"superseded"}`, token); status != http.StatusOK {
		t.Fatalf("with the token: %d", status)
	}
	last := get[events](w, "/api/v1/audit?action=certificate.revoke").Items[0]
	if last.Actor.Kind != string(ca.ActorOperator) || last.Actor.ID != "token:root" {
		t.Errorf("the audit shows %+v", last.Actor)
	}
}

// TestIncident_I91: a firewall cut off the validators, and users noticed
// before the CA did. The share of validations that succeed can be read off the
// metrics, by what the alert rule of docs/safety.md divides.
func TestIncident_I91(t *testing.T) {
	w := newWorld(t)
	share := func() float64 {
		valid, all := 0.0, 0.0
		for line := range strings.Lines(string(w.call(200, "GET", "/metrics", ""))) {
			if !strings.HasPrefix(line, "chancery_validations_total{") {
				continue
			}
			var n float64
			_, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n)
			must(t, err)
			all += n
			if strings.Contains(line, `outcome="valid"`) {
				valid += n
			}
		}
		return valid / all
	}
	c := w.register()
	for i := range 20 {
		w.order(c, fmt.Sprintf("good%d.example", i))
	}
	if got := share(); got != 1 {
		t.Errorf("the share is %v when all succeed", got)
	}
	w.refuse.Store(true)
	for i := range 20 {
		w.order(c, fmt.Sprintf("bad%d.example", i))
	}
	if got := share(); got != 0.5 {
		t.Errorf("the share is %v when half of them fail", got)
	}
}

// TestIncident_I93: a helper of the database was gone, and the failing health
// checks had every replica killed. Without its store the process is alive, not
// ready, and answers; with it, it is ready again by itself.
func TestIncident_I93(t *testing.T) {
	w := newWorld(t)
	w.publish()
	if status := w.raw(http.MethodGet, "/readyz", "", ""); status != http.StatusOK {
		t.Fatalf("at first: %d", status)
	}
	must(t, w.db.Close())
	w.advance(2 * time.Second)
	for range 20 {
		if status := w.raw(http.MethodGet, "/healthz", "", ""); status != http.StatusOK {
			t.Errorf("without its store, /healthz says %d", status)
		}
		if status := w.raw(http.MethodGet, "/readyz", "", ""); status != http.StatusServiceUnavailable {
			t.Errorf("without its store, /readyz says %d", status)
		}
		if status := w.raw(http.MethodGet, "/api/v1/certificates", "", token); status < 500 {
			t.Errorf("without its store, a listing says %d", status)
		}
		if status := w.raw(http.MethodGet, "/metrics", "", ""); status != http.StatusOK {
			t.Errorf("without its store, /metrics says %d", status)
		}
		w.advance(2 * time.Second)
	}
}

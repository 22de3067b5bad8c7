package api_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"chancery/acme/api"
)

// Public incidents of other CAs whose defence is the door's; docs/safety.md
// has them all.

// sample fills the path of a row.
func sample(path string) string {
	for variable, value := range map[string]string{
		"account": "AZAAAAAAcAAAAAAAAAAAAA", "order": "AZAAAAAAcAAAAAAAAAAAAA", "authorization": "AZAAAAAAcAAAAAAAAAAAAA", "after": "AZAAAAAAcAAAAAAAAAAAAA",
		"type": "http-01", "serial": strings.Repeat("0", 31) + "1", "chain": "1", "certID": "AAAA.AAAA",
	} {
		path = strings.ReplaceAll(path, "{"+variable+"}", value)
	}
	return path
}

// TestIncident_I64: a token of one kind was taken at the doors of others,
// because the error of the one that should have refused was dropped. Each row
// of the table of routes with each way to sign: only what the row lists gets
// past the door.
func TestIncident_I64(t *testing.T) {
	w := newWorld(t)
	valid, gone, nobody := w.registered(), w.registered(), w.client()
	gone.at(gone.kid, `{"status":"deactivated"}`).want(t, "deactivation", 200, "")
	invented := w.client()
	invented.kid = base + "/acme/account/AZAAAAAAcAAAAAAAAAAAAA"
	stolen := w.client() // another's URL, its own key
	stolen.kid = valid.kid
	for _, row := range api.Rows() {
		path := sample(row.Path)
		if strings.Contains(path, "{") {
			t.Fatalf("%s: %s has a variable that this test does not know", row.Name, path)
		}
		unsigned := w.send(httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}")))
		if unsigned.status < 400 {
			t.Errorf("%s: an unsigned POST is answered %d", row.Name, unsigned.status)
		}
		if !row.Open {
			w.get(http.MethodGet, path).want(t, row.Name+" by GET", 405, "malformed")
		} else if row.Key || row.Account {
			t.Errorf("%s is open to nobody and to somebody", row.Name)
		}
		if row.Method != http.MethodPost {
			continue
		}
		w.signedBy(row, path, valid, nobody)
		gone.post(path, "").want(t, row.Name+" by a deactivated account", kidStatus(row, 401), kidKind(row, "unauthorized"))
		invented.post(path, "").want(t, row.Name+" by no account", 400, kidKind(row, "accountDoesNotExist"))
		stolen.post(path, "").want(t, row.Name+" by another key", 400, "malformed")
	}
}

// signedBy tries the two right ways to sign; which of them a row wants, its
// refusals say.
func (w *world) signedBy(row api.Row, path string, account, key *client) {
	w.t.Helper()
	const wantsKey, wantsAccount = `wants the public key as "jwk"`, `wants the account's URL as "kid"`
	byAccount, byKey := account.post(path, `{"none":1}`), key.postJWK(path, `{"none":1}`)
	if refused := strings.Contains(byAccount.problem.Detail, wantsKey); refused == row.Account {
		w.t.Errorf("%s by an account: %d %s", row.Name, byAccount.status, byAccount.body)
	}
	if refused := strings.Contains(byKey.problem.Detail, wantsAccount); refused == row.Key {
		w.t.Errorf("%s by a key: %d %s", row.Name, byKey.status, byKey.body)
	}
}

func kidStatus(row api.Row, status int) int {
	if row.Account {
		return status
	}
	return 400
}

func kidKind(row api.Row, kind string) string {
	if row.Account {
		return kind
	}
	return "malformed"
}

// TestIncident_I65: a kind of message that nobody had thought of was parsed
// and not authorized. What is not listed is refused: each method, each
// algorithm, each status, each reason.
func TestIncident_I65(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	for _, row := range api.Rows() {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "SEARCH", "post", "Get", "X"} {
			if method == row.Method || method == "OPTIONS" || row.Method == "GET" && method == "HEAD" {
				continue
			}
			if a := w.get(method, sample(row.Path)); a.status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, row.Path, a.status)
			}
		}
	}
	for _, alg := range []string{"none", "HS256", "RS1", "PS256", "ES256K", "EdDSA2", "es256", "ES256 ", "ES224", "Ed448", "dir", "A128KW", "0", ""} {
		h := c.header("/acme/new-order")
		h["alg"] = alg
		if a := w.post("/acme/new-order", c.jws(h, "{"+identifiers("a.example")+"}")); a.status < 400 || a.status >= 500 {
			t.Errorf("algorithm %q: %d", alg, a.status)
		}
	}
	_, cert := c.obtain(ecKey(t), "a.example")
	for _, status := range []string{"revoked", "pending", "Deactivated", "deactivated ", "invalid", "expired", ""} {
		c.at(c.kid, fmt.Sprintf(`{"status":%q}`, status)).want(t, "status "+status, 400, "malformed")
	}
	for reason := -256; reason <= 512; reason++ {
		switch reason {
		case 0, 1, 3, 4, 5:
			continue // RFC 5280's that a subscriber may give
		}
		a := c.post("/acme/revoke-cert", fmt.Sprintf(`{"certificate":%q,"reason":%d}`, b64(cert.Raw), reason))
		a.want(t, fmt.Sprint("reason ", reason), 400, "badRevocationReason")
	}
	c.post("/acme/revoke-cert", fmt.Sprintf(`{"certificate":%q,"reason":4}`, b64(cert.Raw))).want(t, "reason 4", 200, "")
}

// TestIncident_I66: the first of an empty list was taken. Empty and null
// things in each place of each payload end in a problem of the client's, or
// are as if they were not there; never in a fault of ours.
func TestIncident_I66(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	o := c.order("a.example")
	c.fulfil(o)
	paths := []string{"/acme/new-order", "/acme/new-authz", "/acme/revoke-cert", "/acme/key-change", strings.TrimPrefix(o.Finalize, base), strings.TrimPrefix(c.kid, base), strings.TrimPrefix(o.Authorizations[0], base)}
	for _, path := range paths {
		for _, member := range []string{"identifiers", "identifier", "csr", "certificate", "reason", "contact", "status", "protected", "payload", "signature", "externalAccountBinding", "notBefore", "replaces", "profile"} {
			for _, value := range []string{"[]", "{}", "null", `""`, "[null]", "[{}]", "[[]]", "0", `[""]`} {
				if a := c.post(path, `{"`+member+`":`+value+`}`); a.status >= 500 {
					t.Errorf("%s with %s %s: %d", path, member, value, a.status)
				}
			}
		}
	}
	if log := w.log.String(); strings.Contains(log, "panic") {
		t.Error("a handler panicked")
	}
	c.at(o.url, "").want(t, "afterwards", 200, "")
}

// TestIncident_I68: a pattern without its ends let other hosts pass for the
// issuer's, and what a token pointed to was fetched. A URL that names an
// account is compared whole, and no header makes this server ask anybody.
func TestIncident_I68(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	id := strings.TrimPrefix(c.kid, base)
	asked := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the server asked") }))
	defer asked.Close()
	for _, kid := range []string{
		base + ".evil" + id, "https://ca.example.evil" + id, "https://ca.example@evil.example" + id, "https://evil.example\\@ca.example" + id, "https://user@ca.example" + id,
		"https://evil.example/?" + c.kid, "https://evil.example/#" + c.kid, "http://ca.example" + id, "HTTPS://ca.example" + id, "https://CA.example" + id,
		"https://ca.example:443" + id, "https://ca.example./" + id, base + "/" + id, base + "/acme/../acme/account" + id[strings.LastIndex(id, "/"):], c.kid + "/", c.kid + "?x", c.kid + "#", " " + c.kid, c.kid + "\n", id, strings.TrimPrefix(id, "/"),
	} {
		h := c.header("/acme/new-order")
		h["kid"] = kid
		a := w.post("/acme/new-order", c.jws(h, "{"+identifiers("a.example")+"}"))
		if a.status != 400 || a.problem.Type != "malformed" && a.problem.Type != "accountDoesNotExist" {
			t.Errorf("kid %q: %d %s", kid, a.status, a.body)
		}
	}
	for _, url := range []string{"https://ca.example.evil/acme/new-order", "https://ca.example@evil/acme/new-order", "http://ca.example/acme/new-order", base + "/acme/new-order?", base + "/acme/new-order/", base + "//acme/new-order"} {
		h := c.header("/acme/new-order")
		h["url"] = url
		w.post("/acme/new-order", c.jws(h, "{"+identifiers("a.example")+"}")).want(t, "url "+url, 401, "unauthorized")
	}
	for _, pointer := range []string{"jku", "x5u", "iss"} {
		h := c.header("/acme/new-order")
		h[pointer] = asked.URL
		w.post("/acme/new-order", c.jws(h, "{"+identifiers("a.example")+"}")) // whatever it answers
	}
}

// TestIncident_I46: a certificate was revoked for keyCompromise by whoever
// controlled its name, and its key blocked. Three ways to sign, each reason.
func TestIncident_I46(t *testing.T) {
	w := newWorld(t)
	owner, holder := w.registered(), w.registered()
	holder.obtain(ecKey(t), "a.example")
	for reason, ways := range map[int][3]int{ // by the owner, a holder of the name, the key
		0: {200, 200, 200}, 1: {200, 400, 200}, 3: {200, 200, 200}, 4: {200, 200, 200}, 5: {200, 200, 200},
		2: {400, 400, 400}, 6: {400, 400, 400}, 9: {400, 400, 400}, 10: {400, 400, 400},
	} {
		for way, want := range ways {
			key := ecKey(t)
			_, cert := owner.obtain(key, "a.example")
			payload := fmt.Sprintf(`{"certificate":%q,"reason":%d}`, b64(cert.Raw), reason)
			var a *answer
			switch way {
			case 0:
				a = owner.post("/acme/revoke-cert", payload)
			case 1:
				a = holder.post("/acme/revoke-cert", payload)
			default:
				a = (&client{w: w, key: key, alg: "ES256"}).postJWK("/acme/revoke-cert", payload)
			}
			if a.status != want || want == 400 && a.problem.Type != "badRevocationReason" {
				t.Errorf("reason %d, way %d: %d %s, want %d", reason, way, a.status, a.body, want)
			}
		}
	}
	var parsed *x509.Certificate
	_, parsed = owner.obtain(ecKey(t), "a.example")
	(&client{w: w, key: ecKey(t), alg: "ES256"}).postJWK("/acme/revoke-cert", fmt.Sprintf(`{"certificate":%q,"reason":1}`, b64(parsed.Raw))).want(t, "another key", 403, "unauthorized")
}

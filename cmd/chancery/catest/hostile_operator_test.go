package catest_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/cmd/chancery/app"
)

// token is the operator's.
func (h *hostile) token() string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.c.Dir, "admin.token"))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// operated is a request at the operator's door.
func (h *hostile) operated(method, path, body string, header http.Header) *answer {
	h.t.Helper()
	r, err := http.NewRequest(method, h.c.AdminURL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.token())
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, header)
	if host := header.Get("Host"); host != "" {
		r.Host = host
		r.Header.Del("Host")
	}
	return h.do(r)
}

// operator is row 204.
func (h *hostile) operator() {
	serial := fmt.Sprintf("%032x", h.cert.Leaf.SerialNumber)
	account := strings.TrimPrefix(h.account.kid, h.base+"/acme/account/")
	none := "AAAAAAAAAAAAAAAAAAAAAA"
	reads := []string{"/api/v1/certificates", "/api/v1/certificates/" + serial, "/api/v1/certificates/" + serial + "/chain", "/api/v1/accounts", "/api/v1/accounts/" + account, "/api/v1/orders", "/api/v1/external-keys", "/api/v1/audit"}
	changes := []string{"/api/v1/certificates/" + serial + "/revoke", "/api/v1/accounts/" + account + "/deactivate", "/api/v1/external-keys", "/api/v1/external-keys/" + none + "/revoke"}
	at := func(what, method, path, body string, header http.Header, status int) {
		h.is(204, what+" "+method+" "+path, func(t *testing.T) {
			h.with(t, func() {
				if a := h.operated(method, path, body, header); a.status != status {
					t.Errorf("%d %.300s, want %d", a.status, a.body, status)
				}
			})
		})
	}
	token := h.token()
	wrong := map[string][]string{
		"no token": nil, "an empty token": {"Bearer "}, "no scheme": {token}, "Basic": {"Basic " + token}, "one letter less": {"Bearer " + token[:len(token)-1]}, "one letter more": {"Bearer " + token + "A"}, "lower case": {"Bearer " + strings.ToLower(token)}, "two": {"Bearer " + token, "Bearer " + token}, "a space before": {"Bearer  " + token}, "null": {"Bearer null"}, "alg none": {"Bearer eyJhbGciOiJub25lIn0.e30."}, "a star": {"Bearer *"}, "a quote": {`Bearer "` + token + `"`},
	}
	for _, what := range sorted(wrong) {
		header := http.Header{"Authorization": wrong[what]}
		for _, path := range reads {
			at(what, "GET", path, "", header, 401)
		}
		for _, path := range changes {
			at(what, "POST", path, "{}", header, 401)
		}
	}
	at("the token in the query", "GET", "/api/v1/certificates?token="+token, "", http.Header{"Authorization": nil}, 401)
	at("the token as a cookie", "GET", "/api/v1/certificates", "", http.Header{"Authorization": nil, "Cookie": {"token=" + token}}, 401)
	for _, path := range append(reads, changes...) {
		for _, host := range []string{"evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:14090"} {
			at("Host "+host, "GET", path, "", http.Header{"Host": {host}}, 403)
		}
		at("Origin", "GET", path, "", http.Header{"Origin": {"https://evil.example"}}, 403)
		for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
			at("method", method, path, "", nil, 405)
		}
	}
	for _, path := range []string{
		"//api/v1/certificates", "/api//v1/certificates", "/api/v1/certificates/", "/api/v1/./certificates", "/api/v1/../v1/certificates", "/api/v1/%63ertificates", "/api%2fv1/certificates", "/api/v1/certificates%00", "/api/v1/certificates;x", "/API/v1/certificates", "/metrics/../api/v1/certificates", "/healthz/", "/api/v1/certificates/" + strings.ToUpper(serial) + "x", "/api/v1/certificates/" + serial[:31], "/debug/pprof/", "/", "/console/", "/api/v1/accounts/%27", "/api/v1/orders/..", "/api/v1/external-keys/x/revoke",
	} {
		h.is(204, "path "+path, func(t *testing.T) {
			h.with(t, func() {
				for _, auth := range []string{"", "Authorization: Bearer " + token + "\r\n"} {
					a := h.raw(h.c.AdminURL, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+auth+"\r\n")
					if a == nil || a.status != 404 && (auth != "" || a.status != 401) {
						t.Errorf("%+v, want 404", a)
					}
				}
			})
		})
	}
	h.operatorQueries(at)
	h.operatorBodies(at, changes)
	h.is(204, "nothing was done", func(t *testing.T) {
		h.with(t, func() {
			var c, a struct{ Status string }
			h.c.Operator(http.MethodGet, "/api/v1/certificates/"+serial, nil, &c)
			h.c.Operator(http.MethodGet, "/api/v1/accounts/"+account, nil, &a)
			if c.Status != "valid" || a.Status != "valid" {
				t.Errorf("the certificate is %s, the account %s", c.Status, a.Status)
			}
		})
	})
}

func (h *hostile) operatorQueries(at func(string, string, string, string, http.Header, int)) {
	for _, query := range []string{
		"certificates?limit=0", "certificates?limit=-1", "certificates?limit=1000000000", "certificates?limit=1e3", "certificates?limit=", "certificates?limit=0x10", "certificates?limit=1&limit=2", "certificates?nmae=a.example", "certificates?name=", "certificates?name=a%27%20OR%201=1--", "certificates?name=%25", "certificates?name=%7B%22$gt%22:%22%22%7D", "certificates?name[$ne]=x", "certificates?name=..", "certificates?name=a%00b",
		"certificates?account=%27--", "certificates?status=alive", "certificates?status=VALID", "certificates?cursor=0", "certificates?cursor=%0a", "certificates?serial=1", "certificates?expiring_before=tomorrow", "certificates?issuer=a%0ab", "certificates?profile=" + strings.Repeat("p", 129), "certificates?%zz", "certificates?a;b", "certificates?callback=x",
		"accounts?status=expired", "accounts?cursor=x", "accounts?external_key=1", "accounts?name=a", "orders?account=x", "orders?status=valid", "audit?cursor=0", "audit?cursor=-5", "audit?cursor=99999999999999999999", "audit?since=1", "audit?action=a%20b", "audit?object=%1b%5b", "external-keys?all=1",
	} {
		at("query", "GET", "/api/v1/"+query, "", nil, 400)
	}
	at("query of 5 KiB", "GET", "/api/v1/certificates?name="+strings.Repeat("a", 5<<10), "", nil, 414)
	for _, missing := range []string{"certificates/0199aa00bb11cc22dd33ee44ff556677", "certificates/0199aa00bb11cc22dd33ee44ff556677/chain", "accounts/AZmqAAAAAAAAAAAAAAAAAA", "orders/AZmqAAAAAAAAAAAAAAAAAA"} {
		at("missing", "GET", "/api/v1/"+missing, "", nil, 404)
	}
}

func (h *hostile) operatorBodies(at func(string, string, string, string, http.Header, int), changes []string) {
	for _, d := range jsonDamage {
		if strings.Contains(d.text, "%d") || len(d.text) > 16<<10 {
			continue
		}
		at("body "+d.what, "POST", changes[2], d.text, nil, 400)
	}
	for _, body := range []string{
		`{"label":1}`, `{"label":"a\r\nb"}`, `{"label":"\u001b[2J"}`, `{"label":"\u202e"}`, `{"label":"` + strings.Repeat("x", 201) + `"}`, `{"reusable":"yes"}`, `{"reusable":1}`, `{"expires_at":"30d"}`, `{"expires_at":"2001-01-01T00:00:00Z"}`, `{"secret":"mine"}`, `{"id":"x"}`, `{"uses":0}`, `{"Label":"x"}`, `[]`, `"x"`, `null`,
	} {
		at("body", "POST", changes[2], body, nil, 400)
	}
	for _, body := range []string{`{"reason":"SUPERSEDED"}`, `{"reason":"certificateHold"}`, `{"reason":"removeFromCRL"}`, `{"reason":"aACompromise"}`, `{"reason":4}`, `{"reason":["superseded"]}`, `{"reason":"superseded","serial":"x"}`, `{"Reason":"superseded"}`, `{"by":"root"}`} {
		at("body", "POST", changes[0], body, nil, 400)
	}
	at("body", "POST", changes[1], `{"yes":true}`, nil, 400)
	at("a query on a change", "POST", changes[1]+"?x=1", "", nil, 400)
	at("1 MiB", "POST", changes[2], `{"label":"`+strings.Repeat("x", 1<<20)+`"}`, nil, 413)
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"} {
		at("type "+contentType, "POST", changes[2], `{"label":"x"}`, http.Header{"Content-Type": {contentType}}, 415)
	}
	for _, label := range []string{"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "<script>", "'; DROP TABLE accounts; --", "${jndi:x}", "{{7*7}}"} {
		h.is(204, "label "+label, func(t *testing.T) { // kept as it is, and shown as data
			h.with(t, func() {
				a := h.operated("POST", "/api/v1/external-keys", jsonOf(map[string]string{"label": label}), nil)
				if a.status != 201 || a.text("label") != label || a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%d %v %s", a.status, a.header, a.body)
				}
			})
		})
	}
}

// configuration is row 205, as far as it is about the file: what is wrong is
// refused before anything opens, with the line. Files beside it are in
// TestIncident_I84.
func (h *hostile) configuration() {
	refused := func(what, text string, words ...string) {
		h.is(205, what, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"passphrase", "admin.token"} {
				b, err := os.ReadFile(filepath.Join(h.c.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "chancery.yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := app.ReadConfig(dir, nil, nil)
			if err == nil {
				t.Fatalf("accepted: %.200q", text)
			}
			for _, w := range words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in: %v", w, err)
				}
			}
		})
	}
	h.is(205, "the good one", func(t *testing.T) {
		if _, err := app.ReadConfig(h.c.Dir, nil, nil); err != nil {
			t.Error(err)
		}
	})
	for what, text := range map[string]string{
		"an unknown key": "acme: {lisen: x}", "an unknown section": "acmee: {}", "a duplicate key": "acme: {listen: \"127.0.0.1:1\", listen: \"127.0.0.1:2\"}", "a duplicate section": "acme: {}\nacme: {}", "a list for a map": "acme: []", "a map for a text": "acme: {listen: {}}", "two documents": "acme: {}\n---\nacme: {}", "no map": "- x", "a tab": "acme:\n\tlisten: x", "not closed": "acme: {", "anchors": "acme: &a {}\npublish: *a",
		"a merge": "x: &x {}\nacme: {<<: *x}", "a bomb": "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c]", "a tag": "acme: !!python/object:os.system {}", "NUL": "acme: {listen: \"\x00\"}", "invalid UTF-8": "acme: {website: \"\xff\"}", "deep": strings.Repeat("a: {", 200), "binary": "\x7fELF", "a million spaces and a wrong key": strings.Repeat(" ", 100000) + "x: 1",
	} {
		refused(what, text)
	}
	values := map[string][]string{
		"crl.validity": {"90", "-1h", "0", "1y", "", "1h1x", "1000000h", "1e3h", "[]", "null1", "٣h", "1h 30m"}, "ocsp.validity": {"1m", "0", "-1h", "11d", "x"}, "acme.url": {"http://ca.example", "ca.example", "https://", "https://a@b.example", "https://ca.example/x", "https://ca.example?x", "ftp://ca.example", "https://ca.example#x", "javascript:x"},
		"publish.url": {"https://pki.example", "ldap://pki.example", "file:///x", "http://", "http://a b", "http://pki.example?x"}, "acme.listen": {"x", "\":\"", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:-1", "localhost:http:x", "\"[::1\""}, "validation.http_port": {"0", "-1", "65536", "80a", "1.5", "x", "\"\""}, "validation.denied_networks": {"[10.0.0.0/33]", "[x]", "[10.0.0.1/8]", "[\"::/129\"]"},
		"validation.resolvers": {"[x]", "[\"8.8.8.8:0\"]", "[\"\"]"}, "validation.timeout": {"0", "-1s", "1h", "10", "x"}, "limits.enabled": {"yes", "1", "on", "maybe", "\"\""}, "acme.external_account": {"maybe", "OFF", "true", "1"}, "log.level": {"loud", "DEBUG", "0"}, "log.format": {"xml", "TEXT"}, "acme.caa_identities": {"[\"-\"]", "[\"a b\"]", "[\"*\"]"}, "keystore.issuer": {"x:y", "keys/issuer.pem", "http://evil.example/key", "\"file:\""}, "storage.dsn": {"mysql://x", "", "\"sqlite:\"", "x"}, "acme.wait": {"-1s", "1h", "x"}, "acme.max_connections": {"0", "-1", "x", "1e9"},
	}
	for _, key := range sorted(values) {
		section, name, _ := strings.Cut(key, ".")
		for _, v := range values[key] {
			refused(key+" "+v, section+":\n  "+name+": "+v+"\n", name)
		}
	}
	for _, key := range []string{"server", "x"} {
		for _, v := range []string{"{validity: 90}", "{validity: -1h}", "{validity: 10000d}", "{key_types: [dsa]}", "{unknown: 1}", "[]", "{validity: 1h, validity: 2h}"} {
			refused("profiles."+key+" "+v, "profiles:\n  "+key+": "+v+"\n", "profiles."+key)
		}
	}
}

package catest_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chancery/ca/keystore"
	"chancery/cmd/chancery/app"
	"chancery/cmd/chancery/catest"
)

// minCanaries is how many secrets are planted at least.
const minCanaries = 30

// canaries are secrets by what they are; a secret is looked for in each form
// in which a program might write it down.
type canaries map[string][]byte

func (c canaries) forms() map[string][][]byte {
	out := map[string][][]byte{}
	for what, s := range c {
		out[what] = [][]byte{
			s, []byte(base64.RawURLEncoding.EncodeToString(s)), []byte(base64.RawStdEncoding.EncodeToString(s)), []byte(hex.EncodeToString(s)), []byte(strings.ToUpper(hex.EncodeToString(s))),
			[]byte(fmt.Sprint(s)), // as fmt writes octets
		}
	}
	return out
}

// TestIncident_I87: thirty secrets go through a CA that logs all it can, and
// none of them stands in its log, metrics, answers, database, audit trail, or
// in what the commands print.
func TestIncident_I87(t *testing.T) {
	t.Parallel()
	c := catest.Start(t, catest.Set("log.level=debug", "acme.external_account=optional"))
	h := &hostile{t: t, c: c, base: strings.TrimSuffix(c.DirectoryURL, "/acme/directory"), rows: map[int]int{}}
	planted, seen := canaries{}, map[string]*bytes.Buffer{}
	for _, where := range []string{"log", "answers", "commands"} {
		seen[where] = new(bytes.Buffer)
	}
	keep := func(a *answer) *answer {
		fmt.Fprintf(seen["answers"], "%v %s\n", a.header, a.body)
		seen["log"].WriteString(c.Log()) // it keeps only its end
		return a
	}
	h.plantFiles(planted)
	h.plantBindings(planted, keep)
	h.plantKeys(planted, keep)
	h.plantRequests(planted, keep)
	h.plantConfiguration(planted, seen["commands"])
	if len(planted) < minCanaries {
		t.Errorf("%d secrets were planted, want %d or more", len(planted), minCanaries)
	}
	metrics := h.plain("GET", c.AdminURL+"/metrics", nil)
	audit := h.operated("GET", "/api/v1/audit?limit=1000", "", nil)
	lists := h.operated("GET", "/api/v1/external-keys?limit=1000", "", nil)
	h.commands(seen["commands"])
	places := map[string][]byte{"metrics": metrics.body, "audit": audit.body, "external keys": lists.body, "log": append(seen["log"].Bytes(), c.Log()...), "answers": seen["answers"].Bytes(), "commands": seen["commands"].Bytes()}
	for _, name := range []string{"chancery.db", "chancery.db-wal"} {
		if b, err := os.ReadFile(filepath.Join(c.Dir, name)); err == nil {
			places[name] = b
		}
	}
	if len(places["log"]) == 0 || len(places["commands"]) == 0 || len(places["chancery.db"])+len(places["chancery.db-wal"]) == 0 || !bytes.Contains(places["log"], []byte("request")) {
		t.Fatal("one of the places is empty, so that nothing could be found there")
	}
	for what, forms := range planted.forms() {
		for where, text := range places {
			for i, form := range forms {
				if len(form) >= 8 && bytes.Contains(text, form) {
					t.Errorf("%s stands in the %s (form %d)", what, where, i)
				}
			}
		}
	}
}

// plantFiles: what the CA itself keeps secret.
func (h *hostile) plantFiles(planted canaries) {
	pass, err := os.ReadFile(filepath.Join(h.c.Dir, "passphrase"))
	if err != nil {
		h.t.Fatal(err)
	}
	pass = bytes.TrimSpace(pass)
	planted["the passphrase"], planted["the operator's token"] = pass, []byte(h.token())
	for _, name := range []string{"issuer", "tls", "root"} {
		path := filepath.Join(h.c.Dir, "keys", name+".pem")
		text, err := os.ReadFile(path)
		if err != nil {
			continue // where the root's key lies is not this test's business
		}
		if block, _ := pem.Decode(text); block == nil || !strings.Contains(block.Type, "ENCRYPTED") {
			h.t.Errorf("%s is not encrypted", path)
		}
		key, err := keystore.Open("file:"+path, pass)
		if err != nil {
			h.t.Fatal(err)
		}
		_ = key // it gives signatures, not octets
		planted["the encrypted key "+name] = text[200:260]
	}
}

func (h *hostile) plantBindings(planted canaries, keep func(*answer) *answer) {
	newAccount := h.base + "/acme/new-account"
	for i := range 8 {
		id, secret := h.c.ExternalKey(fmt.Sprintf("canary %d", i))
		raw, err := base64.RawURLEncoding.DecodeString(secret)
		if err != nil {
			h.t.Fatal(err)
		}
		planted[fmt.Sprintf("MAC key %d", i)] = raw
		p := &party{key: ecKey(h.t, elliptic.P256()), alg: "ES256"}
		b := binding{kid: id, secret: secret, url: newAccount, key: jwkOf(p.key.Public())}
		if i%2 == 1 {
			b.header = map[string]any{"alg": "HS384"} // and the MAC does not fit
		}
		keep(h.post(request{by: p, url: newAccount, payload: jsonOf(map[string]any{"externalAccountBinding": h.binding(b)})}))
	}
	// Secrets where an ID belongs, as people paste them.
	for i := range 2 {
		secret := fmt.Appendf(nil, "canary-pasted-mac-key-%d-5f3759df", i)
		planted[fmt.Sprintf("a MAC key as payload %d", i)] = secret
		p := &party{key: ecKey(h.t, elliptic.P256()), alg: "ES256"}
		keep(h.post(request{by: p, url: newAccount, payload: jsonOf(map[string]any{"termsOfServiceAgreed": true, "macKey": string(secret), "password": string(secret)})}))
	}
}

// plantKeys: private halves that clients send by mistake.
func (h *hostile) plantKeys(planted canaries, keep func(*answer) *answer) {
	for i := range 6 {
		key := ecKey(h.t, elliptic.P256())
		d, err := key.Bytes()
		if err != nil {
			h.t.Fatal(err)
		}
		planted[fmt.Sprintf("an account's private key %d", i)] = d
		jwk := jwkOf(key.Public())
		jwk["d"] = b64(d)
		p := &party{key: key, alg: "ES256"}
		keep(h.post(request{by: p, url: "/acme/new-account", payload: "{}", header: map[string]any{"jwk": jwk}})).want(h.t, 400, "malformed")
	}
	account := h.register()
	for i := range 3 {
		key := ecKey(h.t, elliptic.P256())
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			h.t.Fatal(err)
		}
		d, err := key.Bytes()
		if err != nil {
			h.t.Fatal(err)
		}
		planted[fmt.Sprintf("a private key as certificate %d", i)] = d
		keep(h.post(request{by: account, url: "/acme/revoke-cert", payload: `{"certificate":"` + b64(der) + `"}`}))
		o := h.readyOrder(account, fmt.Sprintf("canary%d.example", i))
		keep(h.post(request{by: account, url: o.text("finalize"), payload: csrPayload(der)})).want(h.t, 400, "badCSR")
		inner := rollover{to: &party{key: key, alg: "ES256"}, header: map[string]any{"jwk": map[string]any{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": b64(d)}}}
		keep(h.post(h.rollover(account, inner))).want(h.t, 400, "malformed")
	}
}

// plantRequests: secrets in places of HTTP where they are not looked for.
func (h *hostile) plantRequests(planted canaries, keep func(*answer) *answer) {
	word := func(what string) string {
		s := fmt.Sprintf("canary-%s-%d-c0ffee", strings.ReplaceAll(what, " ", "-"), len(planted))
		planted[what] = []byte(s)
		return s
	}
	account := h.register()
	keep(h.post(request{by: account, url: account.kid, http: http.Header{"Authorization": {"Bearer " + word("a bearer token at the ACME door")}}}))
	keep(h.post(request{by: account, url: account.kid, http: http.Header{"Cookie": {"session=" + word("a cookie")}}}))
	keep(h.post(request{by: account, url: account.kid + "?token=" + word("a token in a query")}))
	keep(h.plain("GET", "/acme/directory?password="+word("a password in a query"), nil))
	keep(h.plain("GET", "/acme/"+word("a secret in a path"), nil))
	keep(h.plain("GET", h.c.AdminURL+"/api/v1/audit?token="+word("a token in the operator's query"), nil))
	keep(h.operated("GET", "/api/v1/audit", "", http.Header{"Authorization": {"Bearer " + word("a wrong token")}}))
	keep(h.operated("GET", "/api/v1/audit", "", http.Header{"Authorization": {"Basic " + word("a password for Basic")}}))
	keep(h.operated("POST", "/api/v1/external-keys", `{"secret":"`+word("a secret of the operator's own")+`"}`, nil))
	keep(h.post(request{by: account, url: "/acme/new-order", payload: `{"apiKey":"` + word("an API key in an order") + `",` + dnsOrder("canary.example")[1:]}))
	keep(h.post(request{by: account, url: account.kid, header: map[string]any{"password": word("a password in a JWS header")}}))
}

// plantConfiguration: secrets written where a reference belongs.
func (h *hostile) plantConfiguration(planted canaries, out *bytes.Buffer) {
	for what, text := range map[string]string{
		"a passphrase in the file": "keystore: {passphrase: \"%s\"}", "a PIN in a key's URI": "keystore: {issuer: \"pkcs11:token=x?pin-value=%s\"}", "a password of the database": "storage: {dsn: \"mysql://user:%s@db/x\"}",
	} {
		secret := "canary-" + strings.ReplaceAll(what, " ", "-") + "-8badf00d"
		planted[what] = []byte(secret)
		dir := h.t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "chancery.yaml"), fmt.Appendf(nil, text, secret), 0o600); err != nil {
			h.t.Fatal(err)
		}
		_, err := app.ReadConfig(dir, nil, nil)
		if err == nil {
			h.t.Errorf("%s is accepted", what)
		}
		fmt.Fprintln(out, err)
	}
}

// commands runs what an operator runs.
func (h *hostile) commands(out *bytes.Buffer) {
	h.t.Helper()
	for _, args := range [][]string{{"eab", "list"}, {"eab", "list", "--json"}, {"account", "list", "--json"}, {"order", "list", "--json"}, {"cert", "list", "--json"}, {"audit", "list", "--json"}, {"config", "check"}, {"eab", "revoke", "canary"}, {"cert", "show", "x"}} {
		cmd := exec.Command(catest.Binary(h.t), append(args, "--dir", h.c.Dir)...)
		text, _ := cmd.CombinedOutput() // some are mistakes on purpose
		fmt.Fprintf(out, "%v: %s\n", args, text)
	}
}

package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Public incidents of other CAs whose defence is the signing core's;
// docs/safety.md has them all.

// TestIncident_I25_Signer: names that nobody had validated were put into
// certificates, and notBefore was set back. The core asks for evidence of each
// name by itself, and refuses each instant beyond the bound, whatever the side
// that asks has checked.
func TestIncident_I25_Signer(t *testing.T) {
	h := newHouseAt(t, "ec256", noon.Add(-1200*day)) // its issuer's beginning is no help
	key := newTestKey(t, "ec256")
	for what, change := range map[string]func(r *Request){
		"no evidence":              func(r *Request) { r.Evidence = nil },
		"one name without":         func(r *Request) { r.Evidence = r.Evidence[1:] },
		"another name's":           func(r *Request) { r.Evidence[0].Name = ids(t, "c.example")[0] },
		"its parent's":             func(r *Request) { r.Evidence[0].Name = ids(t, "example")[0] },
		"never validated":          func(r *Request) { r.Evidence[0].ValidatedAt = time.Time{} },
		"validated in the future":  func(r *Request) { r.Evidence[0].ValidatedAt = noon.Add(time.Hour) },
		"validated years ago":      func(r *Request) { r.Evidence[0].ValidatedAt = noon.AddDate(-2, 0, 0) },
		"by no method":             func(r *Request) { r.Evidence[0].Method = "" },
		"wildcard shown by a host": func(r *Request) { r.Evidence[1].Method = "http-01" },
	} {
		r := h.request(t, "o "+what, key, "a.example", "*.b.example")
		change(r)
		c, err := h.authority.Issue(t.Context(), r)
		if err == nil {
			t.Errorf("%s: issued %s", what, c.Serial)
			continue
		}
		wantRefusal(t, err, NotProven)
	}
	for range 200 {
		back := maxAge + time.Second + time.Duration(rand.Int64N(int64(1000*day))).Truncate(time.Second)
		r := h.request(t, "o", key, "a.example")
		r.NotBefore = noon.Add(-back)
		_, err := h.authority.Issue(t.Context(), r)
		wantRefusal(t, err, BadValidity)
	}
	if len(h.ledger.certs) != 0 {
		t.Errorf("%d reservations", len(h.ledger.certs))
	}
	// The clock of the side that asks is not the signer's excuse: what was
	// reserved too long ago is not signed with its old notBefore.
	serial, _ := begun(t, h, key)
	r := h.request(t, "o1", key, "a.example").proven(noon.Add(maxAge + time.Second))
	_, err := h.authority.Issue(t.Context(), r)
	wantRefusal(t, err, BadValidity)
	if h.ledger.certs[serial].DER != nil {
		t.Error("it was signed")
	}
}

// TestIncident_I26: "test" certificates were made on production CAs, past all
// validation. The one way without evidence is for Chancery's own doors; who
// names an order or an account, or is no part of the system, can't take it.
func TestIncident_I26(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	for _, by := range []Actor{{Kind: ActorOperator, ID: "root"}, {Kind: ActorAccount, ID: "a"}, {Kind: ActorCertificateKey, ID: "x"}, {}, System("test")} {
		for _, order := range []string{"", "o"} {
			for _, account := range []string{"", "a"} {
				for _, name := range []string{"1.1.1.1", "test.example", "*.example.com", "localhost"} {
					r := h.request(t, order, key, name)
					r.By, r.Account, r.Evidence = by, account, nil
					own := by.Kind == ActorSystem && order == "" && account == ""
					_, err := h.authority.Issue(t.Context(), r)
					if (err == nil) != own {
						t.Errorf("%v, order %q, account %q, %s: %v", by, order, account, name, err)
					}
				}
			}
		}
	}
	for serial, c := range h.ledger.certs {
		if c.Order != "" || c.Account != "" {
			t.Errorf("%s has order %q and account %q without evidence", serial, c.Order, c.Account)
		}
	}
}

// TestIncident_I36: in the middle of a deployment two configurations made two
// certificates under one serial number. What one replica began, another with
// another profile refuses to end; the first ends it with the same octets.
// There are no precertificates here, so only the final certificate is at stake.
func TestIncident_I36(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	serial, tbs := begun(t, h, key)
	for what, change := range map[string]func(p *Profile){
		"no OCSP pointer":  func(p *Profile) { p.OCSP = false },
		"another usage":    func(p *Profile) { p.ExtKeyUsages = append(p.ExtKeyUsages, "clientAuth") },
		"a policy":         func(p *Profile) { p.Policies = []string{"2.23.140.1.2.1"} },
		"subject":          func(p *Profile) { p.CommonName = CommonNameFirst },
		"no CRL pointer":   func(p *Profile) { p.CRL = false },
		"no issuer's link": func(p *Profile) { p.CAIssuers = false },
	} {
		p := DefaultProfile()
		change(&p)
		other := *h.authority
		other.Profiles = map[string]*Profile{p.Name: &p}
		if c, err := other.Issue(t.Context(), h.request(t, "o1", key, "a.example")); err == nil {
			t.Errorf("%s: the other replica ended it: %s", what, c.Serial)
		} else {
			wantRefusal(t, err, LintFailed)
		}
		if len(h.ledger.certs) != 1 || h.ledger.certs[serial].DER != nil {
			t.Fatalf("%s: the ledger has %d serials", what, len(h.ledger.certs))
		}
	}
	c, err := h.authority.Issue(t.Context(), h.request(t, "o1", key, "a.example"))
	check(t, err)
	if got, _, ok := unwrapSigned(c.DER); !ok || c.Serial != serial || !bytes.Equal(got, tbs) {
		t.Error("what was signed is not what was reserved")
	}
}

// counting is a key store that keeps a log of what it signed.
type counting struct {
	crypto.Signer
	mu     sync.Mutex
	signed [][]byte
}

func (c *counting) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.mu.Lock()
	c.signed = append(c.signed, bytes.Clone(digest))
	c.mu.Unlock()
	return c.Signer.Sign(random, digest, opts)
}

// TestIncident_I56: under load the database lost rows of certificates that had
// been issued. With a store that fails a third of the time, whatever the key
// signed has its reservation, and whoever got a certificate got a stored one.
func TestIncident_I56(t *testing.T) {
	h := newHouse(t, "ec256")
	key := &counting{Signer: h.key}
	h.issuer.key = key
	down := errors.New("down")
	h.ledger.fail = func(string) error {
		if rand.IntN(3) == 0 {
			return down
		}
		return nil
	}
	subject := newTestKey(t, "ec256")
	var requests []*Request
	for i := range 200 {
		requests = append(requests, h.request(t, fmt.Sprint("o", i%150), subject, "a.example"))
	}
	got := make([]*Certificate, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			c, err := h.authority.Issue(context.Background(), r)
			if err == nil {
				got[i] = c
			} else if !errors.Is(err, down) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	h.ledger.fail = nil
	issued := 0
	for _, c := range got {
		if c == nil {
			continue
		}
		issued++
		if stored := h.ledger.certs[c.Serial]; !bytes.Equal(stored.DER, c.DER) {
			t.Errorf("%s was given out and is not stored", c.Serial)
		}
	}
	known := map[string]bool{}
	for _, c := range h.ledger.certs {
		tbs := c.TBS
		if c.DER != nil {
			tbs, _, _ = unwrapSigned(c.DER)
		}
		sum := sha256.Sum256(tbs)
		known[string(sum[:])] = true
	}
	for _, digest := range key.signed {
		if !known[string(digest)] {
			t.Error("the key signed what the ledger does not know")
		}
	}
	if issued < 20 || len(key.signed) < issued {
		t.Errorf("%d issued, %d signed", issued, len(key.signed))
	}
}

// TestIncident_I66: an empty list of usages was indexed. Requests whose lists
// are empty, or hold empty things, end in a verdict.
func TestIncident_I66(t *testing.T) {
	key := newTestKey(t, "ec256").(*ecdsa.PrivateKey)
	empty := []byte{0x30, 0}
	for _, der := range [][]byte{
		rawCSR{}.sign(t, key), rawCSR{subject: empty}.sign(t, key), asking().sign(t, key), asking(ext{oidSubjectAltName, []byte{}}).sign(t, key),
		asking(ext{oidSubjectAltName, nil}).sign(t, key), asking(ext{oidSubjectAltName, empty}).sign(t, key), asking(san(0x82, "")).sign(t, key),
		asking(san(0x87, "")).sign(t, key), asking(san(0xa4, "")).sign(t, key),
		rawCSR{attributes: attributes(attribute(oidExtensionRequest, nil))}.sign(t, key), rawCSR{attributes: attributes(empty)}.sign(t, key),
		rawCSR{attributes: attributes(attribute(oidExtensionRequest, empty))}.sign(t, key),
	} {
		refused(t, "empty lists", der)
	}
	for _, e := range []ext{{oidExtKeyUsage, empty}, {oidExtKeyUsage, nil}, {oidKeyUsage, nil}, {oidBasicConstraints, nil}} {
		csr, err := ParseCSR(asking(san(0x82, "a.example"), e).sign(t, key))
		if err == nil && !slices.Equal(csr.Names(), ids(t, "a.example")) {
			t.Errorf("names %v", csr.Names())
		}
	}
	// The core itself, with nothing in its hands.
	h := newHouse(t, "ec256")
	for _, r := range []*Request{{}, {Now: noon}, {Now: noon, Names: ids(t, "a.example")}, {Now: noon, CSR: &CSR{}}} {
		if _, err := h.authority.Issue(t.Context(), r); err == nil {
			t.Error("an empty request got a certificate")
		}
	}
}

// TestIncident_I75: requests that made parsers panic or work for seconds. Any
// octet of a request changed, and shapes that grow quadratically, end soon.
func TestIncident_I75(t *testing.T) {
	key := newTestKey(t, "ec256").(*ecdsa.PrivateKey)
	good := asking(san(0x82, "a.example", 0x82, "b.example")).sign(t, key)
	for i := range good {
		for _, b := range []byte{0, 1, 0x7f, 0x80, 0x84, 0xff, good[i] ^ 1, good[i] ^ 0x20} {
			der := slices.Clone(good)
			der[i] = b
			if _, err := ParseCSR(der); err == nil && b != good[i] {
				t.Fatalf("octet %d changed to %#x and the request is accepted", i, b)
			}
		}
	}
	names := make([]any, 0, 5000)
	for i := range 2500 {
		names = append(names, 0x82, fmt.Sprintf("n%d.%s.example", i, strings.Repeat("a", 3)))
	}
	for what, der := range map[string][]byte{
		"64 KiB of names":      asking(san(names...)).sign(t, key),
		"nested sequences":     bytes.Repeat([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, 10_000),
		"a serial of a kind":   append([]byte{0x30, 0x82, 0xff, 0xff, 0x02, 0x82, 0xff, 0xf0}, bytes.Repeat([]byte{0xff}, 65_000)...),
		"an OID of 60,000":     asking(ext{oidSubjectAltName, bytes.Repeat([]byte{6, 0x82, 0xea, 0x60}, 15_000)}).sign(t, key),
		"60,000 empty strings": asking(ext{oidSubjectAltName, bytes.Repeat([]byte{0x82, 0}, 30_000)}).sign(t, key),
	} {
		began := time.Now()
		refused(t, what, der)
		if took := time.Since(began); took > 500*time.Millisecond { // measured: under 10 ms
			t.Errorf("%s took %s", what, took)
		}
	}
}

// TestIncident_I95: what chained to an expired root broke. Nothing is signed
// for longer than its issuer lives, nor by an issuer that does not live now.
func TestIncident_I95(t *testing.T) {
	h := newHouse(t, "ec256")
	end := h.issuer.Certificate().NotAfter
	key := newTestKey(t, "ec256")
	for left := range 90 {
		now := end.Add(-time.Duration(left)*day - 12*time.Hour)
		r := h.request(t, fmt.Sprint("o", left), key, "a.example").proven(now)
		c, err := h.authority.Issue(t.Context(), r)
		check(t, err)
		cert, err := x509.ParseCertificate(c.DER)
		check(t, err)
		if cert.NotAfter.After(end) {
			t.Fatalf("%d days before its issuer's end, one until %s", left, cert.NotAfter)
		}
		r = h.request(t, fmt.Sprint("p", left), key, "a.example").proven(now)
		r.NotAfter = end.Add(time.Second)
		_, err = h.authority.Issue(t.Context(), r)
		wantRefusal(t, err, BadValidity)
	}
	for _, now := range []time.Time{end.Add(time.Second), end.Add(day)} {
		_, err := h.authority.Issue(t.Context(), h.request(t, "q", key, "a.example").proven(now))
		wantRefusal(t, err, BadValidity)
	}
	for _, now := range []time.Time{end.Add(time.Second), h.issuer.Certificate().NotBefore.Add(-day)} {
		if h.authority.Verify(now) == nil {
			t.Errorf("the CA starts at %s", now)
		}
	}
}

// TestIncident_I100: parsers in C looped on hostile curves and requests. No C
// parses what comes from outside, and a curve is named or refused, at once.
func TestIncident_I100(t *testing.T) {
	key := newTestKey(t, "ec256").(*ecdsa.PrivateKey)
	point, err := key.PublicKey.Bytes()
	check(t, err)
	// p = 4 * 697 + 1 is no prime: what BN_mod_sqrt looped on (CVE-2022-0778).
	explicit := append([]byte{0x30, 0x20, 2, 1, 1, 0x30, 7, 6, 1, 0x2a, 2, 2, 0x0a, 0xe5, 0x30, 6, 4, 1, 1, 4, 1, 2, 4, 2, 2, 7, 2, 1, 5}, 2, 1, 1, 5, 0)
	for what, spki := range map[string][]byte{
		"explicit curve":            explicitCurve(key),
		"explicit curve, composite": ecSPKI(explicit, []byte{2, 7}),
		"no parameters":             ecSPKI(nil, point),
		"NULL parameters":           ecSPKI([]byte{5, 0}, point),
		"a curve of no use":         ecSPKI([]byte{6, 5, 0x2b, 0x81, 4, 0, 0x0a}, point), // secp256k1
		"infinity":                  ecSPKI([]byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, []byte{0}),
		"off the curve":             ecSPKI([]byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, append(slices.Clone(point[:64]), point[64]^1)),
	} {
		csr := asking(san(0x82, "a.example"))
		csr.spki = spki
		der := csr.sign(t, key)
		began := time.Now()
		refused(t, what, der)
		if took := time.Since(began); took > 100*time.Millisecond { // measured: under 1 ms
			t.Errorf("%s took %s", what, took)
		}
	}
}

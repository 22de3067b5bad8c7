package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func TestIssue(t *testing.T) {
	for _, issuerKind := range kinds {
		for _, kind := range kinds {
			t.Run(issuerKind+"/"+kind, func(t *testing.T) {
				h := newHouse(t, issuerKind)
				key := newTestKey(t, kind)
				if issuerKind == "rsa" && kind == "rsa" {
					return // the only RSA key of this run is the issuer's
				}
				c, err := h.authority.Issue(t.Context(), h.request(t, "o1", key, "a.example", "*.b.example", "192.0.2.1", "2001:db8::1"))
				check(t, err)
				for _, name := range []string{"a.example", "x.b.example", "192.0.2.1", "2001:db8::1"} {
					h.verify(t, c, name)
				}
				h.checkContents(t, c, kind)
			})
		}
	}
}

func (h *house) checkContents(t *testing.T, c *Certificate, kind string) {
	t.Helper()
	cert := h.verify(t, c, "")
	if stored := h.ledger.certs[c.Serial]; !bytes.Equal(stored.DER, c.DER) || stored.TBS != nil {
		t.Error("the ledger has something else")
	}
	if got := cert.NotAfter.Sub(cert.NotBefore) + time.Second; got != 90*24*time.Hour {
		t.Errorf("validity %s", got)
	}
	if cert.CRLDistributionPoints[0] != publishURL+"/crl/"+h.issuer.ID()+".crl" || cert.OCSPServer[0] != publishURL+"/ocsp" ||
		cert.IssuingCertificateURL[0] != publishURL+"/issuer/"+h.issuer.ID()+".der" {
		t.Errorf("pointers %q %q %q", cert.CRLDistributionPoints, cert.OCSPServer, cert.IssuingCertificateURL)
	}
	if wants := cert.KeyUsage&x509.KeyUsageKeyEncipherment != 0; wants != (kind == "rsa") {
		t.Errorf("key usage %b of a %s key", cert.KeyUsage, kind)
	}
	if len(cert.Subject.Names) != 0 || cert.IsCA || len(cert.ExtKeyUsage) != 1 {
		t.Errorf("subject %s, CA %t, usages %v", cert.Subject, cert.IsCA, cert.ExtKeyUsage)
	}
	if serial, ok := SerialFromBig(cert.SerialNumber); !ok || serial != c.Serial {
		t.Errorf("serial %s, want %s", cert.SerialNumber, c.Serial)
	}
}

func TestIssueRefusals(t *testing.T) {
	h := newHouse(t, "ec256")
	accountKey := newTestKey(t, "ec256")
	accountCSR := h.request(t, "", accountKey, "a.example").CSR
	h.authority.AccountKeys = func(_ context.Context, spki [32]byte) (bool, error) { return spki == accountCSR.SPKIHash(), nil }
	key := newTestKey(t, "ec256")
	strict := DefaultProfile()
	strict.Name, strict.Keys = "strict", []string{"ec384"}
	big := DefaultProfile()
	big.Name, big.MinRSABits = "big", 4096
	h.authority.Profiles["strict"], h.authority.Profiles["big"] = &strict, &big
	for what, c := range map[string]struct {
		change func(r *Request)
		code   Code
	}{
		"unknown profile":     {func(r *Request) { r.Profile = "none" }, InvalidProfile},
		"CSR with more names": {func(r *Request) { r.Names = ids(t, "a.example") }, BadCSR},
		"CSR with less names": {func(r *Request) { r.Names = ids(t, "a.example", "b.example", "c.example") }, BadCSR},
		"CSR with others":     {func(r *Request) { r.Names = ids(t, "a.example", "c.example") }, BadCSR},
		"wildcard or not":     {func(r *Request) { r.Names = ids(t, "*.a.example", "b.example") }, BadCSR},
		"name twice":          {func(r *Request) { r.Names = ids(t, "a.example", "a.example", "b.example") }, MalformedIdentifier},
		"no names":            {func(r *Request) { r.Names = nil }, MalformedIdentifier},
		"an empty name":       {func(r *Request) { r.Names = append(r.Names, Identifier{}) }, MalformedIdentifier},
		"account's key":       {func(r *Request) { r.CSR = h.request(t, "", accountKey, "a.example", "b.example").CSR }, BadCSR},
		"issuer's key":        {func(r *Request) { r.CSR = h.request(t, "", h.key, "a.example", "b.example").CSR }, BadCSR},
		"root's key":          {func(r *Request) { r.CSR = h.request(t, "", h.rootKey, "a.example", "b.example").CSR }, BadCSR},
		"kind of key":         {func(r *Request) { r.Profile = "strict" }, BadCSR},
		"size of key": {func(r *Request) {
			r.Profile, r.CSR = "big", h.request(t, "", rsaKey(), "a.example", "b.example").CSR
		}, BadCSR},
		"validity":       {func(r *Request) { r.NotAfter = noon.Add(91 * day) }, BadValidity},
		"old notBefore":  {func(r *Request) { r.NotBefore = noon.Add(-maxAge - time.Second) }, BadValidity},
		"late notBefore": {func(r *Request) { r.NotBefore = noon.Add(8 * day) }, BadValidity},
	} {
		r := h.request(t, "order", key, "a.example", "b.example")
		c.change(r)
		if err := h.authority.Check(r); err == nil {
			t.Errorf("%s: Check accepted it", what)
		} else {
			wantRefusal(t, err, c.code)
		}
		if got, err := h.authority.Issue(t.Context(), r); err == nil {
			t.Errorf("%s: issued %s", what, got.Serial)
		} else {
			wantRefusal(t, err, c.code)
		}
	}
	if len(h.ledger.certs) != 0 {
		t.Errorf("%d reservations for refused requests", len(h.ledger.certs))
	}
	for _, r := range []*Request{{}, {Names: ids(t, "a.example"), CSR: accountCSR}} {
		if h.authority.Check(r) == nil {
			t.Error("a request without CSR or instant was accepted")
		}
	}
	check(t, h.authority.Check(h.request(t, "order", key, "a.example")))
}

// TestAskedValidity: an order's notBefore may be some minutes old when it is
// finalized, and is given as asked.
func TestAskedValidity(t *testing.T) {
	h := newHouse(t, "ec256")
	r := h.request(t, "o", newTestKey(t, "ec256"), "a.example")
	r.NotBefore, r.NotAfter = noon, noon.Add(day)
	if _, err := h.authority.Permit("", r.Names, r.NotBefore, r.NotAfter, noon); err != nil {
		t.Fatal(err)
	}
	r.Now = noon.Add(30 * time.Minute)
	if _, err := h.authority.Permit("", r.Names, r.NotBefore, r.NotAfter, r.Now); err == nil {
		t.Error("a new order was permitted to lie half an hour back")
	}
	c, err := h.authority.Issue(t.Context(), r)
	check(t, err)
	if !c.NotBefore.Equal(noon) || !c.NotAfter.Equal(noon.Add(day)) {
		t.Errorf("from %s to %s", c.NotBefore, c.NotAfter)
	}
}

func TestAccountKeysFails(t *testing.T) {
	h := newHouse(t, "ec256")
	down := errors.New("store is down")
	h.authority.AccountKeys = func(context.Context, [32]byte) (bool, error) { return false, down }
	r := h.request(t, "o", newTestKey(t, "ec256"), "a.example")
	var refusal *Refusal
	if _, err := h.authority.Issue(t.Context(), r); !errors.Is(err, down) || errors.As(err, &refusal) {
		t.Errorf("a store that is down gave %v", err)
	}
}

func TestIssueIsIdempotent(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	first, err := h.authority.Issue(t.Context(), h.request(t, "o1", key, "a.example"))
	check(t, err)
	again, err := h.authority.Issue(t.Context(), h.request(t, "o1", key, "a.example"))
	check(t, err)
	if !bytes.Equal(first.DER, again.DER) {
		t.Error("the same order got another certificate")
	}
	other, err := h.authority.Issue(t.Context(), h.request(t, "o2", key, "a.example"))
	check(t, err)
	if other.Serial == first.Serial {
		t.Error("another order got the same certificate")
	}
	// Chancery's own certificates have no order, and are always new.
	own1, err := h.authority.Issue(t.Context(), h.request(t, "", key, "localhost"))
	check(t, err)
	own2, err := h.authority.Issue(t.Context(), h.request(t, "", key, "localhost"))
	check(t, err)
	if own1.Serial == own2.Serial {
		t.Error("two requests without an order got one certificate")
	}
}

// TestIssueTogether: many callers finish one order at once. One certificate
// comes into being, and everybody gets it.
func TestIssueTogether(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	requests := make([]*Request, 16)
	for i := range requests {
		requests[i] = h.request(t, "o1", key, "a.example")
	}
	var wg sync.WaitGroup
	got := make([]*Certificate, len(requests))
	errs := make([]error, len(requests))
	for i, r := range requests {
		wg.Go(func() { got[i], errs[i] = h.authority.Issue(t.Context(), r) })
	}
	wg.Wait()
	for i := range got {
		check(t, errs[i])
		if !bytes.Equal(got[i].DER, got[0].DER) || len(got[i].DER) == 0 {
			t.Fatal("two callers got different certificates")
		}
	}
	if len(h.ledger.certs) != 1 {
		t.Errorf("%d serials for one order", len(h.ledger.certs))
	}
}

// begun is an order whose first call died between reservation and storage.
func begun(t *testing.T, h *house, key crypto.Signer) (Serial, []byte) {
	t.Helper()
	died := errors.New("died")
	h.ledger.fail = func(method string) error {
		if method == "PutCertificate" {
			return died
		}
		return nil
	}
	if _, err := h.authority.Issue(t.Context(), h.request(t, "o1", key, "a.example")); !errors.Is(err, died) {
		t.Fatalf("got %v", err)
	}
	h.ledger.fail = nil
	serial := h.ledger.orders["o1"]
	return serial, h.ledger.certs[serial].TBS
}

func TestIssueAfterCrash(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	serial, tbs := begun(t, h, key)
	r := h.request(t, "o1", key, "a.example")
	r.Now = noon.Add(10 * time.Minute)
	c, err := h.authority.Issue(t.Context(), r)
	check(t, err)
	cert := h.verify(t, c, "a.example")
	if c.Serial != serial || !bytes.Equal(cert.RawTBSCertificate, tbs) {
		t.Error("what was reserved is not what was signed")
	}
}

func TestResumeRefused(t *testing.T) {
	other := newTestKey(t, "ec256")
	for what, c := range map[string]struct {
		change func(h *house, r *Request, stored *Certificate)
		code   Code
	}{
		"another key":       {func(h *house, r *Request, _ *Certificate) { r.CSR = h.request(t, "", other, "a.example").CSR }, BadCSR},
		"another name":      {func(_ *house, _ *Request, stored *Certificate) { stored.Names = ids(t, "b.example") }, BadCSR},
		"too late":          {func(_ *house, r *Request, _ *Certificate) { r.Now = noon.Add(maxAge) }, BadValidity},
		"issuer gone":       {func(_ *house, _ *Request, stored *Certificate) { stored.Issuer = "other" }, BadValidity},
		"profile gone":      {func(_ *house, _ *Request, stored *Certificate) { stored.Profile = "other" }, InvalidProfile},
		"revoked meanwhile": {func(_ *house, _ *Request, stored *Certificate) { stored.Revocation = &Revoked{} }, BadValidity},
		"profile changed":   {func(h *house, _ *Request, _ *Certificate) { h.authority.Profiles["server"].OCSP = false }, LintFailed},
		"other TBS":         {func(_ *house, _ *Request, stored *Certificate) { stored.NotAfter = stored.NotAfter.Add(time.Second) }, LintFailed},
		"broken TBS":        {func(_ *house, _ *Request, stored *Certificate) { stored.TBS = []byte{0x30, 0} }, LintFailed},
		"no TBS":            {func(_ *house, _ *Request, stored *Certificate) { stored.TBS = nil }, LintFailed},
	} {
		h := newHouse(t, "ec256")
		key := newTestKey(t, "ec256")
		serial, _ := begun(t, h, key)
		r := h.request(t, "o1", key, "a.example")
		stored := h.ledger.certs[serial]
		c.change(h, r, &stored)
		h.ledger.certs[serial] = stored
		got, err := h.authority.Issue(t.Context(), r)
		if err == nil {
			t.Errorf("%s: issued %s", what, got.Serial)
			continue
		}
		wantRefusal(t, err, c.code)
		if h.ledger.certs[serial].DER != nil {
			t.Errorf("%s: a certificate was stored", what)
		}
	}
}

func TestLedgerFails(t *testing.T) {
	down := errors.New("store is down")
	for _, method := range []string{"Reserve", "PutCertificate", "Certificate"} {
		h := newHouse(t, "ec256")
		r := h.request(t, "o1", newTestKey(t, "ec256"), "a.example")
		h.ledger.fail = func(m string) error {
			switch {
			case m == method:
				return down
			case m == "PutCertificate": // another replica was first
				return ErrConflict
			}
			return nil
		}
		c, err := h.authority.Issue(t.Context(), r)
		var refusal *Refusal
		if !errors.Is(err, down) || errors.As(err, &refusal) || c != nil {
			t.Errorf("%s: %v, %v", method, c, err)
		}
	}
	// A ledger that says "somebody was first" and has nothing is not believed.
	h := newHouse(t, "ec256")
	h.ledger.fail = func(m string) error {
		if m == "PutCertificate" {
			return ErrConflict
		}
		return nil
	}
	if c, err := h.authority.Issue(t.Context(), h.request(t, "o1", newTestKey(t, "ec256"), "a.example")); !errors.Is(err, ErrConflict) {
		t.Errorf("%v, %v", c, err)
	}
	// One that answers with another order's certificate neither.
	h = newHouse(t, "ec256")
	first, err := h.authority.Issue(t.Context(), h.request(t, "o1", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	h.ledger.orders["o2"] = first.Serial
	if c, err := h.authority.Issue(t.Context(), h.request(t, "o2", newTestKey(t, "ec256"), "a.example")); err == nil {
		t.Errorf("order o2 got %s", c.Serial)
	}
}

// TestSerialTaken: a serial that is taken is replaced once; a random source
// that repeats itself ends the issuance.
func TestSerialTaken(t *testing.T) {
	h := newHouse(t, "ec256")
	h.authority.Random = bytes.NewReader(append(make([]byte, 20), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
	for i := range 2 {
		_, err := h.authority.Issue(t.Context(), h.request(t, fmt.Sprint("o", i), newTestKey(t, "ec256"), "a.example"))
		check(t, err)
	}
	if len(h.ledger.certs) != 2 {
		t.Errorf("%d serials", len(h.ledger.certs))
	}
	h.authority.Random = zeros{}
	if _, err := h.authority.Issue(t.Context(), h.request(t, "o2", newTestKey(t, "ec256"), "a.example")); !errors.Is(err, ErrConflict) {
		t.Errorf("a broken random source gave %v", err)
	}
	h.authority.Random = iotest.ErrReader(io.ErrUnexpectedEOF)
	if _, err := h.authority.Issue(t.Context(), h.request(t, "o2", newTestKey(t, "ec256"), "a.example")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("no random source gave %v", err)
	}
	if len(h.ledger.certs) != 2 {
		t.Errorf("%d serials", len(h.ledger.certs))
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// faulty is a key store that signs something else, or with another key.
type faulty struct {
	crypto.Signer
	other crypto.Signer
}

func (f faulty) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if f.other != nil {
		return f.other.Sign(random, digest, opts)
	}
	wrong := bytes.Clone(digest)
	wrong[0] ^= 1
	return f.Signer.Sign(random, wrong, opts)
}

func TestFaultySignature(t *testing.T) {
	for _, kind := range kinds {
		h := newHouse(t, kind)
		for _, other := range []crypto.Signer{nil, newTestKey(t, "ec256")} {
			if other != nil && kind != "ec256" {
				continue
			}
			h.issuer.key = faulty{h.key, other}
			order := fmt.Sprint("with a key of another: ", other != nil)
			if c, err := h.authority.Issue(t.Context(), h.request(t, order, newTestKey(t, "ec384"), "a.example")); !errors.Is(err, errWrongSignature) {
				t.Errorf("%s: %v, %v", kind, c, err)
			}
			for _, stored := range h.ledger.certs {
				if stored.DER != nil {
					t.Errorf("%s: a certificate was stored", kind)
				}
			}
		}
	}
}

func TestTicketSignsOnce(t *testing.T) {
	h := newHouse(t, "ec256")
	ok, err := h.authority.accept(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	ticket, err := h.authority.prepare(ok)
	check(t, err)
	if _, err := ticket.sign(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ticket.sign(nil); err == nil {
		t.Error("a ticket signed twice")
	}
}

// TestCheckerFindsEach changes one thing of a template at a time: checker.go
// must not let any pass, even where the linter would.
func TestCheckerFindsEach(t *testing.T) {
	h := newHouse(t, "ec256")
	r := h.request(t, "o", newTestKey(t, "ec256"), "a.example", "192.0.2.1")
	p := DefaultProfile()
	for what, change := range map[string]func(m *template){
		"":                   func(*template) {},
		"serial number":      func(m *template) { m.serial = Serial{1, 2}.BigInt().Bytes() },
		"issuer":             func(m *template) { m.issuer = h.root.RawSubject },
		"validity":           func(m *template) { m.notAfter = m.notAfter.Add(time.Second) },
		"public key":         func(m *template) { m.spki = h.issuer.Certificate().RawSubjectPublicKeyInfo },
		"names":              func(m *template) { m.names = ids(t, "a.example", "b.example") },
		"subject":            func(m *template) { m.subject, _ = subjectName("", "a.example") },
		"key usage":          func(m *template) { m.keyUsage |= keyCertSign },
		"extended key usage": func(m *template) { m.extUsages = append(m.extUsages, oidClientAuth) },
		"basic constraints":  func(m *template) { m.isCA = true },
		"key identifiers":    func(m *template) { m.authority = h.root.SubjectKeyId },
		"OCSP pointer":       func(m *template) { m.ocspURL = "" },
		"issuer pointer":     func(m *template) { m.issuersURL += "x" },
		"CRL pointer":        func(m *template) { m.crlURL = "ldap://ca.example/" },
		"policies":           func(m *template) { m.policies, _ = parseOIDs([]string{"1.2.3"}) },
	} {
		cert := Certificate{Serial: Serial{1}, Issuer: h.issuer.id, Profile: p.Name, Names: r.Names, SPKI: r.CSR.SPKIHash(), NotBefore: noon, NotAfter: noon.Add(p.Validity - time.Second), ReservedAt: noon, Order: "o"}
		m, err := newTemplate(h.issuer, &p, &cert, r.CSR)
		check(t, err)
		change(m)
		cert.TBS, err = m.encode()
		check(t, err)
		lintDER, err := h.issuer.lintable(cert.TBS)
		check(t, err)
		err = h.authority.promise(h.issuer, &p).check(lintDER, &cert)
		if what == "" {
			check(t, err)
			continue
		}
		if err == nil {
			t.Errorf("%s was not found", what)
		} else if refusal := wantRefusal(t, err, LintFailed); !strings.HasSuffix(refusal.Detail, ": "+what) {
			t.Errorf("%s: %s", what, refusal.Detail)
		}
	}
}

func TestNameConstraintsAreHonoured(t *testing.T) {
	h := newHouse(t, "ec256")
	_, private, err := net.ParseCIDR("10.0.0.0/8")
	check(t, err)
	h.issuer.names, err = newConstraints([]*x509.Certificate{{PermittedDNSDomains: []string{"example"}, ExcludedDNSDomains: []string{"secret.example"}, PermittedIPRanges: []*net.IPNet{private}}})
	check(t, err)
	_, err = h.authority.Permit("", ids(t, "a.example", "b.test", "192.0.2.1"), time.Time{}, time.Time{}, noon)
	if r := wantRefusal(t, err, RejectedIdentifier); len(r.Parts) != 2 || *r.Parts[0].Identifier != ids(t, "b.test")[0] {
		t.Errorf("refusal %+v", r)
	}
	_, err = h.authority.Permit("", ids(t, "a.example", "10.1.2.3"), time.Time{}, time.Time{}, noon)
	check(t, err)
	for _, name := range []string{"b.test", "11.0.0.1", "x.secret.example", "*.example"} {
		_, err := h.authority.Issue(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), name))
		wantRefusal(t, err, RejectedIdentifier)
	}
}

func TestConstraints(t *testing.T) {
	network := func(s string) *net.IPNet {
		_, n, err := net.ParseCIDR(s)
		check(t, err)
		return n
	}
	chain := func(certs ...*x509.Certificate) constraints {
		c, err := newConstraints(certs)
		check(t, err)
		return c
	}
	free := chain(&x509.Certificate{}, &x509.Certificate{})
	dotted := chain(&x509.Certificate{PermittedDNSDomains: []string{".Example"}})
	two := chain(&x509.Certificate{PermittedDNSDomains: []string{"a.example"}}, &x509.Certificate{PermittedDNSDomains: []string{"example"}, ExcludedIPRanges: []*net.IPNet{network("::/0")}})
	all := chain(&x509.Certificate{ExcludedDNSDomains: []string{""}})
	for _, c := range []struct {
		what string
		c    constraints
		name string
		want bool
	}{
		{"free", free, "a.example", true},
		{"free", free, "192.0.2.1", true},
		{"dotted", dotted, "a.example", true},
		{"dotted", dotted, "example", false},
		{"dotted", dotted, "*.example", true},
		{"dotted", dotted, "aexample", false},
		{"dotted", dotted, "192.0.2.1", true},
		{"two", two, "a.example", true},
		{"two", two, "b.a.example", true},
		{"two", two, "*.a.example", true},
		{"two", two, "b.example", false},
		{"two", two, "xa.example", false},
		{"two", two, "192.0.2.1", true},
		{"two", two, "2001:db8::1", false},
		{"all excluded", all, "a.example", false},
	} {
		if got := c.c.allow(ids(t, c.name)[0]); got != c.want {
			t.Errorf("%s: %s allowed: %t", c.what, c.name, got)
		}
	}
}

func TestVerify(t *testing.T) {
	for _, kind := range kinds {
		h := newHouse(t, kind)
		check(t, h.authority.Verify(noon))
		if len(h.ledger.certs) != 0 {
			t.Error("Verify stored something")
		}
	}
	for what, change := range map[string]func(h *house){
		"no issuer":         func(h *house) { h.authority.Issuers = nil },
		"no ledger":         func(h *house) { h.authority.Ledger = nil },
		"issuer twice":      func(h *house) { h.authority.Issuers = append(h.authority.Issuers, h.issuer) },
		"no default":        func(h *house) { h.authority.Default = "other" },
		"bad profile":       func(h *house) { h.authority.Profiles["server"].Keys = nil },
		"name of a profile": func(h *house) { h.authority.Profiles["other"] = h.authority.Profiles["server"] },
		"purpose":           func(h *house) { h.issuer.chain[0].ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} },
		"lint":              func(h *house) { h.issuer.publishURL = "ftp://ca.example" },
	} {
		h := newHouse(t, "ec256")
		change(h)
		if err := h.authority.Verify(noon); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	h := newHouse(t, "ec256")
	for _, now := range []time.Time{noon.Add(-2 * time.Hour), noon.Add(9 * 365 * day)} {
		if err := h.authority.Verify(now); err == nil || !strings.Contains(err.Error(), "is valid from") {
			t.Errorf("at %s: %v", now, err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	for _, issuerKind := range []string{"ec256", "rsa"} {
		b.Run(issuerKind, func(b *testing.B) {
			h := newHouse(b, issuerKind)
			r := h.request(b, "", newTestKey(b, "ec256"), "a.example")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.authority.Issue(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(issuerKind+"/prepare", func(b *testing.B) {
			h := newHouse(b, issuerKind)
			ok, err := h.authority.accept(b.Context(), h.request(b, "", newTestKey(b, "ec256"), "a.example"))
			check(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.authority.prepare(ok); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(issuerKind+"/x509.CreateCertificate", func(b *testing.B) {
			h := newHouse(b, issuerKind)
			c, err := h.authority.Issue(b.Context(), h.request(b, "", newTestKey(b, "ec256"), "a.example"))
			check(b, err)
			template := h.verify(b, c, "a.example")
			public := template.PublicKey.(*ecdsa.PublicKey)
			template.SignatureAlgorithm = 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x509.CreateCertificate(nil, template, h.issuer.Certificate(), public, h.key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseCSR(b *testing.B) {
	der := newCSR(b, newTestKey(b, "ec256"), "a.example")
	for b.Loop() {
		if _, err := ParseCSR(der); err != nil {
			b.Fatal(err)
		}
	}
}

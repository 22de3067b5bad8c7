package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"
)

// Each test here is named after a row of docs/safety.md.

// anyName draws a name that private-strict certifies.
func anyName(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return fmt.Sprintf("10.%d.%d.%d", rapid.IntRange(0, 255).Draw(t, "a"), rapid.IntRange(0, 255).Draw(t, "b"), rapid.IntRange(1, 254).Draw(t, "c"))
	case 1:
		return net.IP(append([]byte{0x20, 0x01, 0x0d, 0xb8}, rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "v6")...)).String()
	}
	label := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z])?`)
	name := strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") + ".corp.example"
	if rapid.IntRange(0, 4).Draw(t, "wild") == 0 {
		name = "*." + name
	}
	return name
}

// sanOf reads the subjectAltName of a certificate by hand, in its sequence.
func sanOf(t testing.TB, cert *x509.Certificate) (names []Identifier) {
	t.Helper()
	count := 0
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		count++
		var raw []asn1.RawValue
		rest, err := asn1.Unmarshal(ext.Value, &raw)
		if err != nil || len(rest) != 0 {
			t.Fatalf("subjectAltName %x: %v", ext.Value, err)
		}
		for _, v := range raw {
			switch {
			case v.Class == 2 && v.Tag == 2:
				names = append(names, Identifier{DNS, string(v.Bytes)})
			case v.Class == 2 && v.Tag == 7:
				names = append(names, Identifier{IP, net.IP(v.Bytes).String()})
			default:
				t.Fatalf("a name of class %d, tag %d", v.Class, v.Tag)
			}
		}
	}
	if count != 1 {
		t.Fatalf("%d subjectAltNames", count)
	}
	return names
}

// TestIncident_I09: SAN(certificate) = ids(order) = ids(CSR), byte for byte,
// for generated orders; and a CSR with one name more or less is refused.
func TestIncident_I09(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	orders := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range 4 { // 400 orders in all
			orders++
			drawn := rapid.SliceOfNDistinct(rapid.Custom(anyName), 1, 20, func(s string) string { return s }).Draw(rt, "names")
			var labels []string
			for _, name := range drawn { // labels like "ab--c" are for another test
				if net.ParseIP(name) == nil {
					if _, err := ParseIdentifier("dns", name); err != nil {
						continue
					}
				}
				labels = append(labels, name)
			}
			if len(labels) == 0 {
				continue
			}
			order := fmt.Sprint("o", orders)
			r := h.request(t, order, key, labels...)
			c, err := h.authority.Issue(t.Context(), r)
			if err != nil {
				rt.Fatalf("%q: %v", labels, err)
			}
			cert, err := x509.ParseCertificate(c.DER)
			if err != nil {
				rt.Fatal(err)
			}
			inCert, inCSR := sanOf(t, cert), slices.Clone(r.CSR.Names())
			if !slices.Equal(inCert, r.Names) { // also in sequence
				rt.Fatalf("order %v, certificate %v", r.Names, inCert)
			}
			slices.SortFunc(inCert, compareIdentifiers)
			if !slices.Equal(inCert, inCSR) {
				rt.Fatalf("CSR %v, certificate %v", inCSR, inCert)
			}
			if len(cert.Subject.Names) != 0 || cert.Subject.CommonName != "" {
				rt.Fatalf("subject %s", cert.Subject)
			}
			more, err := ParseCSR(newCSR(t, key, append(labels, "www.corp.example", "a.b.c.d.e.f.corp.example")...))
			if err != nil {
				rt.Fatal(err)
			}
			other := *r
			other.Order, other.CSR = order+"+", more
			if err := h.authority.Check(&other); err == nil {
				rt.Fatal("a CSR with more names was accepted")
			}
		}
	})
	t.Logf("%d orders", orders)
}

// TestIncident_I10: method x name is a total table, and Issue holds its
// callers to it, whatever they say was validated, at any date.
func TestIncident_I10(t *testing.T) {
	h := newHouse(t, "ec256")
	forms := map[string]string{"name": "a.example", "wildcard": "*.a.example", "IPv4": "192.0.2.1", "IPv6": "2001:db8::1"}
	allowed := map[string][]string{
		"http-01": {"name", "IPv4", "IPv6"}, "tls-alpn-01": {"name", "IPv4", "IPv6"}, "dns-01": {"name", "wildcard"},
		// Retired by the Baseline Requirements, unknown, or misspelled.
		"tls-sni-01": nil, "tls-sni-02": nil, "email-reply-00": nil, "proofOfPossession-01": nil, "simpleHttp": nil, "": nil, "HTTP-01": nil, "dns-01 ": nil,
	}
	if len(Proofs()) != 3 {
		t.Errorf("there are methods that this test does not know: %v", Proofs())
	}
	n := 0
	for _, at := range []time.Time{noon, since(2027, 3, 15), since(2029, 3, 15)} {
		h := newHouseAt(t, "ec256", at)
		for method, good := range allowed {
			for form, name := range forms {
				n++
				r := h.request(t, fmt.Sprint("o", n), newTestKey(t, "ec256"), name).proven(at)
				r.Evidence[0].Method = method
				_, err := h.authority.Issue(t.Context(), r)
				if want := slices.Contains(good, form); (err == nil) != want {
					t.Errorf("%s for %s on %s: %v", method, form, at.Format(time.DateOnly), err)
				}
			}
		}
	}
	// A proof of one name is none of another, above or below it.
	for _, other := range []string{"example", "b.a.example", "*.example", "b.example"} {
		r := h.request(t, "x"+other, newTestKey(t, "ec256"), "a.example")
		r.Evidence[0].Name = ids(t, other)[0]
		if _, err := h.authority.Issue(t.Context(), r); err == nil {
			t.Errorf("a proof of %s certified a.example", other)
		}
	}
}

// TestIncident_I25: no certificate that claims to be older than an hour, by
// any way: asked for, by profile, or in the octets that are signed.
func TestIncident_I25(t *testing.T) {
	h := newHouseAt(t, "ec256", noon.Add(-30*day))
	for _, back := range []time.Duration{maxAge + 2*time.Second, 2 * time.Hour, 48 * time.Hour, 20 * day} {
		r := h.request(t, "o", newTestKey(t, "ec256"), "a.example")
		r.NotBefore = noon.Add(-back)
		_, err := h.authority.Issue(t.Context(), r)
		wantRefusal(t, err, BadValidity)
		p := h.authority.Profiles["server"]
		_, err = h.authority.prepare(&accepted{r, p, r.NotBefore, noon.Add(day)})
		if refusal := wantRefusal(t, err, LintFailed); !strings.HasSuffix(refusal.Detail, "beginning of the validity") {
			t.Errorf("%s back: %s", back, refusal)
		}
	}
	p := DefaultProfile()
	p.Backdate = maxBackdate + time.Second
	if p.Check() == nil {
		t.Error("a profile may backdate by more than an hour")
	}
	// A reservation of before, whose time has gone by, is not signed any more.
	key := newTestKey(t, "ec256")
	begun(t, h, key)
	late := h.request(t, "o1", key, "a.example").proven(noon.Add(2 * time.Hour))
	_, err := h.authority.Issue(t.Context(), late)
	wantRefusal(t, err, BadValidity)
}

// TestIncident_I27: which lists are taken, and which are refused whole.
func TestIncident_I27(t *testing.T) {
	for what, c := range map[string]struct {
		list string
		want int // entries; -1: refused
	}{
		"one":                    {"a.example\n", 1},
		"no line feed at end":    {"a.example", 1},
		"comment and blank":      {"# of 2026\n\na.example\n", 1},
		"all forms":              {"a.example\n=b.example\n=*.c.example\n10.0.0.0/8\n2001:db8::1\nxn--mnchen-3ya.de\n", 6},
		"twice":                  {"a.example\na.example\n", 2},
		"empty":                  {"", -1},
		"only comments":          {"# nothing\n\n", -1},
		"byte order mark":        {"\ufeffa.example\n", -1},
		"CRLF":                   {"a.example\r\nb.example\r\n", -1},
		"tab":                    {"a.example\tbad bank\n", -1},
		"indented":               {" a.example\n", -1},
		"blank behind":           {"a.example \n", -1},
		"comment behind":         {"a.example # bank\n", -1},
		"trailing dot":           {"a.example.\n", -1},
		"leading dot":            {".a.example\n", -1},
		"upper case":             {"A.example\n", -1},
		"U-label":                {"münchen.de\n", -1},
		"fake A-label":           {"xn--example-.com\n", -1},
		"wildcard":               {"*.a.example\n", -1},
		"two on a line":          {"a.example,b.example\n", -1},
		"URL":                    {"https://a.example/\n", -1},
		"NUL":                    {"a.example\x00\n", -1},
		"one bad among good":     {"a.example\nb_b.example\nc.example\n", -1},
		"mapped network":         {"::ffff:10.0.0.0/104\n", -1},
		"network with host bits": {"10.0.0.1/8\n", -1},
		"UTF-16":                 {"a\x00.\x00e\x00\n\x00", -1},
	} {
		list, err := ParseNameList([]byte(c.list))
		if (err != nil) != (c.want < 0) || err == nil && len(list) != c.want {
			t.Errorf("%s: %d entries, %v", what, len(list), err)
		}
		if err != nil && (len(err.Error()) > 400 || !isASCII(err.Error())) {
			t.Errorf("%s: the error is not bounded, escaped text: %q", what, err)
		}
	}
	good, other := strings.Repeat("5a", 32), strings.Repeat("0f", 10)
	for what, c := range map[string]struct {
		list string
		want int
	}{
		"hash": {good + "\n", 1}, "modulus": {other, 1}, "both": {"# x\n" + good + "\n" + other + "\n", 2},
		"empty": {"", -1}, "upper case": {strings.ToUpper(good), -1}, "short": {good[1:], -1}, "long": {good + "0", -1},
		"not hexadecimal": {strings.Repeat("5g", 10), -1}, "CRLF": {good + "\r\n", -1}, "openssl's own line": {"Modulus=ABC\n", -1},
		"sha1sum's line": {other + "  -\n", -1}, "whole SHA-1": {other + other + "\n", -1}, "one bad among good": {good + "\nx\n", -1},
	} {
		var w WeakKeys
		err := w.Add([]byte(c.list))
		if (err != nil) != (c.want < 0) || err == nil && w.Len() != c.want || err != nil && w.Len() != 0 {
			t.Errorf("weak keys, %s: %d entries, %v", what, w.Len(), err)
		}
	}
}

// TestIncident_I35: 90 days are 90 days and not a second more, in the octets
// of the certificate, over 200,000 instants with the leap days and the end of
// UTCTime among them.
func TestIncident_I35(t *testing.T) {
	p := DefaultProfile()
	h := newHouse(t, "ec256")
	spki, err := x509.MarshalPKIXPublicKey(newTestKey(t, "ec256").Public())
	check(t, err)
	issuer := &x509.Certificate{NotBefore: since(2020, 1, 1), NotAfter: since(2099, 1, 1)}
	special := []time.Time{
		since(2028, 2, 28), since(2028, 2, 29), since(2028, 3, 1), since(2048, 2, 29), since(2049, 10, 2), since(2049, 10, 3), since(2049, 10, 4),
		since(2049, 12, 31), since(2050, 1, 1), since(2050, 1, 1).Add(-time.Second), since(2050, 1, 1).Add(time.Minute), since(2038, 1, 19), since(2096, 2, 29),
	}
	for n := range 200_000 {
		now := since(2026, 1, 1).Add(time.Duration(mrand.Int64N(int64(70 * 365 * day))))
		if n < len(special) {
			now = special[n]
		}
		from, to, err := p.validity(span{}, now, p.Backdate, issuer)
		check(t, err)
		if to.Sub(from)+time.Second != 90*day {
			t.Fatalf("at %s: %s to %s", now, from, to)
		}
		if n%100 != 0 && n >= len(special) {
			continue
		}
		tmpl := template{
			serial: []byte{1}, algorithm: h.issuer.algorithm.id, issuer: h.issuer.Certificate().RawSubject,
			notBefore: from, notAfter: to, subject: emptyName, spki: spki, keyUsage: digitalSignature, names: ids(t, "a.example"),
		}
		tbs, err := tmpl.encode()
		check(t, err)
		lintDER, err := h.issuer.lintable(tbs)
		check(t, err)
		cert, err := x509.ParseCertificate(lintDER)
		check(t, err)
		if got := cert.NotAfter.Sub(cert.NotBefore) + time.Second; got != 90*day {
			t.Fatalf("at %s: the octets say %s", now, got)
		}
		// RFC 5280 section 4.1.2.5: UTCTime through 2049, and never after.
		utc := bytes.Count(tbs, []byte{0x17, 13})
		want := 0
		for _, at := range []time.Time{from, to} {
			if at.Year() < 2050 {
				want++
			}
		}
		if utc < want {
			t.Fatalf("at %s: %d UTCTimes, want %d", now, utc, want)
		}
	}
}

// TestIncident_I37: 80 bits of a random source that all reach the serial
// number; no randomness, no certificate.
func TestIncident_I37(t *testing.T) {
	seen := map[Serial]bool{}
	limit := new(big.Int).Lsh(big.NewInt(1), 159)
	for range 200_000 {
		s, err := NewSerial(noon, rand.Reader)
		check(t, err)
		if seen[s] || s.BigInt().Sign() <= 0 || s.BigInt().Cmp(limit) >= 0 {
			t.Fatalf("serial %s", s)
		}
		seen[s] = true
	}
	for bit := range 80 { // each bit of the source is a bit of the serial
		var source [10]byte
		source[bit/8] = 1 << (bit % 8)
		s, err := NewSerial(noon, bytes.NewReader(source[:]))
		check(t, err)
		if s[6+bit/8] != source[bit/8] {
			t.Errorf("bit %d is lost", bit)
		}
	}
	h := newHouse(t, "ec256")
	for what, broken := range map[string]io.Reader{"fails": iotest.ErrReader(errors.New("no entropy")), "ends early": io.LimitReader(rand.Reader, 9)} {
		h.authority.Random = broken
		if c, err := h.authority.Issue(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), "a.example")); err == nil {
			t.Errorf("a source that %s gave certificate %s", what, c.Serial)
		}
	}
	if len(h.ledger.certs) != 0 {
		t.Error("something was reserved without randomness")
	}
}

// TestIncident_I38: issuers and replicas share no serial: a number that is
// taken, by whichever issuer, is not given out again.
func TestIncident_I38(t *testing.T) {
	first, second := newHouse(t, "ec256"), newHouse(t, "ec256")
	second.ledger, second.authority.Ledger = first.ledger, first.ledger
	same := func() io.Reader { // both draw the same bits, then others
		return io.MultiReader(bytes.NewReader(make([]byte, 10)), rand.Reader)
	}
	first.authority.Random, second.authority.Random = same(), same()
	a, err := first.authority.Issue(t.Context(), first.request(t, "o1", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	b, err := second.authority.Issue(t.Context(), second.request(t, "o2", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	if a.Serial == b.Serial || a.Issuer == b.Issuer {
		t.Errorf("serials %s and %s of issuers %s and %s", a.Serial, b.Serial, a.Issuer, b.Issuer)
	}
}

// TestIncident_I39: two looks at each to-be-signed certificate, and neither
// lets through what the other one is blind to.
func TestIncident_I39(t *testing.T) {
	h := newHouse(t, "ec256")
	r := h.request(t, "o", newTestKey(t, "ec256"), "a.example")
	p := h.authority.Profiles["server"]
	for what, change := range map[string]func(m *template){
		"a validity of 400 days":  func(m *template) { m.notAfter = m.notBefore.Add(400 * day) },
		"another CRL pointer":     func(m *template) { m.crlURL = "http://evil.example/x.crl" },
		"an ldap CRL pointer":     func(m *template) { m.crlURL = "ldap://ca.example/x" },
		"a subject of two parts":  func(m *template) { m.subject, _ = subjectName("Example", "a.example") },
		"another issuer's name":   func(m *template) { m.issuer = h.root.RawSubject },
		"no extended key usage":   func(m *template) { m.extUsages = nil },
		"a name more":             func(m *template) { m.names = ids(t, "a.example", "www.a.example") },
		"a negative serial":       func(m *template) { m.serial = []byte{0x80, 1} },
		"a serial of 21 octets":   func(m *template) { m.serial = bytes.Repeat([]byte{1}, 21) },
		"a CA":                    func(m *template) { m.isCA, m.maxPath = true, 0 },
		"a key usage of CAs":      func(m *template) { m.keyUsage |= keyCertSign },
		"an end before the start": func(m *template) { m.notAfter = m.notBefore.Add(-time.Second) },
	} {
		cert := Certificate{Serial: Serial{1}, Issuer: h.issuer.id, Profile: p.Name, Order: "o", Names: r.Names, SPKI: r.CSR.SPKIHash(), NotBefore: noon, NotAfter: noon.Add(p.Validity - time.Second), ReservedAt: noon}
		m, err := newTemplate(h.issuer, p, &cert, r.CSR)
		check(t, err)
		change(m)
		cert.TBS, err = m.encode()
		check(t, err)
		if _, err := h.authority.newTicket(h.issuer, p, cert); err == nil {
			t.Errorf("%s got a ticket", what)
		}
	}
	// Unique identifiers, which crypto/x509 passes over.
	cert := Certificate{Serial: Serial{1}, Issuer: h.issuer.id, Profile: p.Name, Order: "o", Names: r.Names, SPKI: r.CSR.SPKIHash(), NotBefore: noon, NotAfter: noon.Add(p.Validity - time.Second), ReservedAt: noon}
	m, err := newTemplate(h.issuer, p, &cert, r.CSR)
	check(t, err)
	tbs, err := m.encode()
	check(t, err)
	if !plainFields(tbs) {
		t.Error("our own fields are not plain")
	}
	var outer asn1.RawValue
	_, err = asn1.Unmarshal(tbs, &outer)
	check(t, err)
	at := bytes.LastIndex(outer.Bytes, []byte{0xa3, 0x82})
	if at < 0 {
		at = bytes.LastIndex(outer.Bytes, []byte{0xa3, 0x81})
	}
	unique := slices.Concat(outer.Bytes[:at], []byte{0x81, 0x02, 0x00, 0x01}, outer.Bytes[at:])
	withUnique, err := asn1.Marshal(asn1.RawValue{Tag: 16, IsCompound: true, Bytes: unique})
	check(t, err)
	if plainFields(withUnique) {
		t.Error("an issuerUniqueID was not found")
	}
	lintDER, err := h.issuer.lintable(withUnique)
	check(t, err)
	cert.TBS = withUnique
	if refusal := wantRefusal(t, h.authority.promise(h.issuer, p).check(lintDER, &cert), LintFailed); !strings.HasSuffix(refusal.Detail, ": fields") {
		t.Errorf("an issuerUniqueID: %s", refusal)
	}
}

// TestIncident_I40: certificates of CAs go through the same gate; each MUST
// that is missing is found before the signature.
func TestIncident_I40(t *testing.T) {
	key, rootKey := newTestKey(t, "ec256"), newTestKey(t, "ec256")
	root, err := NewRoot(RootSpec{Name: "Example", Key: rootKey, Now: noon})
	check(t, err)
	base := func() *template {
		m, err := caTemplate(caSpec{"Example", "Intermediate CA", key.Public(), noon, 0, intermediateValidity, rand.Reader})
		check(t, err)
		m.issuer, m.authority = root.RawSubject, root.SubjectKeyId
		m.extUsages = []asn1.ObjectIdentifier{oidServerAuth, oidClientAuth}
		m.issuersURL, m.crlURL = publishURL+"/issuer/x.der", publishURL+"/crl/x.crl"
		return m
	}
	if _, err := signCA(base(), rootKey, rand.Reader); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(m *template){
		"no CA":                        func(m *template) { m.isCA = false },
		"no keyCertSign":               func(m *template) { m.keyUsage = cRLSign },
		"no cRLSign":                   func(m *template) { m.keyUsage = keyCertSign },
		"no key usage":                 func(m *template) { m.keyUsage = 0 },
		"no authority key identifier":  func(m *template) { m.authority = nil },
		"an empty subject":             func(m *template) { m.subject = emptyName },
		"no time":                      func(m *template) { m.notAfter = m.notBefore.Add(-time.Second) },
		"a serial of 21 octets":        func(m *template) { m.serial = bytes.Repeat([]byte{1}, 21) },
		"an https CRL pointer":         func(m *template) { m.crlURL = "https://ca.example/x.crl" },
		"a key that must not be one's": func(m *template) { m.spki = []byte{0x30, 0} },
	} {
		m := base()
		change(m)
		if cert, err := signCA(m, rootKey, rand.Reader); err == nil {
			t.Errorf("%s was signed: %x", what, cert.Raw)
		}
	}
}

// TestIncident_I41: pointers in certificates are http, by type and by check.
func TestIncident_I41(t *testing.T) {
	h := newHouse(t, "ec256")
	for _, bad := range []string{
		"https://ca.example", "ldap://ca.example", "ftp://ca.example", "ca.example", "//ca.example", "http:", "http://", "HTTP//ca.example",
		"http://user@ca.example", "http://ca.example?x", "http://ca.example#x", "http://ca.example/", "http://cä.example", "", "file:///x", "javascript:x",
	} {
		if _, err := NewIssuer(IssuerConfig{Chain: h.issuer.Chain(), Key: h.key, PublishURL: bad}); err == nil {
			t.Errorf("an issuer points to %q", bad)
		}
		if _, err := NewIntermediate(IntermediateSpec{Name: "Example", Public: h.key.Public(), Root: h.root, RootKey: h.rootKey, PublishURL: bad, Now: noon}); err == nil {
			t.Errorf("an intermediate points to %q", bad)
		}
	}
}

// TestIncident_I42: every string of a subject is of the type that its tag says.
func TestIncident_I42(t *testing.T) {
	key := newTestKey(t, "ec256")
	for _, name := range []string{"Example", "Bäckerei Übermut", "株式会社", "a@b", "it's", "x*y", "Ünïcødé CA", "a/b", "☃"} {
		root, err := NewRoot(RootSpec{Name: name, Key: key, Now: noon})
		if err != nil {
			continue // refused is as good
		}
		var rdns []asn1.RawValue
		_, err = asn1.Unmarshal(root.RawSubject, &rdns)
		check(t, err)
		for _, set := range rdns {
			var pair struct {
				ID    asn1.ObjectIdentifier
				Value asn1.RawValue
			}
			_, err := asn1.Unmarshal(set.Bytes, &pair)
			check(t, err)
			text := string(pair.Value.Bytes)
			switch pair.Value.Tag {
			case asn1.TagPrintableString:
				for _, c := range text {
					if c > 127 || !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?", c) {
						t.Errorf("PrintableString %q has %q", text, c)
					}
				}
			case asn1.TagUTF8String:
			default:
				t.Errorf("%q is a string of tag %d", text, pair.Value.Tag)
			}
		}
		if !strings.Contains(root.Subject.CommonName, name) {
			t.Errorf("%q became %q", name, root.Subject.CommonName)
		}
	}
}

// TestIncident_I43: keys of each known weakness are refused for certificates
// and for accounts, and good ones never.
func TestIncident_I43(t *testing.T) {
	h := newHouse(t, "ec256")
	p, err := rand.Prime(rand.Reader, 1024)
	check(t, err)
	next := new(big.Int).Add(p, big.NewInt(2))
	for !next.ProbablyPrime(20) {
		next.Add(next, big.NewInt(2))
	}
	root, err := rand.Prime(rand.Reader, 683)
	check(t, err)
	cube := new(big.Int).Exp(root, big.NewInt(3), nil)
	for cube.BitLen()%8 != 0 {
		root, err = rand.Prime(rand.Reader, 683)
		check(t, err)
		cube.Exp(root, big.NewInt(3), nil)
	}
	small := new(big.Int).Mul(big.NewInt(751), randomModulus(t, 2038))
	for small.BitLen() != 2048 {
		small.Mul(big.NewInt(751), randomModulus(t, 2039))
	}
	listed := &rsa.PublicKey{N: randomModulus(t, 2048), E: 65537}
	fingerprint := modulusFingerprint(listed)
	h.authority.WeakKeys = &WeakKeys{}
	check(t, h.authority.WeakKeys.Add([]byte("# Debian\n"+hex.EncodeToString(fingerprint[:])+"\n")))
	for what, n := range map[string]*big.Int{
		"neighbouring primes": new(big.Int).Mul(p, next), "a square": new(big.Int).Mul(p, p), "a cube": cube, "the factor 751": small,
		"ROCA": rocaModulus(t), "even": new(big.Int).SetBit(randomModulus(t, 2048), 0, 0), "1024 bits": randomModulus(t, 1024), "a listed modulus": listed.N,
	} {
		key := &rsa.PublicKey{N: n, E: 65537}
		wantRefusal(t, h.authority.CheckAccountKey(t.Context(), key), BadPublicKey)
		spki, err := x509.MarshalPKIXPublicKey(key)
		check(t, err)
		r := h.request(t, "o", newTestKey(t, "ec256"), "a.example")
		r.CSR.spki, r.CSR.key = spki, key
		if what == "a listed modulus" { // which ParseCSR alone can't know
			_, err = h.authority.Issue(t.Context(), r)
			wantRefusal(t, err, BadCSR)
			continue
		}
		// Even past ParseCSR, the second look finds it.
		profile := h.authority.Profiles["server"]
		_, err = h.authority.prepare(&accepted{r, profile, noon, noon.Add(day)})
		if err == nil {
			t.Errorf("%s got a ticket", what)
		}
	}
	for range 8000 {
		var encoded [ed25519.PublicKeySize]byte
		_, err := rand.Read(encoded[:])
		check(t, err)
		check(t, h.authority.CheckAccountKey(t.Context(), ed25519.PublicKey(encoded[:])))
	}
	for range 2000 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(t, err)
		check(t, h.authority.CheckAccountKey(t.Context(), &key.PublicKey))
	}
	for range 50 {
		check(t, h.authority.CheckAccountKey(t.Context(), &rsa.PublicKey{N: randomModulus(t, 2048), E: 65537}))
	}
	check(t, h.authority.CheckAccountKey(t.Context(), rsaKey().Public()))
}

// TestWeakKeyFormat: our fingerprint is what OpenSSL and sha1sum make of a
// key, as Debian's lists were made.
func TestWeakKeyFormat(t *testing.T) {
	need(t, "openssl")
	path := writePEM(t, t.TempDir(), "key.pem", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey()))
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "openssl rsa -noout -modulus -in '"+path+"' | sha1sum | cut -c 21-40").Output()
	check(t, err)
	var w WeakKeys
	check(t, w.Add(out))
	hash, err := SPKIHash(rsaKey().Public())
	check(t, err)
	if !w.Has(rsaKey().Public(), hash) {
		t.Errorf("%s is not our fingerprint", out)
	}
	if w.Has(&rsa.PublicKey{N: randomModulus(t, 2048), E: 65537}, hash) {
		t.Error("another key is on the list")
	}
}

// TestIncident_I45: a key is found by the same hash in whichever form it is
// reported.
func TestIncident_I45(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	ec, ok := newTestKey(t, "ec384").(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("no ECDSA key")
	}
	forms := 0
	for what, key := range map[string]crypto.Signer{"RSA": rsaKey(), "ECDSA": ec, "Ed25519": edKey} {
		want, err := SPKIHash(key.Public())
		check(t, err)
		reports := reportsOf(t, key)
		for form, report := range reports {
			forms++
			got, err := ReadKeyReport(report)
			if err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("%s as %s: %x, %v", what, form, got, err)
			}
		}
	}
	t.Logf("%d forms", forms)
	locked, err1 := ReadKeyReport([]byte(openSSHEncrypted))
	line, err2 := ReadKeyReport([]byte(openSSHPublic))
	if err1 != nil || err2 != nil || len(locked) != 1 || len(line) != 1 || locked[0] != line[0] {
		t.Errorf("OpenSSH's encrypted file: %x, %v; its public one: %x, %v", locked, err1, line, err2)
	}
	both := append(pemOf(t, "PUBLIC KEY", rsaKey().Public()), pemOf(t, "PUBLIC KEY", ec.Public())...)
	if got, err := ReadKeyReport(both); err != nil || len(got) != 2 {
		t.Errorf("two keys: %x, %v", got, err)
	}
	if got, err := ReadKeyReport(append(both, both...)); err != nil || len(got) != 2 {
		t.Errorf("two keys twice: %x, %v", got, err)
	}
	broken := bytes.Replace(both, []byte("\n"), []byte("\n!"), 1)
	for what, report := range map[string][]byte{
		"nothing": nil, "blanks": []byte(" \n"), "text": []byte("please revoke my key"), "one of two is broken": append(broken, both...),
		"text before": append([]byte("Here it is:\n"), both...), "text behind": append(slices.Clone(both), "thanks"...), "DER and more": append(derOf(t, ec.Public()), 0),
		"unknown PEM": []byte("-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----\n"), "half a PEM": both[:len(both)-30],
		"encrypted": []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"),
		"JSON":      []byte(`{"a":1}`), "no set": []byte(`{"keys":[]}`), "symmetric": []byte(`{"kty":"oct","k":"AAAA"}`), "short hash": []byte("5a5a"),
		"SSH DSA": []byte("ssh-dss AAAAB3NzaC1kc3MAAAABAQ=="), "SSH of another type": []byte("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
		"too long": bytes.Repeat([]byte("#"), maxKeyReport+1), "off the curve": []byte(`{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`),
	} {
		if got, err := ReadKeyReport(report); err == nil {
			t.Errorf("%s: %x", what, got)
		} else if len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d characters", what, len(err.Error()))
		}
	}
}

// openSSHEncrypted was made by ssh-keygen with a passphrase, for this test.
const openSSHEncrypted = `-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBec3MCgo
UCtBlTTkpStwZUAAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAINMtF4KLlYhTI5D9
G4POYLvwEJda5suCuuN5cGbpBTLRAAAAkAfIWIPTOQ7Wmr8SfKtWVoIJc2GtCuwvD3SEWZ
53YRSbUrZ6IPC7qYzOHpfYwqSSf5B6lHiHL72+mmTePFapSkjqDeM8ZWeMfYPZ4MYDFBsU
9RFYdCz+w5PGLeJeLpWy/d+zIS14yk7Q2PQxjOoq/JLaZLF94Z9O/qetSpjwDWr6es6+i+
XNQ+8HaVti52jM2A==
-----END OPENSSH PRIVATE KEY-----`

const openSSHPublic = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINMtF4KLlYhTI5D9G4POYLvwEJda5suCuuN5cGbpBTLR me@host"

func derOf(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	check(t, err)
	return der
}

func pemOf(t testing.TB, kind string, public crypto.PublicKey) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: derOf(t, public)})
}

// reportsOf writes a key in every form that ReadKeyReport takes, by other
// programs' code.
func reportsOf(t testing.TB, key crypto.Signer) map[string][]byte {
	t.Helper()
	reports := map[string][]byte{"SPKI": derOf(t, key.Public()), "SPKI in PEM": pemOf(t, "PUBLIC KEY", key.Public())}
	add := func(form, kind string, der []byte, err error) {
		check(t, err)
		reports[form] = der
		reports[form+" in PEM"] = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	add("PKCS #8", "PRIVATE KEY", pkcs8, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example"}}, key)
	add("CSR", "CERTIFICATE REQUEST", csr, err)
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}, &x509.Certificate{}, key.Public(), key)
	add("certificate", "CERTIFICATE", cert, err)
	switch k := key.(type) {
	case *rsa.PrivateKey:
		add("PKCS #1", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k), nil)
		add("PKCS #1 public", "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.PublicKey), nil)
	case *ecdsa.PrivateKey:
		sec1, err := x509.MarshalECPrivateKey(k)
		add("SEC 1", "EC PRIVATE KEY", sec1, err)
		reports["openssl ecparam -genkey"] = append([]byte("-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"), reports["SEC 1 in PEM"]...)
	}
	jwk := jwkOf(t, key.Public())
	reports["JWK"], reports["JWK set"] = jwk, slices.Concat([]byte(`{"keys":[`), jwk, []byte(`]}`))
	public, err := ssh.NewPublicKey(key.Public())
	check(t, err)
	reports["SSH"] = ssh.MarshalAuthorizedKey(public)
	reports["SSH with a comment"] = append(bytes.TrimSpace(ssh.MarshalAuthorizedKey(public)), " me@host\n# end\n"...)
	block, err := ssh.MarshalPrivateKey(key, "me")
	check(t, err)
	reports["OpenSSH private"] = pem.EncodeToMemory(block)
	hash := sha256.Sum256(derOf(t, key.Public()))
	reports["hash"] = []byte(hex.EncodeToString(hash[:]) + "\n")
	return reports
}

func jwkOf(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	m := map[string]string{}
	switch k := public.(type) {
	case *rsa.PublicKey:
		m = map[string]string{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes()), "d": "AQ"}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		check(t, err)
		half := len(point) / 2
		m = map[string]string{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		m = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	text, err := json.Marshal(m)
	check(t, err)
	return text
}

// TestBlockedKeyIsNotCertified: SAFETY row 146, at the check, at the order's
// end, in the moment between check and reservation; and an answer that does
// not come is no permission.
func TestBlockedKeyIsNotCertified(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	hash, err := SPKIHash(key.Public())
	check(t, err)
	var asked error
	h.authority.BlockedKeys = func(_ context.Context, spki [32]byte) (bool, error) { return spki == hash, asked }
	wantRefusal(t, h.authority.Check(h.request(t, "o", key, "a.example")), BadCSR)
	_, err = h.authority.Issue(t.Context(), h.request(t, "o", key, "a.example"))
	wantRefusal(t, err, BadCSR)
	wantRefusal(t, h.authority.CheckAccountKey(t.Context(), key.Public()), BadPublicKey)
	other := newTestKey(t, "ec256")
	check(t, h.authority.CheckAccountKey(t.Context(), other.Public()))
	asked = errors.New("the store is away")
	if _, err := h.authority.Issue(t.Context(), h.request(t, "o", other, "a.example")); !errors.Is(err, asked) {
		t.Errorf("got %v", err)
	}
	if err := h.authority.CheckAccountKey(t.Context(), other.Public()); !errors.Is(err, asked) {
		t.Errorf("got %v", err)
	}
	h.authority.BlockedKeys = nil
	h.ledger.fail = func(method string) error {
		if method == "Reserve" {
			return ErrBlockedKey
		}
		return nil
	}
	_, err = h.authority.Issue(t.Context(), h.request(t, "o", key, "a.example"))
	wantRefusal(t, err, BadCSR)
	if len(h.ledger.certs) != 0 {
		t.Error("something was reserved")
	}
}

// TestIncident_I69: an IPv4 address in IPv6 form never slips past a rule about
// IPv4 addresses.
func TestIncident_I69(t *testing.T) {
	h := newHouse(t, "ec256")
	h.authority.Profiles["server"].DeniedNames = patterns(t, "10.0.0.0/8")
	for _, value := range []string{
		"::ffff:10.0.0.1", "::ffff:a00:1", "0:0:0:0:0:ffff:10.0.0.1", "::FFFF:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
		"64:ff9b::10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::10.0.0.1", "::a00:1", "2001:0:a00:1::", "10.0.0.1", "010.0.0.1", "0xa.0.0.1", "167772161", "10.1",
	} {
		id, err := ParseIdentifier("ip", value)
		if err != nil {
			continue // refused at the door
		}
		if _, err := h.authority.Permit("", []Identifier{id}, time.Time{}, time.Time{}, noon); err == nil {
			t.Errorf("%s is certified", value)
		}
	}
	// In a CSR's iPAddress too: 16 octets of the mapped form.
	for _, octets := range [][]byte{net.IPv4(10, 0, 0, 1).To16(), append(make([]byte, 12), 10, 0, 0, 1)} {
		id, err := ipFromOctets(octets)
		if err != nil {
			continue
		}
		if _, err := h.authority.Permit("", []Identifier{id}, time.Time{}, time.Time{}, noon); err == nil {
			t.Errorf("%x is certified as %s", octets, id)
		}
	}
}

// TestIncident_I70: no A-label that is another name to another program passes
// a list or a rule.
func TestIncident_I70(t *testing.T) {
	h := newHouse(t, "ec256")
	h.authority.DeniedNames = patterns(t, "bank.example", "example.com", "xn--bnk-qla.example") // bänk
	for _, value := range []string{
		"xn--example-.com", "xn--bank-.example", "XN--BANK-.example", "www.xn--bank-.example", "xn--bank.example", "xn--.example", "xn---.example",
		"bank.example", "BANK.EXAMPLE", "*.bank.example", "www.bank.example", "bank.example.", "bank。example", "bank\u3002example", "ｂank.example",
		"b\u00e4nk.example", "ba\u0308nk.example", "xn--bnk-qla.example", "XN--BNK-QLA.example", "xn--bnk-qlA.EXAMPLE", "www.xn--bnk-qla.example",
		"xn--xn--bnk-qla-.example", "xn--bank-\u200d.example", "ban\u00adk.example", "bank.example\x00.com", "bank .example", "b\u0430nk.example",
	} {
		id, err := ParseIdentifier("dns", value)
		if err != nil {
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != MalformedIdentifier && refusal.Code != RejectedIdentifier {
				t.Errorf("%q: %v", value, err)
			}
			continue
		}
		if _, err := h.authority.Permit("", []Identifier{id}, time.Time{}, time.Time{}, noon); err == nil {
			t.Errorf("%q is certified as %s", value, id)
		} else {
			wantRefusal(t, err, RejectedIdentifier)
		}
	}
}

func FuzzReadKeyReport(f *testing.F) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(f, err)
	for _, report := range reportsOf(f, key) {
		f.Add(report)
	}
	for _, report := range reportsOf(f, rsaKey()) {
		f.Add(report)
	}
	f.Add([]byte("-----BEGIN -----BEGIN "))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, report []byte) {
		keys, err := ReadKeyReport(report)
		if (err == nil) == (len(keys) == 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

func FuzzLists(f *testing.F) {
	f.Add([]byte("a.example\n# x\n=b.example\n10.0.0.0/8\n"))
	f.Add([]byte("\ufeffa\r\n"))
	f.Add([]byte(strings.Repeat("5a", 32) + "\n" + strings.Repeat("0f", 10)))
	f.Fuzz(func(t *testing.T, list []byte) {
		names, err := ParseNameList(list)
		lines := 0
		for line := range bytes.SplitSeq(list, []byte("\n")) {
			if len(line) > 0 && line[0] != '#' {
				lines++
			}
		}
		if err == nil && (len(names) != lines || lines == 0) {
			t.Errorf("%d names of %d lines", len(names), lines)
		}
		var w WeakKeys
		if err := w.Add(list); err != nil && w.Len() != 0 || err == nil && w.Len() == 0 {
			t.Errorf("%d keys, %v", w.Len(), err)
		}
	})
}

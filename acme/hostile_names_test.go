package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// TestHostileIdentifiers walks rows 110 to 130 of the catalogue of hostile
// inputs (SAFETY section 5, H-I): each input with the one error type and
// status that it gets, from the door's parser to the stored order.
func TestHostileIdentifiers(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	const served = acme.Kind(-1)
	long := strings.Repeat("a", 63)
	cases := 0
	for _, row := range []struct {
		row    string
		typ    string
		values []string
		want   acme.Kind
	}{
		{"113", "email", []string{"a@b.example"}, acme.UnsupportedIdentifier},
		{"113", "", []string{"a.example"}, acme.UnsupportedIdentifier},
		{"113", "DNS", []string{"a.example"}, acme.UnsupportedIdentifier},
		{"113", "permanent-identifier", []string{"x"}, acme.UnsupportedIdentifier},
		{"114", "dns", []string{
			"a b.example", "a\x00.example", "a_b.example", "_acme.example", "a/b.example", "a:80", "a.example:443", "\U0001f600.example", "a\uff0eexample", "a\u200d.example",
			"a\tb", "a\n", "\x7f.example", "a%2eexample", "a@b.example", "https://a.example", "a.example/", "a,b.example", "(a).example", "a\\b.example", "a'b.example", "a\"b", "<b>.example", "a;b",
		}, acme.Malformed},
		{"115", "dns", []string{"m\u00fcnchen.de", "\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444", "xn--mnchen-3ya.d\u00e9"}, acme.Malformed},
		{"116", "dns", []string{"xn--example-.com", "xn--.example", "xn--a.example", "xn--abc-.example", "xn--0.pt", "xn--a-ecp.example", "XN--BANK-.example", "xn--" + long[:59]}, acme.Malformed},
		{"117", "dns", []string{"ab--cd.example", "*.ab--cd.example", "AB--CD.example"}, acme.RejectedIdentifier},
		{"118", "dns", []string{
			"a.example.", ".a.example", "a..example", ".", "..", strings.Repeat(long+".", 4) + "a", long + "a.example", strings.Repeat("a.", 128) + "example", "-a.example", "a-.example", "",
			strings.Repeat("a", 64), strings.Repeat("a", 100_000),
		}, acme.Malformed},
		{"119", "dns", []string{"com", "de", "co.uk", "*.co.uk", "*.com", "*.kawasaki.jp", "CO.UK", "*.Co.Uk", "xn--fiqs8s", "*.xn--fiqs8s"}, acme.RejectedIdentifier},
		{"119, private-strict", "dns", []string{"db", "*.corp", "github.io"}, served},
		{"120", "dns", []string{"*.*.a.example", "a.*.example", "*a.example", "a*.example", "*", "*.", "**.example", "*.a.*.example", "\u2217.example"}, acme.Malformed},
		{"122, private-strict", "dns", []string{"localhost", "a.localhost", "*.localhost", "a.local", "a.internal", "nas.home.arpa", "a.test"}, served},
		{"122", "dns", []string{"abc.onion", "onion", "*.abc.onion", "a.invalid", "invalid", "a.alt", "1.0.0.10.in-addr.arpa", "1.ip6.arpa", "arpa", "ABC.ONION"}, acme.RejectedIdentifier},
		{"123", "dns", []string{"127.0.0.1", "1.2.3.4", "2130706433", "a.1", "::1", "0x7f.1"}, acme.Malformed},
		{"123", "ip", []string{"0x7f.1", "2130706433", "127.1", "0177.0.0.1", "a.example", "", "127.0.0.1:80", "[::1]", "10.0.0.0/8", " 10.0.0.1", "1.2.3.4.5", "256.0.0.1"}, acme.Malformed},
		{"124, private-strict", "ip", []string{"127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "::1", "fd00::1", "2001:db8::1", "192.0.2.1"}, served},
		{"124", "ip", []string{
			"169.254.169.254", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "fe80::1", "ff02::1", "::", "64:ff9b::a00:1", "2002:a00:1::1", "2001::1", "::a00:1", "fec0::1", "192.88.99.1",
		}, acme.RejectedIdentifier},
		{"124", "ip", []string{"::ffff:10.0.0.1", "::ffff:a00:1", "fe80::1%lo", "fe80::1%25eth0"}, acme.Malformed},
		{"125", "ip", []string{"2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:0db8::1", "2001:db8::0:1", "0:0:0:0:0:0:0:1", "2001:db8::1:0:0:0:1 "}, acme.Malformed},
		{"130", "dns", []string{"bank.example", "BANK.example", "www.bank.example", "*.bank.example", "*.BANK.example", "xn--bnk-qla.example", "XN--BNK-QLA.EXAMPLE"}, acme.RejectedIdentifier},
		{"130", "dns", []string{"bank.example.", "b\u00e4nk.example", "ba\u0308nk.example", "bank\u3002example"}, acme.Malformed},
	} {
		for _, value := range row.values {
			cases++
			authority, _ := w.Issuer.(*ca.Authority)
			authority.DeniedNames = deniedNames(t, "bank.example", "xn--bnk-qla.example")
			err := ordered(t, w, c, row.typ, value)
			what := fmt.Sprintf("row %s: %s %.40q", row.row, row.typ, value)
			p := acme.AsProblem(err)
			switch {
			case row.want == served && err != nil:
				t.Errorf("%s: %v", what, err)
			case row.want == served:
			case p == nil || p.Kind != row.want || p.HTTPStatus() != 400:
				t.Errorf("%s: %v, want %v with 400", what, err, row.want)
			case len(p.Detail) > 500:
				t.Errorf("%s: a detail of %d characters", what, len(p.Detail))
			}
		}
	}
	t.Logf("%d cases", cases)
}

func deniedNames(t *testing.T, texts ...string) *ca.NameList {
	t.Helper()
	var patterns []ca.NamePattern
	for _, s := range texts {
		p, err := ca.ParseNamePattern(s)
		must(t, err)
		patterns = append(patterns, p)
	}
	return ca.NewNameList(patterns)
}

// ordered takes one identifier through parser and newOrder.
func ordered(t *testing.T, w *world, c acme.Caller, typ, value string) error {
	t.Helper()
	id, err := ca.ParseIdentifier(typ, value)
	if err != nil {
		return err
	}
	_, err = w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: []ca.Identifier{id}})
	return err
}

// TestHostileOrders: rows 110 to 112, 119, 121, 126, 127 and 129, which are
// about the order as a whole, and the subproblems of several names at fault.
func TestHostileOrders(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	many := func(n int) (ids []ca.Identifier) {
		for i := range n {
			ids = append(ids, names(t, fmt.Sprintf("h%d.example", i))...)
		}
		return ids
	}
	now := w.now().Truncate(time.Second)
	one := names(t, "a.example")
	for _, row := range []struct {
		row  string
		in   acme.NewOrder
		want acme.Kind
	}{
		{"110", acme.NewOrder{}, acme.Malformed},
		{"111", acme.NewOrder{Identifiers: many(101)}, acme.Malformed},
		{"111", acme.NewOrder{Identifiers: many(10_000)}, acme.Malformed},
		{"126", acme.NewOrder{Identifiers: one, NotBefore: now.Add(2 * time.Hour), NotAfter: now.Add(time.Hour)}, acme.Malformed},
		{"126", acme.NewOrder{Identifiers: one, NotAfter: now.Add(-time.Hour)}, acme.Malformed},
		{"126", acme.NewOrder{Identifiers: one, NotBefore: now.Add(-24 * time.Hour)}, acme.Malformed},
		{"126", acme.NewOrder{Identifiers: one, NotBefore: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)}, acme.Malformed},
		{"126", acme.NewOrder{Identifiers: one, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}, acme.Malformed},
		{"126", acme.NewOrder{Identifiers: one, NotAfter: now.Add(time.Hour + time.Millisecond)}, acme.Malformed},
		{"127", acme.NewOrder{Identifiers: one, NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour)}, acme.Malformed}, // a second more than 90 days
		{"129", acme.NewOrder{Identifiers: one, Profile: "none"}, acme.InvalidProfile},
		{"129", acme.NewOrder{Identifiers: one, Profile: "server\x00"}, acme.InvalidProfile},
	} {
		_, err := w.NewOrder(t.Context(), c, row.in)
		if p := acme.AsProblem(err); p == nil || p.Kind != row.want || p.HTTPStatus() != 400 {
			t.Errorf("row %s: %v, want %v", row.row, err, row.want)
		}
	}
	// Row 112: the same name in another case is the same name.
	o, err := w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "a.example", "A.example", "a.EXAMPLE")})
	must(t, err)
	if len(o.Identifiers) != 1 {
		t.Errorf("row 112: %v", o.Identifiers)
	}
	// Row 121, pinned: a wildcard beside a name that it covers is served.
	_, err = w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "*.a.example", "b.a.example")})
	must(t, err)
	// RFC 8555 section 6.7.1: a subproblem for each name at fault, none for the others.
	_, err = w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "a.example", "*.co.uk", "b.example", "x.onion")})
	p := acme.AsProblem(err)
	if p == nil || p.Kind != acme.RejectedIdentifier || len(p.Subproblems) != 2 {
		t.Fatalf("got %+v", p)
	}
	for i, want := range []string{"*.co.uk", "x.onion"} {
		if sub := p.Subproblems[i]; sub.Kind != acme.RejectedIdentifier || sub.Identifier == nil || sub.Identifier.Value() != want || !strings.Contains(sub.Detail, want) {
			t.Errorf("subproblem %d: %+v", i, sub)
		}
	}
}

// hostileCSR signs a request that may be as odd as crypto/x509 lets it.
func hostileCSR(t *testing.T, key crypto.Signer, change func(r *x509.CertificateRequest)) []byte {
	t.Helper()
	r := &x509.CertificateRequest{DNSNames: []string{"a.example"}}
	change(r)
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	must(t, err)
	return der
}

func extension(t *testing.T, id asn1.ObjectIdentifier, value any) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(value)
	must(t, err)
	return pkix.Extension{Id: id, Value: der}
}

// TestHostileCSRs walks rows 134 to 146 (H-C): each CSR is badCSR with 400,
// the order stays ready, and then a good one is served.
func TestHostileCSRs(t *testing.T) {
	w := newWorld(t).blocking()
	c, key := w.register(), newKey(t)
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	good := csrFor(t, key, "a.example")
	flip := func(at int) []byte {
		b := append([]byte(nil), good...)
		b[(at+len(b))%len(b)] ^= 0x40
		return b
	}
	rsaOf := func(bits int) crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		must(t, err)
		return k
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	revoked := newKey(t)
	_, err = w.BlockKey(t.Context(), ca.System("test"), accountKey(t, revoked).SPKI(), "")
	must(t, err)
	mine := newKey(t)
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, mine)})
	must(t, err)
	plain := func(*x509.CertificateRequest) {}
	names := func(list ...string) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) { r.DNSNames = list }
	}
	manyNames := make([]string, 10_000)
	for i := range manyNames {
		manyNames[i] = fmt.Sprintf("h%d.example", i)
	}
	basic, usage, eku, constraints := asn1.ObjectIdentifier{2, 5, 29, 19}, asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.ObjectIdentifier{2, 5, 29, 37}, asn1.ObjectIdentifier{2, 5, 29, 30}
	with := func(extensions ...pkix.Extension) func(*x509.CertificateRequest) {
		return func(r *x509.CertificateRequest) { r.ExtraExtensions = extensions }
	}
	uri, err := url.Parse("https://a.example/")
	must(t, err)
	cases := []struct {
		row string
		der []byte
	}{
		{"134 empty", nil},
		{"134 one octet", []byte{0x30}},
		{"134 text", []byte("hello")},
		{"134 PEM", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good})},
		{"134 trailing", append(append([]byte(nil), good...), 0)},
		{"134 indefinite length", append([]byte{0x30, 0x80}, good[4:]...)},
		{"134 cut", good[:len(good)-1]},
		{"134 a certificate", w.obtain(c, newKey(t), "a.example").Raw},
		{"135 long", append(append([]byte(nil), good...), make([]byte, 64<<10)...)},
		{"135 10,000 names", hostileCSR(t, key, names(manyNames...))},
		{"135 101 names", hostileCSR(t, key, names(manyNames[:101]...))},
		{"135 deep", []byte(strings.Repeat("\x30\x80", 30_000))},
		{"136 signature", flip(-3)},
		{"136 content", flip(40)},
		{"136 SHA-1", hostileCSR(t, rsaOf(2048), func(r *x509.CertificateRequest) { r.SignatureAlgorithm = x509.SHA1WithRSA })},
		{"137 more", hostileCSR(t, key, names("a.example", "b.example"))},
		{"137 other", hostileCSR(t, key, names("b.example"))},
		{"137 none", hostileCSR(t, key, names())},
		{"137 wildcard", hostileCSR(t, key, names("*.a.example"))},
		{"137 www", hostileCSR(t, key, names("a.example", "www.a.example"))},
		{"137 address more", hostileCSR(t, key, func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{{192, 0, 2, 1}} })},
		{"138 CN elsewhere", hostileCSR(t, key, func(r *x509.CertificateRequest) { r.Subject.CommonName = "b.example" })},
		{"138 CN of 65", hostileCSR(t, key, func(r *x509.CertificateRequest) { r.Subject.CommonName = strings.Repeat("a", 65) })},
		{"138 CN address", hostileCSR(t, key, func(r *x509.CertificateRequest) { r.Subject.CommonName = "192.0.2.1" })},
		{"138 two CNs", hostileCSR(t, key, func(r *x509.CertificateRequest) {
			cn := asn1.ObjectIdentifier{2, 5, 4, 3}
			r.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: cn, Value: "a.example"}, {Type: cn, Value: "a.example"}}}
		})},
		{"139 e-mail", hostileCSR(t, key, func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@a.example"} })},
		{"139 URI", hostileCSR(t, key, func(r *x509.CertificateRequest) { r.URIs = []*url.URL{uri} })},
		{"139 empty dNSName", hostileCSR(t, key, names("a.example", ""))},
		{"139 NUL", hostileCSR(t, key, names("a.example\x00.evil"))},
		{"139 trailing dot", hostileCSR(t, key, names("a.example."))},
		{"140 CA", hostileCSR(t, key, with(extension(t, basic, struct{ CA bool }{true})))},
		{"140 keyCertSign", hostileCSR(t, key, with(extension(t, usage, asn1.BitString{Bytes: []byte{0x04}, BitLength: 6})))},
		{"140 any purpose", hostileCSR(t, key, with(extension(t, eku, []asn1.ObjectIdentifier{{2, 5, 29, 37, 0}})))},
		{"140 OCSPSigning", hostileCSR(t, key, with(extension(t, eku, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 9}})))},
		{"140 nameConstraints", hostileCSR(t, key, with(extension(t, constraints, struct{}{})))},
		{"141 extension twice", hostileCSR(t, key, with(extension(t, eku, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}}), extension(t, eku, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})))},
		{"143 another account's key", hostileCSR(t, mine, plain)},
		{"145 RSA-1024", hostileCSR(t, rsaOf(1024), plain)},
		{"145 P-224", hostileCSR(t, p224, plain)},
		{"146 blocked", hostileCSR(t, revoked, plain)},
	}
	for _, row := range cases {
		began := time.Now()
		_, err := w.Finalize(t.Context(), c, o.ID, row.der)
		if p := acme.AsProblem(err); p == nil || p.Kind != acme.BadCSR || p.HTTPStatus() != 400 || len(p.Detail) > 600 {
			t.Errorf("row %s: %v", row.row, err)
		}
		if took := time.Since(began); took > time.Second { // 50 ms on a machine that has nothing else to do
			t.Errorf("row %s took %s", row.row, took)
		}
	}
	if o, err = w.Order(t.Context(), c, o.ID); err != nil || o.StatusAt(w.now()) != acme.StatusReady {
		t.Fatalf("the order is %s, %v", o.StatusAt(w.now()), err)
	}
	if o, err = w.Finalize(t.Context(), c, o.ID, good); err != nil || o.StatusAt(w.now()) != acme.StatusValid {
		t.Errorf("the order is %s, %v", o.StatusAt(w.now()), err)
	}
	t.Logf("%d cases", len(cases))
}

package validate

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"net/url"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"chancery/acme"
)

// FuzzDNSAnswer: any bytes from a resolver, from the wire to our reading.
func FuzzDNSAnswer(f *testing.F) {
	for _, lines := range [][]string{
		{"a.example. A 192.0.2.7"},
		{"a.example. CNAME b.example.", "b.example. TXT x y"},
		{"a.example. CNAME a.example."},
		{"a.example. AAAA ::ffff:127.0.0.1"},
		{"example. DNAME example.net.", "a.example. CNAME a.example.net."},
		{`a.example. CAA 0 issue "x"`},
	} {
		for i, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeCAA} {
			m := new(dns.Msg)
			m.SetQuestion("a.example.", qtype)
			m.Id, m.Response, m.Rcode = 7, true, []int{0, 3, 2, 0}[i]
			for _, line := range lines {
				rr, err := dns.NewRR(line)
				if err != nil {
					f.Fatal(err)
				}
				m.Answer = append(m.Answer, rr)
			}
			m.Ns = append(m.Ns, soa("example."))
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, qtype)
		}
	}
	f.Add([]byte("\x00\x07\x83\x80\x00\x01\x00\x01"), dns.TypeA)
	f.Fuzz(func(t *testing.T, wire []byte, qtype uint16) {
		q := newQuery("a.example", qtype)
		q.Id = 7
		msg, err := parseReply(wire, q)
		if err != nil {
			if !printable(err.Error()) || len(err.Error()) > 1000 {
				t.Errorf("error of %d bytes: %q", len(err.Error()), err)
			}
			return
		}
		if binary.BigEndian.Uint16(wire) != 7 || wire[2]&0x82 != 0x80 {
			t.Error("took what is no whole answer to us")
		}
		if len(msg.Answer) > maxRecords {
			t.Errorf("%d records", len(msg.Answer))
		}
		_, _ = rcode(msg), isReferral(msg)
		p, err := interpret(msg, "a.example", qtype)
		if len(words(p.words(err))) > maxWords {
			t.Error("unbounded words")
		}
		if err != nil {
			return
		}
		if len(p.chain) > maxCNAMEs || p.nx && len(p.records) > 0 || p.open && (p.nx || len(p.chain) == 0) {
			t.Errorf("odd part %+v", p)
		}
		if len(p.chain) > 0 && p.chain[len(p.chain)-1] != p.name || len(p.chain) == 0 && p.name != "a.example" {
			t.Errorf("the chain does not end at the name: %+v", p)
		}
		for _, rr := range p.records {
			if rr.Header().Rrtype != qtype || canonical(rr.Header().Name) != p.name {
				t.Errorf("took %v for %s", rr, p.name)
			}
			address(rr)
		}
		describe(p.records)
	})
}

// FuzzChallengeCertificate: any bytes as certificate. What is taken must have
// the one name and the digest, by another reading of it.
func FuzzChallengeCertificate(f *testing.F) {
	for _, c := range []certificate{
		rightFor("a.example"), rightFor("A.Example"), rightFor("a.example", "b.example"), rightFor("127.0.0.2"),
		{names: []string{"a.example"}},
		{names: []string{"a.example"}, digest: digestOf(testKeyAuth), lax: true},
		{names: []string{"a.example"}, digest: digestOf(testKeyAuth), oid: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1}},
		{digest: digestOf(testKeyAuth)},
	} {
		f.Add(selfSigned(f, c).Certificate[0])
	}
	f.Add([]byte{0x30, 0x80})
	name, addr := dnsName(f, "a.example"), ipName(f, "127.0.0.2")
	want := [32]byte(digestOf(testKeyAuth)[2:])
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if err := checkCertificate(c, addr, want); err == nil && (len(c.IPAddresses) != 1 || len(c.DNSNames) != 0 || c.IPAddresses[0].String() != "127.0.0.2") {
			t.Errorf("taken for the address: %v %v", c.DNSNames, c.IPAddresses)
		}
		err = checkCertificate(c, name, want)
		if err == nil && (len(c.DNSNames) != 1 || len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) != 0 || !strings.EqualFold(c.DNSNames[0], "a.example")) {
			t.Errorf("taken for the name: %v %v", c.DNSNames, c.IPAddresses)
		}
		if err == nil && !strings.Contains(string(der), string(want[:])) {
			t.Error("taken without the digest")
		}
		if err != nil && (!printable(err.Error()) || len(err.Error()) > 1000) {
			t.Errorf("error of %d bytes: %q", len(err.Error()), err)
		}
		// The parts behind the signature, which no mutation gets past.
		_, _ = checkAltName(c, name), checkAltName(c, addr)
	})
}

// FuzzLocation: any Location header. What is followed is a whole http or
// https URL to a configured port, that means the same to another reader.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{
		"/ok", "//b.example/ok", "http://b.example:80/ok", "https://b.example:443/?a=b#c", "http://[::1]/", "http://127.1/", "http:ok",
		"http://user@b.example/", "http://b.example:8080/", "http://[fe80::1%25eth0]/", `\\evil`, "http://0x7f.1/", "http://b.example./", "?x", "../..", "http://b%2eexample/",
	} {
		f.Add(s)
	}
	v, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	from := v.firstHop(attemptAt(acme.HTTP01, dnsName(f, "a.example")))
	f.Fuzz(func(t *testing.T, location string) {
		h, err := v.nextHop(from, []string{location})
		if err != nil {
			if !printable(err.Error()) || len(err.Error()) > 500 {
				t.Errorf("error of %d bytes: %q", len(err.Error()), err)
			}
			return
		}
		s := h.String()
		if len(s) > maxURL || !printable(s) || strings.ContainsAny(s, " \\#") {
			t.Fatalf("%q leads to %q", location, s)
		}
		u, err := url.Parse(s)
		if err != nil || u.User != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() != h.host.Value() {
			t.Fatalf("%q leads to %q: %v, host %s", location, s, err, h.host)
		}
		if h.port != 80 && h.port != 443 || h.host.Value() == "" || h.host.IsWildcard() || !strings.HasPrefix(u.RequestURI(), "/") {
			t.Errorf("%q leads to %+v", location, h)
		}
		again, err := v.nextHop(from, []string{s})
		if err != nil || again.String() != s || again.host != h.host || again.port != h.port {
			t.Errorf("%q, read again, leads to %v, %v", s, again, err)
		}
	})
}

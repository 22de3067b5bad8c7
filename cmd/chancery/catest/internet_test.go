package catest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func ask(t *testing.T, n *Internet, network, name string, qtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	r, _, err := (&dns.Client{Net: network}).Exchange(m, n.DNSAddr)
	if err != nil {
		t.Fatalf("ask %s %s over %s: %v", dns.TypeToString[qtype], name, network, err)
	}
	return r
}

func rdata(m *dns.Msg) (out []string) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		case *dns.TXT:
			out = append(out, strings.Join(rr.Txt, ""))
		case *dns.CNAME:
			out = append(out, rr.Target)
		}
	}
	return out
}

func TestInternetDNS(t *testing.T) {
	n := NewInternet(t)
	long := strings.Repeat("x", 300)
	n.Point("two.example", "127.0.0.2", "::1")
	n.AddTXT("_acme-challenge.two.example", "first")
	n.AddTXT("_acme-challenge.two.example", long)
	n.Alias("_acme-challenge.alias.example", "_acme-challenge.two.example")
	n.Fail("broken.example", dns.RcodeServerFailure)
	for _, c := range []struct {
		name  string
		qtype uint16
		want  []string
		code  int
	}{
		{"any.thing.test", dns.TypeA, []string{"127.0.0.1"}, dns.RcodeSuccess},
		{"any.thing.test", dns.TypeAAAA, nil, dns.RcodeSuccess},
		{"TWO.example", dns.TypeA, []string{"127.0.0.2"}, dns.RcodeSuccess},
		{"two.example", dns.TypeAAAA, []string{"::1"}, dns.RcodeSuccess},
		{"_acme-challenge.two.example", dns.TypeTXT, []string{"first", long}, dns.RcodeSuccess},
		{"_acme-challenge.alias.example", dns.TypeTXT, []string{"_acme-challenge.two.example.", "first", long}, dns.RcodeSuccess},
		{"broken.example", dns.TypeA, nil, dns.RcodeServerFailure},
		{"nowhere.invalid", dns.TypeA, nil, dns.RcodeNameError},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := ask(t, n, network, c.name, c.qtype)
			if network == "udp" && r.Truncated {
				continue // asked again over TCP
			}
			if r.Rcode != c.code || !slices.Equal(rdata(r), c.want) {
				t.Errorf("%s %s over %s: %s %q, want %s %q", dns.TypeToString[c.qtype], c.name, network,
					dns.RcodeToString[r.Rcode], rdata(r), dns.RcodeToString[c.code], c.want)
			}
		}
	}
	n.RemoveTXT("_acme-challenge.two.example", "first")
	if got := rdata(ask(t, n, "tcp", "_acme-challenge.two.example", dns.TypeTXT)); !slices.Equal(got, []string{long}) {
		t.Errorf("after RemoveTXT: %q", got)
	}
	if !slices.Contains(n.Questions(), "A nowhere.invalid") {
		t.Errorf("the question log misses one: %q", n.Questions())
	}
}

func TestInternetDNSForwards(t *testing.T) {
	upstream, n := NewInternet(t), NewInternet(t)
	upstream.AddTXT("_acme-challenge.dyn.example", "from upstream")
	n.Forward("dyn.example", upstream.DNSAddr)
	if got := rdata(ask(t, n, "udp", "_acme-challenge.dyn.example", dns.TypeTXT)); !slices.Equal(got, []string{"from upstream"}) {
		t.Errorf("forwarded: %q", got)
	}
}

func TestInternetHTTP(t *testing.T) {
	n := NewInternet(t)
	n.AnswerHTTP("a.example", "tok", "tok.thumb")
	get := func(host, path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://127.0.0.1:"+strconv.Itoa(n.HTTPPort)+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, host := range []string{"a.example", "A.example:80"} {
		if code, body := get(host, challengePath+"tok"); code != http.StatusOK || body != "tok.thumb" {
			t.Errorf("%s: %d %q", host, code, body)
		}
	}
	for _, c := range [][2]string{{"b.example", challengePath + "tok"}, {"a.example", challengePath + "other"}, {"a.example", "/"}} {
		if code, _ := get(c[0], c[1]); code != http.StatusNotFound {
			t.Errorf("%v: %d, want 404", c, code)
		}
	}
	n.AnswerHTTP("a.example", "tok", "")
	if code, _ := get("a.example", challengePath+"tok"); code != http.StatusNotFound {
		t.Errorf("after withdrawal: %d, want 404", code)
	}
}

func TestInternetTLS(t *testing.T) {
	n := NewInternet(t)
	cert, err := ChallengeCertificate("a.example", "tok.thumb")
	if err != nil {
		t.Fatal(err)
	}
	n.AnswerTLS("a.example", cert)
	dial := func(name string) ([]byte, error) {
		conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n.TLSPort)),
			&tls.Config{ServerName: name, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close() }()
		if p := conn.ConnectionState().NegotiatedProtocol; p != "acme-tls/1" {
			t.Errorf("negotiated %q", p)
		}
		return conn.ConnectionState().PeerCertificates[0].Raw, nil
	}
	if der, err := dial("a.example"); err != nil || !slices.Equal(der, cert.Certificate[0]) {
		t.Errorf("a.example: %v", err)
	}
	if _, err := dial("b.example"); err == nil {
		t.Error("a name without a challenge got a certificate")
	}
}

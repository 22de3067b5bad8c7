package validate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/miekg/dns"

	"chancery/acme"
)

// TestZones: the longest zone's servers are asked, and nobody else; what an
// alias leads to is asked of the servers of its own zone, whatever the first
// ones say about it.
func TestZones(t *testing.T) {
	outer := startZone(t, "www.example.org. A 192.0.2.1", "org. TXT x",
		"host.corp.internal. A 192.0.2.66", "lab.corp.internal. A 192.0.2.66",
		"into.example.org. CNAME host.corp.internal.", "mycorp.internal. A 192.0.2.1", `internal. CAA 0 issue "other.example"`)
	corp := startZone(t, "host.corp.internal. A 192.0.2.2", "x.lab.corp.internal. A 192.0.2.66", "out.corp.internal. CNAME www.example.org.",
		"www.example.org. A 192.0.2.66", "corp.internal. A 192.0.2.3", "down.corp.internal. CNAME x.lab.corp.internal.")
	lab := startZone(t, "x.lab.corp.internal. A 192.0.2.4", `lab.corp.internal. CAA 0 issue "ca.example"`)
	c := Config{Resolvers: []string{outer.addr}, CAAIdentities: []string{"ca.example"}, Zones: map[string][]string{
		"corp.internal": {corp.addr}, "lab.corp.internal": {lab.addr}, "com": {lab.addr},
	}}
	for name, want := range map[string]string{
		"www.example.org": "192.0.2.1", "host.corp.internal": "192.0.2.2", "corp.internal": "192.0.2.3", "HOST.Corp.Internal": "192.0.2.2",
		"x.lab.corp.internal": "192.0.2.4", "mycorp.internal": "192.0.2.1",
		"into.example.org": "192.0.2.2", "out.corp.internal": "192.0.2.1", "down.corp.internal": "192.0.2.4",
	} {
		a, said, err := askWith(t, c, name, dns.TypeA)
		if err != nil || describe(a.records) != want {
			t.Errorf("%s: got %+v, %v, want %s\n%s", name, a, err, want, said)
		}
	}
	for zone, not := range map[*zone]string{outer: "A host.corp.internal", corp: "A www.example.org", lab: "A host.corp.internal"} {
		if got := zone.questions(); slices.Contains(got, "udp "+not) {
			t.Errorf("%s was asked %v", zone.addr, got)
		}
	}
	// A private zone has nothing above it: .internal is not asked for, and
	// nobody who answers for it outside decides.
	v := validator(t, c)
	if e, problem := look(t, v, "host.corp.internal"); problem != nil || e.Found != "" || slices.Contains(outer.questions(), "udp CAA internal") {
		t.Errorf("got %+v, %v", e, problem)
	}
	if e, problem := look(t, v, "x.lab.corp.internal"); problem != nil || e.Found != "lab.corp.internal" {
		t.Errorf("got %+v, %v", e, problem)
	}
	// One below a public top-level domain has: what stands there counts.
	outer.add(t, `org. CAA 0 issue "other.example"`)
	c.Zones["example.org"] = []string{corp.addr}
	if _, problem := look(t, validator(t, c), "www.example.org"); problem == nil || problem.Kind != acme.CAA {
		t.Errorf("got %v", problem)
	}
}

func TestConfigOfResolvers(t *testing.T) {
	many := map[string][]string{}
	for i := range maxZones + 1 {
		many[fmt.Sprintf("z%d.internal", i)] = []string{"10.0.0.1"}
	}
	for says, c := range map[string]Config{
		"dnssec":                        {DNSSEC: "maybe"},
		"has no resolver":               {Zones: map[string][]string{"corp.internal": nil}},
		"is no domain name":             {Zones: map[string][]string{"": {"10.0.0.1"}}},
		`zone "*.internal"`:             {Zones: map[string][]string{"*.internal": {"10.0.0.1"}}},
		"is there twice":                {Zones: map[string][]string{"corp.internal": {"10.0.0.1"}, "CORP.internal.": {"10.0.0.1"}}},
		`zone "a.internal": resolver`:   {Zones: map[string][]string{"a.internal": {"nonsense:x"}}},
		"at most 100":                   {Zones: many},
		"at most 16":                    {Resolvers: slices.Repeat([]string{"10.0.0.1"}, 17)},
		"CAA identity \"not a name\"":   {CAAIdentities: []string{"not a name"}},
		"CAA identity \"*.ca.example\"": {CAAIdentities: []string{"*.ca.example"}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %s", err, says)
		}
	}
}

// TestIncident_I20: an answer over UDP that does not repeat the case of the
// name is never believed. Somebody off the path who guesses ID and port still
// has to guess that; the right answer behind it counts, else TCP does.
//
// Shown here is the resolver's part of the incident; that several perspectives
// have to agree is shown by theirs.
func TestIncident_I20(t *testing.T) {
	answer := func(q *dns.Msg, name, addr string) []byte {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Question[0].Name = name
		rr, _ := dns.NewRR(name + " A " + addr)
		m.Answer = append(m.Answer, rr)
		b, _ := m.Pack()
		return b
	}
	flip := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsUpper(r) {
				return unicode.ToLower(r)
			}
			return unicode.ToUpper(r)
		}, s)
	}
	const name = "some-long-name.with-many-letters.example"
	t.Run("the forged one first", func(t *testing.T) {
		server := packets(t, func(reply func([]byte), q *dns.Msg) {
			right := q.Question[0].Name
			reply(answer(q, flip(right), "192.0.2.66"))
			reply(answer(q, strings.ToLower(right), "192.0.2.66"))
			reply(answer(q, right, "192.0.2.7"))
		})
		a, _, err := ask(t, name, dns.TypeA, server)
		if err != nil || describe(a.records) != "192.0.2.7" {
			t.Errorf("got %+v, %v", a, err)
		}
	})
	t.Run("only forged ones", func(t *testing.T) {
		server := packets(t, func(reply func([]byte), q *dns.Msg) { reply(answer(q, flip(q.Question[0].Name), "192.0.2.66")) })
		_, _, err := ask(t, name, dns.TypeA, server)
		if err == nil || !strings.Contains(err.Error(), "does not repeat the name's case over UDP, and over TCP refused") {
			t.Errorf("got %v", err)
		}
		a, _, err := askWith(t, Config{Resolvers: []string{server}, PlainCase: true}, name, dns.TypeA)
		if err != nil || describe(a.records) != "192.0.2.66" {
			t.Errorf("without mixed case it was to be taken: %+v, %v", a, err)
		}
	})
	t.Run("a server that lowers names", func(t *testing.T) {
		z := startZone(t, name+". A 192.0.2.7")
		z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
			m := z.reply(q)
			m.Question = []dns.Question{q.Question[0]}
			m.Question[0].Name = strings.ToLower(m.Question[0].Name)
			_ = w.WriteMsg(m)
			return true
		})
		a, _, err := ask(t, name, dns.TypeA, z.addr)
		if err != nil || describe(a.records) != "192.0.2.7" || !slices.Contains(z.questions(), "tcp A "+name) {
			t.Errorf("got %+v, %v", a, err)
		}
	})
	t.Run("the case is random", func(t *testing.T) {
		seen := map[string]bool{}
		for range 1000 {
			mixed := mixCase(name + ".")
			if !strings.EqualFold(mixed, name+".") {
				t.Fatalf("%q", mixed)
			}
			seen[mixed] = true
		}
		if len(seen) < 990 { // of 2^36
			t.Errorf("%d different ones of 1,000", len(seen))
		}
	})
	t.Run("one server is silent", func(t *testing.T) { // no server is given up for good
		good := startZone(t, name+". A 192.0.2.7")
		for range 3 {
			if a, _, err := ask(t, name, dns.TypeA, silent(t), good.addr); err != nil || a.from != good.addr {
				t.Errorf("got %+v, %v", a, err)
			}
		}
	})
}

// TestIncident_I73: IDs and source ports are spread evenly, and one says
// nothing about the next.
func TestIncident_I73(t *testing.T) {
	const ids = 100_000
	var buckets [256]int
	rising, last := 0, uint16(0)
	for range ids {
		id := newQuery("a.example", dns.TypeA).Id
		buckets[id>>8]++
		if id > last {
			rising++
		}
		last = id
	}
	// Chi-squared of 255 degrees of freedom is over 400 once in 10^8.
	chi := 0.0
	for _, n := range buckets {
		d := float64(n) - ids/256.0
		chi += d * d / (ids / 256.0)
	}
	if chi > 400 {
		t.Errorf("IDs are not spread evenly: chi-squared %.0f", chi)
	}
	if rising < ids*45/100 || rising > ids*55/100 {
		t.Errorf("%d of %d IDs are greater than the one before", rising, ids)
	}

	const asked = 5_000
	var mu sync.Mutex
	var ports []int
	z := startZone(t, "a.example. A 192.0.2.7")
	z.play(func(w dns.ResponseWriter, _ *dns.Msg, _ string) bool {
		mu.Lock()
		defer mu.Unlock()
		if addr, ok := w.RemoteAddr().(*net.UDPAddr); ok {
			ports = append(ports, addr.Port)
		}
		return false
	})
	r, err := newResolver(Config{Resolvers: []string{z.addr}}, 10*time.Second, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for range asked {
		if _, err := r.exchange(t.Context(), r.fixed[0], "a.example", dns.TypeA); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	different := map[int]bool{}
	rising = 0
	for i, p := range ports {
		different[p] = true
		if i > 0 && p > ports[i-1] {
			rising++
		}
	}
	// Of 28,232 ports (Linux' default), 5,000 draws leave about 4,580 different ones.
	if len(ports) != asked || len(different) < asked*8/10 || rising < asked*4/10 || rising > asked*6/10 {
		t.Errorf("%d questions from %d different ports, %d times a greater one", len(ports), len(different), rising)
	}
	if spread := slices.Max(ports) - slices.Min(ports); spread < 10_000 {
		t.Errorf("the ports lie within %d", spread)
	}
}

// TestIncident_I74: no crafted answer brings a panic or takes long, whatever
// is changed in it. (FuzzDNSAnswer goes on where this ends; PEM from outside is
// read by nobody here.)
func TestIncident_I74(t *testing.T) {
	q := newQuery("www.a.example", dns.TypeCAA)
	m := new(dns.Msg)
	m.SetReply(q)
	for _, line := range []string{
		"www.a.example. CNAME b.a.example.", "a.example. DNAME c.example.", `b.a.example. CAA 128 issue "ca.example; a=b"`, "b.a.example. TXT x y", "b.a.example. A 192.0.2.1",
	} {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.Ns = append(m.Ns, soa("example."))
	m.SetEdns0(1232, true)
	good, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	random := mathrand.New(mathrand.NewPCG(1, 2)) // the same each time
	started, parsed := time.Now(), 0
	const rounds = 50_000
	for range rounds {
		wire := slices.Clone(good)
		for range 1 + random.IntN(6) {
			wire[2+random.IntN(len(wire)-2)] = byte(random.IntN(256))
		}
		if random.IntN(4) == 0 {
			wire = wire[:random.IntN(len(wire))]
		}
		msg, err := parseReply(wire, q)
		if err != nil {
			continue
		}
		parsed++
		p, err := interpret(msg, "www.a.example", dns.TypeCAA)
		_ = p.words(err)
		_ = rcode(msg)
		for _, rr := range p.records {
			if p2, err := parseProperty(rr); err == nil {
				us().decide([]property{p2})
			}
		}
	}
	if took := time.Since(started); took > 20*time.Second || parsed < rounds/100 {
		t.Errorf("%d of %d parsed in %s", parsed, rounds, took)
	}
	// The largest message: names that point at names, 1,024 times.
	big := binary.BigEndian.AppendUint16(nil, q.Id)
	big = append(big, 0x81, 0x80, 0, 1, 4, 0, 0, 0, 0, 0)
	packed := make([]byte, 255)
	n, _ := dns.PackDomainName(q.Question[0].Name, packed, 0, nil, false)
	big = append(append(big, packed[:n]...), 1, 1, 0, 1)
	for range 1024 {
		big = append(big, 0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 4, 1, 'x', 0xc0, 12)
	}
	started = time.Now()
	if msg, err := parseReply(big, q); err == nil {
		_, _ = interpret(msg, "www.a.example", dns.TypeCAA)
	}
	if took := time.Since(started); took > time.Second {
		t.Errorf("a large message took %s", took)
	}
}

// TestDNAME: a renamed tree is followed by the CNAME that comes with the DNAME,
// and by the DNAME alone where a server leaves that out.
func TestDNAME(t *testing.T) {
	z := startZone(t, "b.new.example. A 192.0.2.7", `b.new.example. CAA 0 issue "other.example"`)
	z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
		name := strings.ToLower(q.Question[0].Name)
		if !strings.HasSuffix(name, ".old.example.") && !strings.HasSuffix(name, ".bare.example.") && !strings.HasSuffix(name, ".round.example.") {
			return false
		}
		m := new(dns.Msg)
		m.SetReply(q)
		labels := dns.SplitDomainName(name)
		owner := strings.Join(labels[len(labels)-2:], ".") + "."
		target := "new.example."
		if strings.HasPrefix(owner, "round") {
			target = "x.round.example."
		}
		dname, _ := dns.NewRR(owner + " DNAME " + target)
		m.Answer = append(m.Answer, dname)
		if strings.HasPrefix(owner, "old") {
			cname, _ := dns.NewRR(name + " CNAME " + strings.TrimSuffix(name, owner) + target)
			m.Answer = append(m.Answer, cname)
		}
		_ = w.WriteMsg(m)
		return true
	})
	for _, name := range []string{"b.old.example", "b.bare.example"} {
		a, said, err := ask(t, name, dns.TypeA, z.addr)
		if err != nil || describe(a.records) != "192.0.2.7" || a.name != "b.new.example" {
			t.Errorf("%s: got %+v, %v\n%s", name, a, err, said)
		}
		_, problem := look(t, caaValidator(t, z.addr), name)
		wantKind(t, problem, acme.CAA, "CAA at "+name)
	}
	if _, _, err := ask(t, "b.round.example", dns.TypeA, z.addr); err == nil {
		t.Error("a circle of DNAMEs was followed")
	}
}

// TestOtherNamesOnly: an answer that holds only records of other names is no
// "there is no such record".
func TestOtherNamesOnly(t *testing.T) {
	z := startZone(t)
	z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
		m := new(dns.Msg)
		m.SetReply(q)
		rr, _ := dns.NewRR(`b.example. CAA 0 issue "other.example"`)
		m.Answer = append(m.Answer, rr)
		_ = w.WriteMsg(m)
		return true
	})
	_, problem := look(t, caaValidator(t, z.addr), "a.example")
	wantKind(t, problem, acme.DNS, "about other names only")
}

// TestRequireAD is SAFETY row 153: with require-ad, what a resolver did not
// prove is believed neither about addresses nor about the absence of CAA records.
func TestRequireAD(t *testing.T) {
	z := startZone(t, "a.example. A 192.0.2.7", "bogus.example. A 192.0.2.7")
	z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
		m := z.reply(q)
		m.AuthenticatedData = q.AuthenticatedData && !strings.HasPrefix(strings.ToLower(q.Question[0].Name), "bogus.")
		_ = w.WriteMsg(m)
		return true
	})
	for _, row := range []struct {
		dnssec, name string
		zones        map[string][]string
		ok           bool
	}{
		{DNSSECRequireAD, "a.example", nil, true},
		{DNSSECRequireAD, "gone.example", nil, true},
		{DNSSECRequireAD, "bogus.example", nil, false},
		{DNSSECRequireAD, "bogus.example", map[string][]string{"bogus.example": {z.addr}}, true},
		{DNSSECOff, "bogus.example", nil, true},
		{"", "bogus.example", nil, true},
	} {
		c := Config{Resolvers: []string{z.addr}, DNSSEC: row.dnssec, Zones: row.zones, CAAIdentities: []string{"ca.example"}}
		_, _, err := askWith(t, c, row.name, dns.TypeA)
		if (err == nil) != row.ok || err != nil && !strings.Contains(err.Error(), "no AD bit") {
			t.Errorf("%+v: got %v", row, err)
		}
		if row.zones == nil {
			if _, problem := look(t, validator(t, c), row.name); (problem == nil) != row.ok || problem != nil && problem.Kind != acme.DNS {
				t.Errorf("%+v: CAA: got %v", row, problem)
			}
		}
	}
}

// TestStreams asks over TCP and over TLS.
func TestStreams(t *testing.T) {
	z := startZone(t, "a.example. A 192.0.2.7")
	a, _, err := ask(t, "a.example", dns.TypeA, "tcp://"+z.addr)
	if err != nil || describe(a.records) != "192.0.2.7" || a.from != "tcp://"+z.addr || !slices.Equal(z.questions(), []string{"tcp A a.example"}) {
		t.Errorf("got %+v, %v; asked %v", a, err, z.questions())
	}
	cert, roots := serverCertificate(t, "dns.internal", "127.0.0.1")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"dot"}})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{Listener: l, Net: "tcp-tls", NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { z.answer(w, q, "tls") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	at := l.Addr().String()
	for _, row := range []struct {
		spec  string
		roots *x509.CertPool
		says  string
	}{
		{"tls://" + at, roots, ""},
		{"tls://" + at + "#dns.internal", roots, ""},
		{"tls://" + at + "#other.internal", roots, "failed the TLS handshake"},
		{"tls://" + at, nil, "failed the TLS handshake"},
		{"tls://" + z.addr, roots, "did not answer in time"}, // speaks plain DNS, and waits for the rest of a message
	} {
		a, _, err := askWith(t, Config{Resolvers: []string{row.spec}, ResolverRoots: row.roots}, "a.example", dns.TypeA)
		switch {
		case row.says == "" && (err != nil || describe(a.records) != "192.0.2.7" || a.from != "tls://"+at):
			t.Errorf("%s: got %+v, %v", row.spec, a, err)
		case row.says != "" && err == nil:
			t.Errorf("%s was believed", row.spec)
		case row.says != "" && !strings.Contains(err.Error(), row.says):
			t.Errorf("%s: got %v", row.spec, err)
		}
	}
	for _, q := range z.questions() {
		if strings.HasPrefix(q, "udp") {
			t.Errorf("asked over UDP: %s", q)
		}
	}
}

// serverCertificate makes a server's certificate and the roots that verify it.
func serverCertificate(t *testing.T, name, addr string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "resolver"}, DNSNames: []string{name}, IPAddresses: []net.IP{net.ParseIP(addr)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

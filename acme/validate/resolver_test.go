package validate

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/acme"
)

// ask looks name up with servers and returns the records' words.
func ask(t *testing.T, name string, qtype uint16, servers ...string) (*answer, string, error) {
	t.Helper()
	return askWith(t, Config{Resolvers: servers}, name, qtype)
}

// askWith is ask with more of a Config.
func askWith(t *testing.T, c Config, name string, qtype uint16) (*answer, string, error) {
	t.Helper()
	r, err := newResolver(c, 2*time.Second, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrace(acme.Attempt{}, time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	a, err := r.lookup(ctx, tr, name, qtype)
	return a, steps(tr.end(0, nil)), err
}

func TestLookup(t *testing.T) {
	z := startZone(t,
		"a.example. A 192.0.2.7", "a.example. A 192.0.2.8", "a.example. AAAA 2001:db8::7",
		"one.example. CNAME two.example.", "two.example. CNAME A.EXAMPLE.",
		"dangling.example. CNAME gone.example.",
		"loop1.example. CNAME loop2.example.", "loop2.example. CNAME loop1.example.",
		"self.example. CNAME self.example.",
		"twice.example. CNAME a.example.", "twice.example. CNAME b.example.",
		"root.example. CNAME .",
	)
	for i := range 20 {
		z.add(t, fmt.Sprintf("c%d.example. CNAME c%d.example.", i, i+1))
	}
	z.add(t, "c20.example. A 192.0.2.20")
	for _, row := range []struct {
		name  string
		qtype uint16
		want  string // records, NXDOMAIN, none, or the error
	}{
		{"a.example", dns.TypeA, "192.0.2.7, 192.0.2.8"},
		{"A.Example", dns.TypeAAAA, "2001:db8::7"},
		{"a.example", dns.TypeTXT, "no such record"},
		{"b.example", dns.TypeA, "NXDOMAIN"},
		{"one.example", dns.TypeA, "192.0.2.7, 192.0.2.8"},
		{"one.example", dns.TypeTXT, "no such record"},
		{"dangling.example", dns.TypeA, "NXDOMAIN"},
		{"localhost", dns.TypeA, "127.0.0.1"},
		{"localhost", dns.TypeAAAA, "::1"},
		{"x.y.localhost", dns.TypeAAAA, "::1"},
		{"localhost", dns.TypeTXT, "no such record"},
		{"c10.example", dns.TypeA, "192.0.2.20"}, // 10 CNAMEs
		{"c9.example", dns.TypeA, "more than 10 CNAMEs"},
		{"c0.example", dns.TypeA, "more than 10 CNAMEs"},
		{"loop1.example", dns.TypeA, "circle"},
		{"self.example", dns.TypeA, "circle"},
		{"twice.example", dns.TypeA, "two CNAMEs"},
		{"root.example", dns.TypeA, "leads to the root"},
		{strings.Repeat("a.", 127) + "example", dns.TypeA, "longer than 253"},
	} {
		t.Run(row.name+" "+dns.TypeToString[row.qtype], func(t *testing.T) {
			a, _, err := ask(t, row.name, row.qtype, z.addr)
			var got string
			switch {
			case err != nil:
				got = err.Error()
			case a.nx:
				got = "NXDOMAIN"
			default:
				got = describe(a.records)
			}
			if err == nil && got != row.want || err != nil && !strings.Contains(got, row.want) {
				t.Fatalf("got %s, want %s", got, row.want)
			}
		})
	}
	for _, q := range z.questions() {
		if strings.HasSuffix(q, "localhost") {
			t.Errorf("asked the server: %s", q)
		}
	}
}

// TestLookupAsksForTargets: a server that returns a CNAME without its target
// is asked for it, and loops and chains are bounded over the questions too.
func TestLookupAsksForTargets(t *testing.T) {
	z := startZone(t, "end.example. A 192.0.2.7", "n0.example. CNAME n1.example.", "n1.example. CNAME end.example.",
		"l1.example. CNAME l2.example.", "l2.example. CNAME l1.example.", "nodata.example. CNAME empty.example.", "empty.example. TXT x", "home.example. CNAME localhost.")
	for i := range 20 {
		z.add(t, fmt.Sprintf("m%d.example. CNAME m%d.example.", i, i+1))
	}
	z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
		m := z.reply(q)
		if len(m.Answer) > 1 {
			m.Answer = m.Answer[:1]
		}
		m.Ns, m.Rcode = nil, dns.RcodeSuccess
		_ = w.WriteMsg(m)
		return true
	})
	a, said, err := ask(t, "n0.example", dns.TypeA, z.addr)
	if err != nil || a.name != "end.example" || describe(a.records) != "192.0.2.7" || !slices.Equal(a.chain, []string{"n1.example", "end.example"}) {
		t.Errorf("got %+v, %v\n%s", a, err, said)
	}
	if a, _, err := ask(t, "nodata.example", dns.TypeA, z.addr); err != nil || a.nx || len(a.records) != 0 || a.name != "empty.example" {
		t.Errorf("nodata: got %+v, %v", a, err)
	}
	if a, _, err := ask(t, "home.example", dns.TypeA, z.addr); err != nil || describe(a.records) != "127.0.0.1" {
		t.Errorf("home: got %+v, %v", a, err)
	}
	if _, _, err := ask(t, "l1.example", dns.TypeA, z.addr); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("loop: got %v", err)
	}
	if _, _, err := ask(t, "m0.example", dns.TypeA, z.addr); err == nil || !strings.Contains(err.Error(), "more than 10") {
		t.Errorf("chain: got %v", err)
	}
}

// TestFailingServers is SAFETY rows 151, 152 and 155.
func TestFailingServers(t *testing.T) {
	good := startZone(t, "a.example. A 192.0.2.7")
	says := func(rcode int) string {
		z := startZone(t)
		z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
			m := new(dns.Msg)
			m.SetRcode(q, rcode)
			if rcode == dns.RcodeServerFailure {
				m.SetEdns0(1232, false)
				opt := m.IsEdns0()
				opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus, ExtraText: "<script>"})
			}
			_ = w.WriteMsg(m)
			return true
		})
		return z.addr
	}
	noTCP, tcOnly := truncating(t, false), truncating(t, true)
	referral := startZone(t)
	referral.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
		m := new(dns.Msg)
		m.SetReply(q)
		ns, _ := dns.NewRR("example. NS ns.example.")
		m.Ns = append(m.Ns, ns)
		_ = w.WriteMsg(m)
		return true
	})
	for _, row := range []struct{ name, server, want string }{
		{"SERVFAIL", says(dns.RcodeServerFailure), "said SERVFAIL (extended error 6 DNSSEC Bogus)"},
		{"REFUSED", says(dns.RcodeRefused), "said REFUSED"},
		{"FORMERR", says(dns.RcodeFormatError), "said FORMERR"},
		{"NOTIMP", says(dns.RcodeNotImplemented), "said NOTIMP"},
		{"unknown code", says(14), "said code 14"},
		{"silent", silent(t), "did not answer in time"},
		{"closed", closed(t), "refused the connection"},
		{"truncated, no TCP", noTCP, "sent a truncated answer over UDP, and over TCP refused the connection"},
		{"truncated over TCP too", tcOnly, "sent a truncated answer over UDP, and over TCP sent a truncated answer"},
		{"referral", referral.addr, "no recursive resolver"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := ask(t, "a.example", dns.TypeA, row.server)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), row.server) {
				t.Errorf("alone: got %v, want %s", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "script") {
				t.Errorf("the resolver's free text is shown: %v", err)
			}
			a, said, err := ask(t, "a.example", dns.TypeA, row.server, good.addr)
			if err != nil || describe(a.records) != "192.0.2.7" || a.from != good.addr {
				t.Errorf("before a good one: got %+v, %v", a, err)
			}
			if !strings.Contains(said, row.want) {
				t.Errorf("evidence lacks the first server's words:\n%s", said)
			}
		})
	}
	t.Run("tries are bounded", func(t *testing.T) {
		z := startZone(t)
		z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
			m := new(dns.Msg)
			m.SetRcode(q, dns.RcodeServerFailure)
			_ = w.WriteMsg(m)
			return true
		})
		_, _, _ = ask(t, "a.example", dns.TypeA, z.addr, z.addr, z.addr)
		if n := len(z.questions()); n != maxTries {
			t.Errorf("asked %d times, want %d", n, maxTries)
		}
	})
}

// truncating serves TC with an answer that must not be used; over TCP the
// same, or nobody.
func truncating(t *testing.T, tcp bool) string {
	t.Helper()
	tc := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		rr, _ := dns.NewRR("a.example. A 192.0.2.66")
		m.Answer = append(m.Answer, rr)
		m.Truncated = true
		_ = w.WriteMsg(m)
	}
	if tcp {
		z := startZone(t)
		z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool { tc(w, q); return true })
		return z.addr
	}
	return packets(t, func(reply func([]byte), q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Truncated = true
		b, _ := m.Pack()
		reply(b)
	})
}

// packets is a UDP-only server that may answer in any bytes, any often.
func packets(t testing.TB, serve func(reply func([]byte), q *dns.Msg)) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) == nil {
				serve(func(b []byte) { _, _ = conn.WriteTo(b, from) }, q)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

// TestOtherAnswersAreDropped is SAFETY row 156: what does not answer the
// question is passed over, and the right answer behind it is taken.
func TestOtherAnswersAreDropped(t *testing.T) {
	wrong := func(change func(*dns.Msg)) func(*dns.Msg) []byte {
		return func(q *dns.Msg) []byte {
			m := new(dns.Msg)
			m.SetReply(q)
			rr, _ := dns.NewRR(q.Question[0].Name + " A 192.0.2.66")
			m.Answer = append(m.Answer, rr)
			change(m)
			b, _ := m.Pack()
			return b
		}
	}
	for name, junk := range map[string]func(*dns.Msg) []byte{
		"id":           wrong(func(m *dns.Msg) { m.Id++ }),
		"name":         wrong(func(m *dns.Msg) { m.Question[0].Name = "b.example." }),
		"type":         wrong(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }),
		"class":        wrong(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"no question":  wrong(func(m *dns.Msg) { m.Question = nil }),
		"two":          wrong(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }),
		"query":        wrong(func(m *dns.Msg) { m.Response = false }),
		"opcode":       wrong(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }),
		"short":        func(*dns.Msg) []byte { return []byte{1, 2, 3} },
		"empty packet": func(*dns.Msg) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			right := wrong(func(m *dns.Msg) { m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 7) })
			server := packets(t, func(reply func([]byte), q *dns.Msg) { reply(junk(q)); reply(right(q)) })
			a, _, err := ask(t, "a.example", dns.TypeA, server)
			if err != nil || describe(a.records) != "192.0.2.7" {
				t.Errorf("got %+v, %v", a, err)
			}
		})
	}
	t.Run("flood", func(t *testing.T) {
		junk := wrong(func(m *dns.Msg) { m.Id++ })
		server := packets(t, func(reply func([]byte), q *dns.Msg) {
			for range 2 * maxJunk {
				reply(junk(q))
			}
		})
		_, _, err := ask(t, "a.example", dns.TypeA, server)
		if err == nil || !strings.Contains(err.Error(), "answers to other questions over UDP, and over TCP refused") {
			t.Errorf("got %v", err)
		}
	})
}

// TestHostileMessages is SAFETY row 157.
func TestHostileMessages(t *testing.T) {
	header := func(q *dns.Msg, answers int) []byte {
		b := binary.BigEndian.AppendUint16(nil, q.Id)
		b = append(b, 0x81, 0x80, 0, 1)
		b = binary.BigEndian.AppendUint16(b, uint16(answers))
		b = append(b, 0, 0, 0, 0)
		name := make([]byte, 255)
		n, _ := dns.PackDomainName(q.Question[0].Name, name, 0, nil, false)
		return append(append(b, name[:n]...), 0, 1, 0, 1)
	}
	for name, row := range map[string]struct {
		message func(*dns.Msg) []byte
		want    string
	}{
		"compression loop": {func(q *dns.Msg) []byte {
			b := header(q, 1)
			return append(b, 0xc0|byte(len(b)>>8), byte(len(b)), 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4)
		}, "can't be parsed"},
		"label of 64": {func(q *dns.Msg) []byte {
			return append(append(header(q, 1), 64), strings.Repeat("a", 64)+"\x00\x00\x01\x00\x01"...)
		}, "can't be parsed"},
		"length beyond the end": {func(q *dns.Msg) []byte {
			return append(header(q, 1), 0, 0, 1, 0, 1, 0, 0, 0, 0, 255, 255, 1)
		}, "can't be parsed"},
		"4000 records": {func(q *dns.Msg) []byte { return header(q, 4000) }, "4000 records"},
		"larger than offered": {func(q *dns.Msg) []byte {
			return append(header(q, 0), make([]byte, maxUDP)...)
		}, "truncated answer over UDP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := packets(t, func(reply func([]byte), q *dns.Msg) { reply(row.message(q)) })
			_, _, err := ask(t, "a.example", dns.TypeA, server)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

// TestTruncationGoesToTCP: 1,000 records don't fit UDP, and over TCP all come.
func TestTruncationGoesToTCP(t *testing.T) {
	z := startZone(t)
	for i := range 1000 {
		z.add(t, fmt.Sprintf("many.example. A 10.0.%d.%d", i/250, i%250))
	}
	z.play(func(w dns.ResponseWriter, q *dns.Msg, network string) bool {
		m := z.reply(q)
		if network == "udp" {
			m.Truncate(1232)
		}
		_ = w.WriteMsg(m)
		return true
	})
	a, _, err := ask(t, "many.example", dns.TypeA, z.addr)
	if err != nil || len(a.records) != 1000 {
		t.Fatalf("got %d records, %v", len(a.records), err)
	}
	if got := z.questions(); !slices.Equal(got, []string{"tcp A many.example", "udp A many.example"}) {
		t.Errorf("asked %v", got)
	}
}

// TestBrokenTCP: what a server may do wrong once it is asked over TCP.
func TestBrokenTCP(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(q *dns.Msg) []byte // with its length in front
		want   string
	}{
		"closes":       {func(*dns.Msg) []byte { return nil }, "closed the connection too early"},
		"half length":  {func(*dns.Msg) []byte { return []byte{1} }, "closed the connection too early"},
		"half message": {func(*dns.Msg) []byte { return []byte{1, 0, 7} }, "closed the connection too early"},
		"empty":        {func(*dns.Msg) []byte { return []byte{0, 0} }, "too short"},
		"64 KiB":       {func(q *dns.Msg) []byte { return append([]byte{255, 255}, make([]byte, 65535)...) }, "another question"},
		"other id": {func(q *dns.Msg) []byte {
			q.Id++
			q.Response = true
			b, _ := q.Pack()
			return append([]byte{0, byte(len(b))}, b...)
		}, "answered another question"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := serveRaw(t, "127.0.0.1:0", func(c net.Conn) {
				var size [2]byte
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				buf := make([]byte, binary.BigEndian.Uint16(size[:]))
				q := new(dns.Msg)
				if _, err := io.ReadFull(c, buf); err != nil || q.Unpack(buf) != nil {
					return
				}
				_, _ = c.Write(row.answer(q))
			})
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			r, err := newResolver(Config{}, 5*time.Second, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.roundTrip(t.Context(), upstream{network: "tcp", addr: addr}, newQuery("a.example", dns.TypeA))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

func TestLookupEndsWithContext(t *testing.T) {
	r, err := newResolver(Config{Resolvers: []string{silent(t)}}, time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	started := time.Now()
	_, err = r.lookup(ctx, newTrace(acme.Attempt{}, started), "a.example", dns.TypeA)
	if err == nil || time.Since(started) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(started))
	}
}

func TestSystemFiles(t *testing.T) {
	z := startZone(t, "a.example. A 192.0.2.7", "b.example. A 192.0.2.8")
	dir := t.TempDir()
	hosts, resolv := filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(hosts, "# comment\n127.0.0.9 A.example other # x\n::ffff:127.0.0.8 other\n2001:db8::1 a.example.\nnonsense a.example\n10.0.0.1\n")
	write(resolv, "nameserver 192.0.2.1\nsearch example\nnameserver 2001:db8::53\n")
	now := time.Now()
	s := newSystem(resolv, hosts, func() time.Time { return now })
	if got := fmt.Sprint(s.servers()); got != "[192.0.2.1:53 [2001:db8::53]:53]" {
		t.Errorf("servers: %v", got)
	}
	if got := fmt.Sprint(s.hosts("a.example"), s.hosts("other"), s.hosts("none")); got != "[127.0.0.9 2001:db8::1] [127.0.0.9 127.0.0.8] []" {
		t.Errorf("hosts: %s", got)
	}
	write(resolv, "")
	write(hosts, "")
	if got := s.servers(); len(got) != 2 || got[0].addr != "192.0.2.1:53" {
		t.Errorf("read again too early: %v", got)
	}
	now = now.Add(systemEvery)
	if got := fmt.Sprint(s.servers()); got != "[127.0.0.1:53 [::1]:53]" {
		t.Errorf("servers of an empty file: %v", got)
	}

	write(hosts, "127.0.0.9 a.example\n")
	r := &resolver{system: newSystem(filepath.Join(dir, "none"), hosts, time.Now), try: time.Second}
	r.system.refresh()
	r.system.asked = []upstream{{network: "udp", addr: z.addr}} // resolv.conf has no ports
	for name, want := range map[string]string{"a.example": "127.0.0.9", "b.example": "192.0.2.8"} {
		a, err := r.lookup(t.Context(), newTrace(acme.Attempt{}, now), name, dns.TypeA)
		if err != nil || describe(a.records) != want {
			t.Errorf("%s: got %+v, %v", name, a, err)
		}
	}
	r.fixed = []upstream{{network: "udp", addr: z.addr}} // configured resolvers: the file has no say
	if a, err := r.lookup(t.Context(), newTrace(acme.Attempt{}, now), "a.example", dns.TypeA); err != nil || describe(a.records) != "192.0.2.7" {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestParseResolver(t *testing.T) {
	for spec, want := range map[string]upstream{
		"10.0.0.53":                        {"udp", "10.0.0.53:53", ""},
		"10.0.0.53:5353":                   {"udp", "10.0.0.53:5353", ""},
		"2001:db8::53":                     {"udp", "[2001:db8::53]:53", ""},
		"[2001:db8::53]":                   {"udp", "[2001:db8::53]:53", ""},
		"[2001:db8::53]:5353":              {"udp", "[2001:db8::53]:5353", ""},
		"dns.internal":                     {"udp", "dns.internal:53", ""},
		"unbound:53":                       {"udp", "unbound:53", ""},
		"tcp://10.0.0.53":                  {"tcp", "10.0.0.53:53", ""},
		"tcp://[2001:db8::53]:5353":        {"tcp", "[2001:db8::53]:5353", ""},
		"tls://10.0.0.53":                  {"tls", "10.0.0.53:853", "10.0.0.53"},
		"tls://10.0.0.53#dns.internal":     {"tls", "10.0.0.53:853", "dns.internal"},
		"tls://2001:db8::53#dns.internal":  {"tls", "[2001:db8::53]:853", "dns.internal"},
		"tls://10.0.0.53:8853#dns.example": {"tls", "10.0.0.53:8853", "dns.example"},
	} {
		if got, err := parseUpstream(spec); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", spec, got, err, want)
		}
		if host, err := ParseResolver(spec); err != nil || !strings.Contains(want.addr, host) || strings.ContainsAny(host, "[]/") {
			t.Errorf("%s: host %q, %v", spec, host, err)
		}
	}
	bad := []string{
		"", ":53", "a b", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", "http://dns", "udp://10.0.0.1", "[::1", "dns\n", "10.0.0.1#x", "tcp://10.0.0.1#x",
		"tls://10.0.0.1#", "tls://10.0.0.1#a b",
	}
	_, err := parseUpstreams(bad)
	if err == nil {
		t.Fatal("all taken")
	}
	if n := len(strings.Split(err.Error(), "\n")); n != len(bad) {
		t.Errorf("%d of %d told:\n%v", n, len(bad), err)
	}
}

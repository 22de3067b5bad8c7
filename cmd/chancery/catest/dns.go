package catest

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// suffixes are the zones in which every name has the address 127.0.0.1 until a
// test says otherwise (RFC 2606 section 2 and 3: reserved for tests and documentation).
var suffixes = []string{"test.", "example.", "example.com.", "example.net.", "example.org."}

// recordTTL is the TTL of each answer: tests change records all the time.
const recordTTL = 0

// forwardTimeout bounds one question to the server that a zone was forwarded to.
const forwardTimeout = 2 * time.Second

// zone is the programmable content of the DNS server.
type zone struct {
	mu       sync.Mutex
	records  map[question][]dns.RR
	forwards map[string]string // zone to host:port
	failures map[string]int    // name to response code
	log      []string          // questions, "TYPE name", in the sequence they came
}

type question struct {
	name  string // lower case, with trailing dot
	qtype uint16
}

func newZone() *zone {
	return &zone{records: map[question][]dns.RR{}, forwards: map[string]string{}, failures: map[string]int{}}
}

func fqdn(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// add puts one record in; text is its RDATA in presentation form.
func (z *zone) add(name string, rr dns.RR) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := question{fqdn(name), rr.Header().Rrtype}
	z.records[q] = append(z.records[q], rr)
}

func (z *zone) remove(name string, qtype uint16, keep func(dns.RR) bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := question{fqdn(name), qtype}
	z.records[q] = slices.DeleteFunc(z.records[q], func(rr dns.RR) bool { return keep == nil || !keep(rr) })
	if len(z.records[q]) == 0 {
		delete(z.records, q)
	}
}

// ServeDNS answers one question.
func (z *zone) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	if len(r.Question) != 1 {
		_ = w.WriteMsg(m.SetRcode(r, dns.RcodeFormatError)) // the asker will time out
		return
	}
	q := r.Question[0]
	if upstream := z.forward(fqdn(q.Name)); upstream != "" {
		c := &dns.Client{Net: w.LocalAddr().Network(), Timeout: forwardTimeout}
		if answer, _, err := c.Exchange(r, upstream); err == nil {
			_ = w.WriteMsg(answer)
			return
		}
		_ = w.WriteMsg(m.SetRcode(r, dns.RcodeServerFailure))
		return
	}
	m.SetReply(r)
	m.Authoritative, m.RecursionAvailable = true, true
	m.Answer, m.Rcode = z.answer(fqdn(q.Name), q.Qtype)
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := r.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
			m.SetEdns0(opt.UDPSize(), false)
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

func (z *zone) forward(name string) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	for zone, upstream := range z.forwards {
		if dns.IsSubDomain(zone, name) {
			return upstream
		}
	}
	return ""
}

// maxChase bounds how many CNAMEs one answer follows.
const maxChase = 8

// answer is what the zone holds for a name: as a recursive resolver it follows
// CNAMEs and returns the chain with its end.
func (z *zone) answer(name string, qtype uint16) ([]dns.RR, int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.log = append(z.log, dns.TypeToString[qtype]+" "+strings.TrimSuffix(name, "."))
	var out []dns.RR
	for range maxChase {
		if code, ok := z.failures[name]; ok {
			return nil, code
		}
		if rrs := z.records[question{name, qtype}]; len(rrs) > 0 {
			return append(out, rrs...), dns.RcodeSuccess
		}
		cname := z.records[question{name, dns.TypeCNAME}]
		if len(cname) == 0 {
			break
		}
		out = append(out, cname[0])
		name = fqdn(cname[0].(*dns.CNAME).Target)
	}
	if z.known(name) {
		return out, dns.RcodeSuccess // the name exists, this type does not
	}
	for _, s := range suffixes {
		if dns.IsSubDomain(name, s) {
			return out, dns.RcodeSuccess // above a suffix, such as com: it exists, without records
		}
		if !dns.IsSubDomain(s, name) {
			continue
		}
		if qtype == dns.TypeA {
			out = append(out, address(name, netip.AddrFrom4([4]byte{127, 0, 0, 1})))
		}
		return out, dns.RcodeSuccess
	}
	return out, dns.RcodeNameError
}

// known says whether a test put an address there: then the default of the
// suffixes does not add another one.
func (z *zone) known(name string) bool {
	return len(z.records[question{name, dns.TypeA}]) > 0 || len(z.records[question{name, dns.TypeAAAA}]) > 0
}

func header(name string, qtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: fqdn(name), Rrtype: qtype, Class: dns.ClassINET, Ttl: recordTTL}
}

func address(name string, a netip.Addr) dns.RR {
	if a.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: a.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: a.AsSlice()}
}

// serveDNS runs the zone over UDP and TCP on one port and returns host:port.
func serveDNS(t testing.TB, z *zone) string {
	t.Helper()
	// The kernel picks a UDP port; the TCP port of the same number is then
	// nearly always free, but may be taken: try some.
	const tries = 20
	for range tries {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("catest: DNS over UDP: %v", err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err != nil {
			_ = udp.Close()
			continue
		}
		for _, s := range []*dns.Server{{PacketConn: udp, Handler: z}, {Listener: tcp, Handler: z}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go func() { _ = s.ActivateAndServe() }() // ends by Shutdown
			<-started
			t.Cleanup(func() { _ = s.Shutdown() })
		}
		return udp.LocalAddr().String()
	}
	t.Fatalf("catest: no port that is free over UDP and TCP in %d tries", tries)
	return ""
}

package validate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

var errOtherQuestion = errors.New("answered another question")

// parseReply reads the bytes that came back for q. A truncated message is
// errTruncated and never looked into.
func parseReply(wire []byte, q *dns.Msg) (*dns.Msg, error) {
	if len(wire) < 12 {
		return nil, errors.New("sent an answer that is too short to be one")
	}
	truncated := wire[2]&0x02 != 0
	if n := binary.BigEndian.Uint16(wire[6:]); n > maxRecords && !truncated { // before any of them is parsed
		return nil, fmt.Errorf("sent %d records, more than the %d that are read", n, maxRecords)
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(wire); err != nil {
		if truncated {
			return nil, errTruncated // cut in the middle of a record
		}
		return nil, errors.New("sent an answer that can't be parsed")
	}
	if !answers(msg, q) {
		return nil, errOtherQuestion
	}
	if msg.Truncated {
		return nil, errTruncated
	}
	// A message that ends before its last record is truncated too, whatever
	// its TC bit says (SAFETY I15).
	if int(binary.BigEndian.Uint16(wire[6:])) != len(msg.Answer) || int(binary.BigEndian.Uint16(wire[8:])) != len(msg.Ns) {
		return nil, errors.New("sent fewer records than it announced")
	}
	return msg, nil
}

// answers says whether msg replies to q: same ID and same question. A server
// that failed before it read the question may leave it out.
func answers(msg, q *dns.Msg) bool {
	if !msg.Response || msg.Id != q.Id || msg.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(msg.Question) == 0 {
		return msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeNotImplemented ||
			msg.Rcode == dns.RcodeServerFailure || msg.Rcode == dns.RcodeRefused
	}
	got, want := msg.Question[0], q.Question[0]
	return len(msg.Question) == 1 && got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}

// isReferral: no answer, no SOA, but other servers' names (RFC 2308 section
// 2.2). A CNAME that was answered without its target is none.
func isReferral(msg *dns.Msg) bool {
	if len(msg.Answer) > 0 || msg.Authoritative || msg.Rcode != dns.RcodeSuccess {
		return false
	}
	refers := false
	for _, rr := range msg.Ns {
		switch rr.Header().Rrtype {
		case dns.TypeSOA:
			return false
		case dns.TypeNS:
			refers = true
		}
	}
	return refers
}

// part is what one message says about a name.
type part struct {
	name    string
	chain   []string
	records []dns.RR
	nx      bool
	open    bool // the last CNAME's target has to be asked for
}

// interpret walks from name along the CNAMEs in the answer section to the
// records of the type. Servers send beside a DNAME the CNAME that follows from
// it (RFC 6672 section 3.1); where one does not, it is made here, because
// passing over it would make "no such record" of "elsewhere". The error
// continues "resolver x answered, but ...".
func interpret(msg *dns.Msg, name string, qtype uint16) (part, error) {
	p := part{name: canonical(name), nx: msg.Rcode == dns.RcodeNameError}
	next, err := aliases(msg)
	if err != nil {
		return p, err
	}
	step := func() (string, bool) {
		if target, ok := next[p.name]; ok {
			return target, true
		}
		return renamed(msg, p.name)
	}
	for target, ok := step(); ok; target, ok = step() {
		p.name = target
		p.chain = append(p.chain, target)
		if len(p.chain) > maxCNAMEs {
			return p, fmt.Errorf("more than %d CNAMEs in a row, or a circle of them", maxCNAMEs)
		}
	}
	if p.nx { // RFC 2308 section 2.1: it is about the end of the chain
		return p, nil
	}
	for _, rr := range msg.Answer {
		if h := rr.Header(); h.Rrtype == qtype && h.Class == dns.ClassINET && canonical(h.Name) == p.name {
			p.records = append(p.records, rr)
		}
	}
	if len(p.chain)+len(p.records) == 0 && len(msg.Answer) > 0 && !speaksOf(msg.Answer, p.name) {
		return p, errors.New("about other names only")
	}
	// A SOA above the end of the chain means that there is no such record
	// (RFC 2308 section 2.2). Without it, nothing was said about that name.
	p.open = len(p.chain) > 0 && len(p.records) == 0 && !soaCovers(msg, p.name)
	return p, nil
}

// aliases maps each CNAME's owner to its target.
func aliases(msg *dns.Msg) (map[string]string, error) {
	next := make(map[string]string)
	for _, rr := range msg.Answer {
		cname, ok := rr.(*dns.CNAME)
		if !ok || cname.Hdr.Class != dns.ClassINET {
			continue
		}
		owner, target := canonical(cname.Hdr.Name), canonical(cname.Target)
		if other, ok := next[owner]; ok && other != target {
			return nil, fmt.Errorf("%s has two CNAMEs", words(owner)) // RFC 1034 section 3.6.2: at most one
		}
		if target == "" {
			return nil, errors.New("a CNAME leads to the root")
		}
		next[owner] = target
	}
	return next, nil
}

// renamed is what a DNAME above name makes of it (RFC 6672 section 2.2).
func renamed(msg *dns.Msg, name string) (string, bool) {
	for _, rr := range msg.Answer {
		dname, ok := rr.(*dns.DNAME)
		if !ok || dname.Hdr.Class != dns.ClassINET {
			continue
		}
		owner := canonical(dname.Hdr.Name)
		if prefix, ok := strings.CutSuffix(name, "."+owner); ok && owner != "" {
			return strings.TrimSuffix(prefix+"."+canonical(dname.Target), "."), true
		}
	}
	return "", false
}

// speaksOf says whether any of the records is at name, of whatever type: a
// signature, or another type that was sent along.
func speaksOf(records []dns.RR, name string) bool {
	for _, rr := range records {
		if canonical(rr.Header().Name) == name {
			return true
		}
	}
	return false
}

func soaCovers(msg *dns.Msg, name string) bool {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, dns.Fqdn(name)) {
			return true
		}
	}
	return false
}

// words says what the part holds, for the evidence.
func (p part) words(err error) string {
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, target := range p.chain {
		out = append(out, "CNAME "+target)
	}
	switch {
	case p.nx:
		out = append(out, "NXDOMAIN")
	case !p.open:
		out = append(out, describe(p.records))
	}
	return strings.Join(out, ", ")
}

// describe says what the records hold, bounded.
func describe(records []dns.RR) string {
	if len(records) == 0 {
		return "no such record"
	}
	var out []string
	for _, rr := range records {
		switch rr := rr.(type) {
		case *dns.TXT:
			out = append(out, excerpt(strings.Join(rr.Txt, "")))
		case *dns.CAA:
			out = append(out, propertyWords(rr))
		default:
			if addr, ok := address(rr); ok {
				out = append(out, addr.String())
			} else {
				out = append(out, excerpt(strings.TrimPrefix(rr.String(), rr.Header().String())))
			}
		}
	}
	return list(8, out)
}

// address is the address of an A or AAAA record.
func address(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		addr, ok := netip.AddrFromSlice(rr.A)
		return addr.Unmap(), ok // miekg/dns may keep IPv4 in 16 bytes
	case *dns.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	}
	return netip.Addr{}, false
}

// canonical is a name in lower case without the final dot; the root is "".
func canonical(name string) string {
	return strings.TrimSuffix(dns.CanonicalName(name), ".")
}

// question is the question as people write it.
func question(name string, qtype uint16) string {
	return dns.TypeToString[qtype] + " " + name
}

// rcode is the response code in words, with the extended error's (RFC 8914)
// if there is one, since "DNSSEC Bogus" says what to do and SERVFAIL doesn't.
func rcode(msg *dns.Msg) string {
	out, ok := dns.RcodeToString[msg.Rcode]
	if !ok {
		out = fmt.Sprintf("code %d", msg.Rcode)
	}
	if opt := msg.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				return fmt.Sprintf("%s (extended error %d %s)", out, ede.InfoCode, dns.ExtendedErrorCodeToString[ede.InfoCode])
			}
		}
	}
	return out
}

package limit

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Key names a bucket: the start of a SHA-256 over its limit and what it
// counts, so that all keys have one length, and the table of buckets does not
// list addresses and names.
type Key [16]byte

func newKey(parts ...string) Key {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(p), p) // no two lists of parts read the same
	}
	return Key(h.Sum(nil))
}

// Spend is one token that is to be taken out of a bucket.
type Spend struct {
	Kind  Kind
	Key   Key
	Rate  Rate
	About string // what the bucket counts, for words
}

// Take makes the decision for one event; see Rate.Take.
func (s Spend) Take(tat, now time.Time) (next time.Time, err error) {
	next, wait := s.Rate.Take(tat, now, 1)
	if wait > 0 {
		return tat, &Exceeded{Spend: s, Wait: wait}
	}
	return next, nil
}

// Exceeded says that a bucket had no token left. Nothing was taken.
type Exceeded struct {
	Spend
	Wait time.Duration // after which there will be one
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("limit %s (%s) is reached for %.300q; a token is there in %s", e.Kind, e.Rate, e.About, Span(e.Wait))
}

// Network is whose bucket an address counts for: an IPv4 address for itself,
// an IPv6 address for its /48, which is what one site gets (RFC 6177). What is
// no address counts for one bucket that all such share, so that it passes no
// limit by.
func Network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return "unknown"
	}
	return Prefix(a).String()
}

// Prefix is Network for a parsed address.
func Prefix(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 48
	if a.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// Domain is whose bucket a name counts for: the domain that somebody
// registered, by the public suffix list, private suffixes included. Names
// under suffixes that are not in the list are private ones; of them it is the
// last two labels. An address counts as in Network. A name that is a suffix
// itself counts for itself.
func Domain(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return Network(name)
	}
	name = strings.TrimPrefix(name, "*.")
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return name
	}
	return domain
}

package validate

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"chancery/acme"

	"github.com/miekg/dns"
)

// dnsLabel stands in front of the name that is proven. It is constant under
// test: a CA lost its underscore once (SAFETY I7).
const dnsLabel = "_acme-challenge."

// dns01 validates as RFC 8555 section 8.4 says. One right TXT record among
// others is enough; a record's strings are joined (RFC 7208 section 3.3 is
// the custom).
func (v *Validator) dns01(ctx context.Context, t *trace, a acme.Attempt) error {
	name := dnsLabel + a.Identifier.Value()
	got, err := v.resolver.lookup(ctx, t, name, dns.TypeTXT)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(a.KeyAuthorization))
	want := base64.RawURLEncoding.EncodeToString(digest[:])
	for _, rr := range got.records {
		txt, ok := rr.(*dns.TXT)
		if ok && subtle.ConstantTimeCompare([]byte(strings.Join(txt.Txt, "")), []byte(want)) == 1 {
			return nil
		}
	}
	at := name
	if len(got.chain) > 0 {
		at += " (CNAME to " + got.name + ")"
	}
	switch {
	case got.nx:
		return acme.Problemf(acme.DNS, "TXT %s: resolver %s said NXDOMAIN, the name does not exist; add the record, wait until all servers of the zone have it, and try again", words(at), got.from)
	case len(got.records) == 0:
		return acme.Problemf(acme.Unauthorized, "TXT %s: resolver %s said that there is no such record; add it, wait until all servers of the zone have it, and try again", words(at), got.from)
	}
	return acme.Problemf(acme.IncorrectResponse, "TXT %s: resolver %s answered %s (want %q); add the record of this order, wait until all servers of the zone have it, and try again",
		words(at), got.from, cut(describe(got.records), maxExcerpt), want)
}

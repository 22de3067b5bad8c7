package crl

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// verify is what a list must pass before it is served, wherever it comes from:
// it is whole, of this issuer, and what its row says.
func verify(issuer *x509.Certificate, l *List) (*x509.RevocationList, error) {
	parsed, err := x509.ParseRevocationList(l.DER)
	if err != nil {
		return nil, fmt.Errorf("it can't be parsed: %w", err)
	}
	if err := parsed.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("its signature: %w", err)
	}
	switch {
	case len(parsed.Raw) != len(l.DER): // crypto/x509 does not mind
		return nil, fmt.Errorf("%d octets stand behind it", len(l.DER)-len(parsed.Raw))
	case !bytes.Equal(parsed.RawIssuer, issuer.RawSubject):
		return nil, errors.New("it names another issuer")
	case !bytes.Equal(parsed.AuthorityKeyId, issuer.SubjectKeyId):
		return nil, errors.New("it names another issuer's key")
	case parsed.Number == nil || !parsed.Number.IsInt64() || parsed.Number.Int64() != l.Number:
		return nil, fmt.Errorf("it has number %v, not %d", parsed.Number, l.Number)
	case !parsed.ThisUpdate.Equal(l.ThisUpdate), !parsed.NextUpdate.Equal(l.NextUpdate):
		return nil, fmt.Errorf("it is for %v to %v, not %v to %v", parsed.ThisUpdate, parsed.NextUpdate, l.ThisUpdate, l.NextUpdate)
	case len(parsed.RevokedCertificateEntries) != l.Entries:
		return nil, fmt.Errorf("it has %d entries, not %d", len(parsed.RevokedCertificateEntries), l.Entries)
	}
	return parsed, nil
}

// checkStored is verify for a list that comes from the store.
func checkStored(issuer *x509.Certificate, l *List) error {
	if _, err := verify(issuer, l); err != nil {
		return err
	}
	_, err := serials(l.DER)
	return err
}

// check is the look at a new list before it is published. It shares no code
// with what made it: crypto/x509 parses and verifies, and every entry is
// compared with what the store said.
func check(issuer *x509.Certificate, l *List, entries []ca.Revoked) error {
	parsed, err := verify(issuer, l)
	if err != nil {
		return err
	}
	if len(entries) != l.Entries {
		return fmt.Errorf("it has %d entries, not %d", l.Entries, len(entries))
	}
	var before ca.Serial
	for i, e := range entries {
		p := &parsed.RevokedCertificateEntries[i]
		serial, ok := ca.SerialFromBig(p.SerialNumber)
		switch {
		case !ok || serial != e.Serial:
			return fmt.Errorf("its entry %d is of %x, not %s", i, p.SerialNumber, e.Serial)
		case bytes.Compare(serial[:], before[:]) <= 0:
			return fmt.Errorf("%s is on it twice, or not in its place", serial)
		case !p.RevocationTime.Equal(e.At.Truncate(time.Second)), p.ReasonCode != int(e.Reason):
			return fmt.Errorf("%s is on it as revoked at %v for reason %d, not at %v for %d", serial, p.RevocationTime, p.ReasonCode, e.At, e.Reason)
		}
		before = serial
	}
	return nil
}

// checkLeft compares a new list with the one published before it. What is no
// longer on it must be a certificate that expired before since, and was
// therefore listed once beyond its validity (RFC 5280 section 3.3).
func checkLeft(ctx context.Context, certificates Certificates, last, next *List, since time.Time) error {
	if next.Number <= last.Number {
		return fmt.Errorf("the new list has number %d, and number %d is published", next.Number, last.Number)
	}
	if !next.ThisUpdate.After(last.ThisUpdate) {
		return fmt.Errorf("the new list is of %v, and one of %v is published", next.ThisUpdate, last.ThisUpdate)
	}
	before, err := serials(last.DER)
	if err != nil {
		return fmt.Errorf("list %d, published before: %w", last.Number, err)
	}
	now, err := serials(next.DER)
	if err != nil {
		return fmt.Errorf("the new list: %w", err)
	}
	// Both are in ascending order: one walk over both.
	for _, serial := range before {
		for len(now) > 0 && bytes.Compare(now[0][:], serial[:]) < 0 {
			now = now[1:]
		}
		if len(now) > 0 && now[0] == serial {
			continue
		}
		c, err := certificates.Certificate(ctx, serial)
		if err != nil {
			return fmt.Errorf("%s is on list %d and not on the new one, and its expiry is not known: %w", serial, last.Number, err)
		}
		if !c.NotAfter.Before(since) {
			return fmt.Errorf("%s is on list %d and not on the new one, and expires only at %v", serial, last.Number, c.NotAfter)
		}
	}
	return nil
}

// errNotList is what serials says of bytes that are no list of ours.
var errNotList = errors.New("not a CRL that was made here")

// serials reads the serial numbers off a list, in their sequence. It looks at
// nothing else: the list's signature was verified by whoever calls it.
func serials(der []byte) ([]ca.Serial, error) {
	entries, ok := entriesOf(der)
	if !ok {
		return nil, errNotList
	}
	out := make([]ca.Serial, 0, len(entries)/entrySize+1)
	for !entries.Empty() {
		var entry, number cryptobyte.String
		if !entries.ReadASN1(&entry, cbasn1.SEQUENCE) || !entry.ReadASN1(&number, cbasn1.INTEGER) || len(number) != len(ca.Serial{}) {
			return nil, errNotList
		}
		serial := ca.Serial(number)
		if len(out) > 0 && bytes.Compare(out[len(out)-1][:], serial[:]) >= 0 {
			return nil, errNotList
		}
		out = append(out, serial)
	}
	return out, nil
}

// entriesOf is the content of revokedCertificates; empty when it is absent.
func entriesOf(der []byte) (entries cryptobyte.String, ok bool) {
	in := cryptobyte.String(der)
	var list, tbs cryptobyte.String
	ok = in.ReadASN1(&list, cbasn1.SEQUENCE) && in.Empty() && list.ReadASN1(&tbs, cbasn1.SEQUENCE) &&
		tbs.SkipASN1(cbasn1.INTEGER) && // version
		tbs.SkipASN1(cbasn1.SEQUENCE) && // signature
		tbs.SkipASN1(cbasn1.SEQUENCE) && // issuer
		skipTime(&tbs) && skipTime(&tbs)
	if !ok || !tbs.PeekASN1Tag(cbasn1.SEQUENCE) {
		return nil, ok
	}
	return entries, tbs.ReadASN1(&entries, cbasn1.SEQUENCE)
}

func skipTime(s *cryptobyte.String) bool {
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		return s.SkipASN1(cbasn1.UTCTime)
	}
	return s.SkipASN1(cbasn1.GeneralizedTime)
}

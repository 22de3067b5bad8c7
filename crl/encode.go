package crl

import (
	"encoding/asn1"
	"fmt"
	"math"
	"time"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidAuthorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35} // RFC 5280 section 4.2.1.1
	oidCRLNumber      = asn1.ObjectIdentifier{2, 5, 29, 20} // RFC 5280 section 5.2.3
)

// head is what a list says besides its entries.
type head struct {
	issuer     []byte // DER of the issuer's Name, byte for byte as in its certificate
	keyID      []byte // its subjectKeyIdentifier; empty: no authorityKeyIdentifier
	algorithm  []byte // DER of the AlgorithmIdentifier
	number     int64
	thisUpdate time.Time
	nextUpdate time.Time
}

// maxEntriesSize bounds what one list may hold: a length in DER of four octets
// and a slice that still fits comfortably in memory. It is about 20 million
// entries, far above the size at which relying parties give up.
const maxEntriesSize = 1 << 30

// entrySize is the usual size of an entry with a reason, to allocate once.
const entrySize = 50

// encode makes a TBSCertList (RFC 5280 section 5.1.2) of version 2.
// The entries stand apart from the rest, because all but them is small: a
// writer that streams needs only the sum of their sizes first.
func encode(h head, entries []ca.Revoked) ([]byte, error) {
	if h.number <= 0 {
		return nil, fmt.Errorf("CRL number %d: it must be positive", h.number)
	}
	if !h.nextUpdate.After(h.thisUpdate) {
		return nil, fmt.Errorf("nextUpdate %v is not after thisUpdate %v", h.nextUpdate, h.thisUpdate)
	}
	list := make([]byte, 0, len(entries)*entrySize)
	for _, e := range entries {
		var err error
		if list, err = appendEntry(list, e); err != nil {
			return nil, err
		}
		if len(list) > maxEntriesSize {
			return nil, fmt.Errorf("more than %d bytes of revoked certificates in one list: split it into shards", maxEntriesSize)
		}
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(list)+1024))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1) // v2: section 5.1.2.1
		b.AddBytes(h.algorithm)
		b.AddBytes(h.issuer)
		addTime(b, h.thisUpdate)
		addTime(b, h.nextUpdate) // always there: section 5.1.2.5
		if len(list) > 0 {       // "MUST be absent" when none is revoked: section 5.1.2.6
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(list) })
		}
		b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), h.addExtensions)
	})
	return b.Bytes()
}

// addExtensions writes both extensions that every list MUST have, neither of
// them critical (sections 5.2.1 and 5.2.3).
func (h head) addExtensions(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if len(h.keyID) > 0 {
			addExtension(b, oidAuthorityKeyID, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(h.keyID) })
				})
			})
		}
		addExtension(b, oidCRLNumber, func(b *cryptobyte.Builder) { b.AddASN1Int64(h.number) })
	})
}

func addExtension(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(cbasn1.OCTET_STRING, value)
	})
}

// The years at which the form of a time changes (RFC 5280 section 5.1.2.4),
// and the last one that a GeneralizedTime can say.
const (
	firstUTCYear         = 1950
	firstGeneralizedYear = 2050
	lastGeneralizedYear  = 9999
)

func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() < firstGeneralizedYear {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

// reasonHead is everything of a crlEntryExtensions with a reasonCode but the
// code itself: SEQUENCE { SEQUENCE { id-ce-cRLReasons, OCTET STRING { ENUMERATED } } }.
var reasonHead = []byte{0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01}

// appendEntry appends one element of revokedCertificates (section 5.1.2.6).
// Each part has one of two sizes, so the whole is written out: at 100,000
// entries a builder's closures would be most of the work.
func appendEntry(dst []byte, e ca.Revoked) ([]byte, error) {
	at := e.At.UTC()
	year := at.Year()
	if year < firstUTCYear || year > lastGeneralizedYear {
		return nil, fmt.Errorf("certificate %s: revocation date %v can't be written in a CRL", e.Serial, at)
	}
	// One octet of length, one of tag for each; RFC 5280 section 4.1.2.2: positive.
	if e.Serial[0] == 0 || e.Serial[0] > math.MaxInt8 {
		return nil, fmt.Errorf("certificate %s: not a serial number of this CA", e.Serial)
	}
	reason, err := reasonCode(e)
	if err != nil {
		return nil, err
	}
	tag, layout := byte(cbasn1.UTCTime), "060102150405Z"
	if year >= firstGeneralizedYear {
		tag, layout = byte(cbasn1.GeneralizedTime), "20060102150405Z"
	}
	size := 2 + len(e.Serial) + 2 + len(layout)
	if reason != 0 {
		size += len(reasonHead) + 1
	}
	dst = append(dst, byte(cbasn1.SEQUENCE), byte(size), byte(cbasn1.INTEGER), byte(len(e.Serial))) //nolint:gosec // at most 2+16+2+15+12 octets
	dst = append(dst, e.Serial[:]...)
	dst = append(dst, tag, byte(len(layout))) //nolint:gosec // 13 or 15
	dst = at.AppendFormat(dst, layout)
	if reason != 0 {
		dst = append(dst, reasonHead...)
		dst = append(dst, reason)
	}
	return dst, nil
}

// reasonCode is the code that an entry shows: 0 stands for no extension,
// because unspecified "SHOULD be absent" (section 5.3.1). removeFromCRL
// belongs to delta CRLs only, and 7 is not used.
func reasonCode(e ca.Revoked) (byte, error) {
	switch {
	case e.Reason < ca.Unspecified, e.Reason > ca.AACompromise, e.Reason == 7, e.Reason == ca.RemoveFromCRL:
		return 0, fmt.Errorf("certificate %s: reason %d can't be in a CRL", e.Serial, e.Reason)
	}
	return byte(e.Reason), nil
}

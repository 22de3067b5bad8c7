package ca

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Profile says what certificates look like. It is data from the
// configuration; Check says whether it is usable.
type Profile struct {
	Name        string
	Description string // for clients, in the directory

	// Validity counts both ends: notAfter = notBefore + Validity - 1 s
	// (RFC 5280 section 4.1.2.5). All are in whole seconds.
	Validity    time.Duration // when the order asks for none
	MaxValidity time.Duration // the most that an order may ask for
	Backdate    time.Duration // how far before now notBefore lies, or may be asked to lie
	MaxLead     time.Duration // how far after now an order may ask notBefore to lie

	ExtKeyUsages    []string // of ServerAuth, ClientAuth
	Keys            []string // of "rsa", "ec256", "ec384", "ec521", "ed25519"
	MinRSABits      int      // 2048 or more
	KeyEncipherment bool     // in the keyUsage of RSA keys, for RSA key exchange of TLS 1.2
	CommonName      string   // CommonNameNone or CommonNameFirst

	OCSP      bool     // OCSP pointer in the authorityInfoAccess
	CRL       bool     // CRL distribution point
	CAIssuers bool     // pointer to the issuer's certificate in the authorityInfoAccess
	Policies  []string // certificate policies, dotted OIDs

	CAA        CAAMode  // what CAA records (RFC 8659) mean for its names
	CAARequire []string // see CAAPolicy

	AllowedNames *NameList // nil: whatever the rules allow; else only these
	DeniedNames  *NameList // never these
}

// Extended key usages that a profile may have (RFC 5280 section 4.2.1.12).
const (
	ServerAuth = "serverAuth"
	ClientAuth = "clientAuth"
)

var extKeyUsages = map[string]asn1.ObjectIdentifier{
	ServerAuth: oidServerAuth,
	ClientAuth: oidClientAuth,
}

var profileKeys = []string{"rsa", "ec256", "ec384", "ec521", "ed25519"}

// What a certificate's subject holds.
const (
	// CommonNameNone leaves the subject empty, and makes the subjectAltName
	// critical (RFC 5280 section 4.1.2.6).
	CommonNameNone = "none"
	// CommonNameFirst repeats the order's first name that fits. RFC 5280
	// appendix A.1 allows 64 characters; without such a name it is as none.
	CommonNameFirst = "first"
)

const day = 24 * time.Hour

// Limits of profiles.
const (
	// maxBackdate is R25's strict value: a certificate does not claim to be older.
	maxBackdate = time.Hour
	// maxLead: a certificate for the far future would outlive the proof behind it.
	maxLead = 30 * day
	// maxProfileValidity: more than ten years is a CA's, not a server's.
	maxProfileValidity = 3650 * day
	minProfileValidity = time.Minute
)

// DefaultProfile is "server": for TLS servers, 90 days, so that the timers of
// stock clients renew in time.
//
// No commonName: clients have looked at subjectAltName alone since RFC 6125,
// BR 7.1.2.7.2 recommends to leave it out, and names longer than 64
// characters do not fit. A minute of Backdate forgives clocks that are
// slightly slow.
func DefaultProfile() Profile {
	return Profile{
		Name:            "server",
		Description:     "TLS server certificate, 90 days",
		Validity:        90 * day,
		MaxValidity:     90 * day,
		Backdate:        time.Minute,
		MaxLead:         7 * day,
		ExtKeyUsages:    []string{ServerAuth},
		Keys:            slices.Clone(profileKeys),
		MinRSABits:      minRSABits,
		KeyEncipherment: true,
		CommonName:      CommonNameNone,
		OCSP:            true,
		CRL:             true,
		CAIssuers:       true,
		CAA:             CAAEnforce,
	}
}

// Check reports all mistakes of the profile together, each with its field.
func (p *Profile) Check() error {
	var all []error
	wrong := func(field, format string, args ...any) {
		all = append(all, fmt.Errorf("profile %s: %s: %s", quote(p.Name), field, fmt.Sprintf(format, args...)))
	}
	if !profileName(p.Name) {
		wrong("name", "must be 1 to 64 lower-case letters, digits, - and _")
	}
	p.checkTimes(wrong)
	if len(p.ExtKeyUsages) == 0 {
		wrong("ext_key_usages", "at least one of %s, %s is needed", ServerAuth, ClientAuth)
	}
	for i, usage := range p.ExtKeyUsages {
		if extKeyUsages[usage] == nil || slices.Contains(p.ExtKeyUsages[:i], usage) {
			wrong("ext_key_usages", "%s is unknown or there twice; known are %s, %s", quote(usage), ServerAuth, ClientAuth)
		}
	}
	p.checkKeys(wrong)
	p.checkCAA(wrong)
	if p.CommonName != CommonNameNone && p.CommonName != CommonNameFirst {
		wrong("common_name", "%s is neither %s nor %s", quote(p.CommonName), CommonNameNone, CommonNameFirst)
	}
	if p.AllowedNames != nil && len(p.AllowedNames.Patterns()) == 0 { // it must not mean "all" (SAFETY A24)
		wrong("allowed_names", "is empty; leave it out, or name what is allowed")
	}
	for _, policy := range p.Policies {
		if _, err := parseOID(policy); err != nil {
			wrong("policies", "%s: %v", quote(policy), err)
		}
	}
	return errors.Join(all...)
}

func (p *Profile) checkKeys(wrong func(field, format string, args ...any)) {
	if len(p.Keys) == 0 {
		wrong("keys", "at least one of %s is needed", strings.Join(profileKeys, ", "))
	}
	for i, kind := range p.Keys {
		if !slices.Contains(profileKeys, kind) || slices.Contains(p.Keys[:i], kind) {
			wrong("keys", "%s is unknown or there twice; known are %s", quote(kind), strings.Join(profileKeys, ", "))
		}
	}
	if p.MinRSABits < minRSABits || p.MinRSABits > maxRSABits {
		wrong("min_rsa_bits", "%d is not between %d and %d", p.MinRSABits, minRSABits, maxRSABits)
	}
}

func (p *Profile) checkTimes(wrong func(field, format string, args ...any)) {
	for _, d := range []struct {
		field    string
		value    time.Duration
		min, max time.Duration
	}{
		{"max_validity", p.MaxValidity, minProfileValidity, maxProfileValidity},
		{"validity", p.Validity, minProfileValidity, maxProfileValidity},
		{"backdate", p.Backdate, 0, maxBackdate},
		{"max_lead", p.MaxLead, 0, maxLead},
	} {
		if d.value < d.min || d.value > d.max {
			wrong(d.field, "%s is not between %s and %s", d.value, d.min, d.max)
		}
		if d.value%time.Second != 0 {
			wrong(d.field, "%s is not in whole seconds", d.value)
		}
	}
	if p.Validity > p.MaxValidity {
		wrong("validity", "%s is more than max_validity, %s", p.Validity, p.MaxValidity)
	}
	if p.Backdate >= p.Validity {
		wrong("backdate", "%s leaves nothing of the validity, %s", p.Backdate, p.Validity)
	}
}

func profileName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// parseOID reads a dotted OID of at least two arcs.
func parseOID(s string) (asn1.ObjectIdentifier, error) {
	var id asn1.ObjectIdentifier
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return nil, errors.New("not a dotted object identifier")
		}
		id = append(id, int(n))
	}
	if _, err := asn1.Marshal(id); err != nil {
		return nil, errors.New("not an object identifier")
	}
	return id, nil
}

// checkKey says whether the profile certifies this key, which passed CheckKey.
func (p *Profile) checkKey(c *CSR) error {
	kind := keyKind(c.key)
	if !slices.Contains(p.Keys, kind) {
		return badCSR("profile %s does not certify %s keys; use one of %s", p.Name, kind, strings.Join(p.Keys, ", "))
	}
	if bits := rsaBits(c.key); bits != 0 && bits < p.MinRSABits {
		return badCSR("profile %s asks for RSA keys of at least %d bits, this one has %d", p.Name, p.MinRSABits, bits)
	}
	return nil
}

// commonName is what the subject holds for these names, "" for nothing.
func (p *Profile) commonName(names []Identifier) string {
	if p.CommonName != CommonNameFirst {
		return ""
	}
	for _, id := range names {
		if len(id.value) <= maxCommonName {
			return id.value
		}
	}
	return ""
}

const maxCommonName = 64 // ub-common-name, RFC 5280 appendix A.1

// validity is the span, both ends included, that a certificate gets inside
// its issuer's. What was asked for is given as asked or refused, never changed
// (RFC 8555 section 7.4); what was not asked for begins and ends with the
// issuer's certificate at the most.
//
// grace is how far in the past a notBefore that was asked for may lie.
func (p *Profile) validity(ask span, now time.Time, grace time.Duration, issuer *x509.Certificate) (from, to time.Time, err error) {
	notBefore, notAfter := ask.notBefore, ask.notAfter
	refuse := func(format string, args ...any) (time.Time, time.Time, error) {
		return time.Time{}, time.Time{}, &Refusal{Code: BadValidity, Detail: fmt.Sprintf(format, args...)}
	}
	now = now.UTC().Truncate(time.Second)
	from, to = notBefore.UTC(), notAfter.UTC()
	switch {
	case notBefore.IsZero():
		if from = now.Add(-p.Backdate); from.Before(issuer.NotBefore) {
			from = issuer.NotBefore.UTC()
		}
	case from.Nanosecond() != 0:
		return refuse("notBefore %s is not in whole seconds", stamp(from))
	case from.Before(now.Add(-grace)):
		return refuse("notBefore %s is in the past, by more than %s at %s", stamp(from), grace, stamp(now))
	case from.After(now.Add(p.MaxLead)):
		return refuse("notBefore %s is more than %s from now, which profile %s does not allow", stamp(from), p.MaxLead, p.Name)
	case from.Before(issuer.NotBefore):
		return refuse("notBefore %s is before the beginning of the issuer's own certificate, %s", stamp(from), stamp(issuer.NotBefore))
	}
	switch {
	case notAfter.IsZero():
		to = from.Add(p.Validity - time.Second)
		if to.After(issuer.NotAfter) {
			to = issuer.NotAfter.UTC()
		}
	case to.Nanosecond() != 0:
		return refuse("notAfter %s is not in whole seconds", stamp(to))
	case to.After(from.Add(p.MaxValidity - time.Second)): // both ends count
		return refuse("from notBefore %s to notAfter %s is more than %s, the most of profile %s", stamp(from), stamp(to), p.MaxValidity, p.Name)
	case to.After(issuer.NotAfter):
		return refuse("notAfter %s is after the end of the issuer's own certificate, %s", stamp(to), stamp(issuer.NotAfter))
	}
	if !to.After(from) || !to.After(now) {
		return refuse("from notBefore %s to notAfter %s leaves no time", stamp(from), stamp(to))
	}
	return from, to, nil
}

// span is what an order asks for; a zero time is no wish.
type span struct{ notBefore, notAfter time.Time }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

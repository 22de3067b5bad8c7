package ca

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// check is the second, independent look: crypto/x509 parses the octets again,
// and what it finds is compared with what rules, profile, issuer and
// reservation promise. Encoder and linter are not trusted here. The error is a
// *Refusal with LintFailed.
func (pr promise) check(lintDER []byte, want *Certificate) error {
	got, err := x509.ParseCertificate(lintDER)
	if err != nil {
		return &Refusal{Code: LintFailed, Detail: "the certificate would not be well-formed: " + parseReason(err)}
	}
	issuer, p := pr.issuer, pr.profile
	ca := issuer.Certificate()
	kind := keyKind(got.PublicKey)
	checks := []struct {
		what string
		ok   bool
	}{
		{"version", got.Version == 3},
		{"serial number", bytes.Equal(got.SerialNumber.Bytes(), want.Serial[:]) && want.Serial.wellFormed()},
		{"signature algorithm", got.SignatureAlgorithm == issuer.algorithm.name},
		{"issuer", bytes.Equal(got.RawIssuer, ca.RawSubject) && want.Issuer == issuer.id},
		{"validity", sameValidity(got, want)},
		// Both ends count (RFC 5280 section 4.1.2.5).
		{"length of the validity", got.NotAfter.After(got.NotBefore) && !got.NotAfter.After(got.NotBefore.Add(pr.maxValidity(want.ReservedAt)-time.Second))},
		{"beginning of the validity", pr.nearReservation(got.NotBefore, want.ReservedAt)},
		{"validity inside the issuer's", !got.NotBefore.Before(ca.NotBefore) && !got.NotAfter.After(ca.NotAfter)},
		{"public key", sha256.Sum256(got.RawSubjectPublicKeyInfo) == want.SPKI && pr.keeps(got.PublicKey, got.RawSubjectPublicKeyInfo)},
		{"names", sameSAN(got, want.Names) && pr.permit(want.Order == "" && want.Account == "", want.Names) == nil},
		{"subject", checkSubject(got, want.Names, p)},
		{"key usage", got.KeyUsage == promisedKeyUsage(kind, p)},
		{"extended key usage", samePurposes(got, p)},
		{"basic constraints", got.BasicConstraintsValid && !got.IsCA},
		{"key identifiers", len(got.SubjectKeyId) == 20 && bytes.Equal(got.AuthorityKeyId, ca.SubjectKeyId)},
		{"OCSP pointer", slices.Equal(got.OCSPServer, pointers(p.OCSP, issuer.OCSPURL()))},
		{"issuer pointer", slices.Equal(got.IssuingCertificateURL, pointers(p.CAIssuers, issuer.CAIssuersURL()))},
		{"CRL pointer", slices.Equal(got.CRLDistributionPoints, pointers(p.CRL, issuer.CRLURL(want.Shard)))},
		{"policies", samePolicies(got, p)},
		{"extensions", knownExtensions(got)},
		{"fields", plainFields(got.RawTBSCertificate)},
	}
	for _, c := range checks {
		if !c.ok {
			return &Refusal{Code: LintFailed, Detail: fmt.Sprintf("the certificate would not be what profile %s promises: %s", p.Name, c.what)}
		}
	}
	return nil
}

// nearReservation: a certificate does not claim to be older than the
// reservation allows, nor to begin later than the profile lets it (I25, R25).
func (pr promise) nearReservation(from, reserved time.Time) bool {
	return !from.Before(reserved.Add(-max(pr.profile.Backdate, maxAge)-time.Second)) &&
		!from.After(reserved.Add(pr.profile.MaxLead+time.Second))
}

// keeps says whether rules and profile certify the key, in the one encoding
// that it has (BR 7.1.3.1). CheckKey looked at it when the CSR was parsed, and
// does once more: this look trusts nobody.
func (pr promise) keeps(key crypto.PublicKey, spki []byte) bool {
	kind := keyKind(key)
	canonical, err := x509.MarshalPKIXPublicKey(key)
	return err == nil && bytes.Equal(canonical, spki) && CheckKey(key) == nil &&
		slices.Contains(pr.rules.Keys, kind) && slices.Contains(pr.profile.Keys, kind) &&
		(kind != "rsa" || rsaBits(key) >= pr.profile.MinRSABits)
}

// plainFields says that the TBSCertificate has the fields of RFC 5280 section
// 4.1 and no unique identifiers, which the parser skips (section 4.1.2.8).
func plainFields(tbs []byte) bool {
	input := cryptobyte.String(tbs)
	var fields cryptobyte.String
	ok := input.ReadASN1(&fields, cbasn1.SEQUENCE) && input.Empty() &&
		fields.SkipASN1(cbasn1.Tag(0).ContextSpecific().Constructed()) && fields.SkipASN1(cbasn1.INTEGER)
	for range 5 { // signature, issuer, validity, subject, subjectPublicKeyInfo
		ok = ok && fields.SkipASN1(cbasn1.SEQUENCE)
	}
	return ok && fields.SkipASN1(cbasn1.Tag(3).ContextSpecific().Constructed()) && fields.Empty()
}

func sameValidity(got *x509.Certificate, want *Certificate) bool {
	whole := want.NotBefore.Nanosecond() == 0 && want.NotAfter.Nanosecond() == 0
	return whole && got.NotBefore.Equal(want.NotBefore) && got.NotAfter.Equal(want.NotAfter)
}

func pointers(on bool, url string) []string {
	if !on {
		return nil
	}
	return []string{url}
}

// sameSAN compares the names, and that there are no others of another kind.
func sameSAN(got *x509.Certificate, want []Identifier) bool {
	var names []Identifier
	for _, name := range got.DNSNames {
		id, err := ParseIdentifier(string(DNS), name)
		if err != nil || id.Value() != name {
			return false
		}
		names = append(names, id)
	}
	for _, ip := range got.IPAddresses {
		id, err := ipFromOctets(ip)
		if err != nil {
			return false
		}
		names = append(names, id)
	}
	sorted := slices.SortedFunc(slices.Values(want), compareIdentifiers)
	slices.SortFunc(names, compareIdentifiers)
	return len(got.EmailAddresses)+len(got.URIs) == 0 && slices.Equal(names, sorted)
}

// checkSubject: empty with a critical subjectAltName, or one of the names with
// one that is not critical (RFC 5280 section 4.1.2.6, BR 7.1.2.7.12).
func checkSubject(got *x509.Certificate, names []Identifier, p *Profile) bool {
	empty := bytes.Equal(got.RawSubject, emptyName)
	for _, ext := range got.Extensions {
		if ext.Id.Equal(oidSubjectAltName) && ext.Critical != empty {
			return false
		}
	}
	if empty {
		return p.commonName(names) == ""
	}
	cn := got.Subject.CommonName
	return p.CommonName == CommonNameFirst && len(got.Subject.Names) == 1 && len(cn) <= maxCommonName &&
		slices.ContainsFunc(names, func(id Identifier) bool { return id.Value() == cn })
}

// promisedKeyUsage is said here once more, in crypto/x509's words.
func promisedKeyUsage(kind string, p *Profile) x509.KeyUsage {
	usage := x509.KeyUsageDigitalSignature
	if kind == "rsa" && p.KeyEncipherment {
		usage |= x509.KeyUsageKeyEncipherment
	}
	return usage
}

func samePurposes(got *x509.Certificate, p *Profile) bool {
	known := map[string]x509.ExtKeyUsage{ServerAuth: x509.ExtKeyUsageServerAuth, ClientAuth: x509.ExtKeyUsageClientAuth}
	if len(got.UnknownExtKeyUsage) > 0 || len(got.ExtKeyUsage) != len(p.ExtKeyUsages) {
		return false
	}
	for i, name := range p.ExtKeyUsages {
		if usage, ok := known[name]; !ok || got.ExtKeyUsage[i] != usage {
			return false
		}
	}
	return true
}

func samePolicies(got *x509.Certificate, p *Profile) bool {
	var policies []string
	for _, id := range got.Policies {
		policies = append(policies, id.String())
	}
	return slices.Equal(policies, p.Policies)
}

// knownExtensions: none but those that a profile can put there, with the
// criticality of RFC 5280 section 4.2.1 (the subjectAltName's is checked with
// the subject).
func knownExtensions(got *x509.Certificate) bool {
	critical := []asn1.ObjectIdentifier{oidKeyUsage, oidBasicConstraints}
	other := []asn1.ObjectIdentifier{oidExtKeyUsage, oidSubjectKeyID, oidAuthorityKeyID, oidAuthorityInfo, oidPolicies, oidCRLDistribution}
	for _, ext := range got.Extensions {
		equal := func(id asn1.ObjectIdentifier) bool { return id.Equal(ext.Id) }
		switch {
		case ext.Id.Equal(oidSubjectAltName):
		case slices.ContainsFunc(critical, equal) && ext.Critical:
		case slices.ContainsFunc(other, equal) && !ext.Critical:
		default:
			return false
		}
	}
	return len(got.UnhandledCriticalExtensions) == 0
}

package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// checkPromise is the second, independent look: crypto/x509 parses the octets
// again, and what it finds is compared with what the profile, the issuer and
// the reservation promise. Encoder and linter are not trusted here. The error
// is a *Refusal with LintFailed.
func checkPromise(lintDER []byte, issuer *Issuer, p *Profile, want *Certificate) error {
	got, err := x509.ParseCertificate(lintDER)
	if err != nil {
		return &Refusal{Code: LintFailed, Detail: "the certificate would not be well-formed: " + parseReason(err)}
	}
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
		{"length of the validity", got.NotAfter.After(got.NotBefore) && !got.NotAfter.After(got.NotBefore.Add(p.MaxValidity-time.Second))},
		{"validity inside the issuer's", !got.NotBefore.Before(ca.NotBefore) && !got.NotAfter.After(ca.NotAfter)},
		// That this key passed CheckKey is what a CSR stands for.
		{"public key", sha256.Sum256(got.RawSubjectPublicKeyInfo) == want.SPKI && slices.Contains(p.Keys, kind) && (kind != "rsa" || rsaBits(got.PublicKey) >= p.MinRSABits)},
		{"names", sameSAN(got, want.Names) && permitNames(issuer, want.Names) == nil},
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
	}
	for _, c := range checks {
		if !c.ok {
			return &Refusal{Code: LintFailed, Detail: fmt.Sprintf("the certificate would not be what profile %s promises: %s", p.Name, c.what)}
		}
	}
	return nil
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

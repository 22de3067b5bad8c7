package ca

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"chancery/ca/lint"
)

// A ticket is a certificate that may be signed: it was linted and checked.
// Only newTicket makes one, and it signs once.
type ticket struct {
	issuer *Issuer
	cert   Certificate // with its TBS
	used   atomic.Bool
}

// certificate is a copy, as the Ledger takes it.
func (t *ticket) certificate() *Certificate {
	c := t.cert
	c.TBS = bytes.Clone(c.TBS)
	c.Names = slices.Clone(c.Names)
	return &c
}

// prepare makes the to-be-signed octets of an accepted request, under a new
// serial number, and lets them be looked at twice.
func (a *Authority) prepare(ok *accepted) (*ticket, error) {
	r, issuer := ok.request, a.Issuers[0]
	serial, err := NewSerial(r.Now, a.random())
	if err != nil {
		return nil, err
	}
	cert := Certificate{
		Serial:     serial,
		Issuer:     issuer.id,
		Profile:    ok.profile.Name,
		Order:      r.Order,
		Account:    r.Account,
		Names:      slices.Clone(r.Names),
		SPKI:       r.CSR.SPKIHash(),
		NotBefore:  ok.from,
		NotAfter:   ok.to,
		ReservedAt: r.Now.UTC(),
		Evidence:   slices.Clone(r.Evidence),
	}
	t, err := newTemplate(issuer, ok.profile, &cert, r.CSR)
	if err != nil {
		return nil, err
	}
	if cert.TBS, err = t.encode(); err != nil {
		return nil, err
	}
	return a.newTicket(issuer, ok.profile, cert)
}

// newTemplate puts profile, issuer and request together.
func newTemplate(issuer *Issuer, p *Profile, cert *Certificate, csr *CSR) (*template, error) {
	t := &template{
		serial:    cert.Serial[:],
		algorithm: issuer.algorithm.id,
		issuer:    issuer.Certificate().RawSubject,
		notBefore: cert.NotBefore,
		notAfter:  cert.NotAfter,
		subject:   emptyName,
		spki:      csr.spki,
		keyUsage:  p.keyUsage(keyKind(csr.key)),
		authority: issuer.Certificate().SubjectKeyId,
		names:     cert.Names,
	}
	var err error
	if cn := p.commonName(cert.Names); cn != "" {
		if t.subject, err = subjectName("", cn); err != nil {
			return nil, err
		}
	}
	for _, usage := range p.ExtKeyUsages {
		t.extUsages = append(t.extUsages, extKeyUsages[usage])
	}
	if t.policies, err = parseOIDs(p.Policies); err != nil {
		return nil, err
	}
	if p.OCSP {
		t.ocspURL = issuer.OCSPURL()
	}
	if p.CAIssuers {
		t.issuersURL = issuer.CAIssuersURL()
	}
	if p.CRL {
		t.crlURL = issuer.CRLURL(cert.Shard)
	}
	return t, nil
}

// keyUsage by kind of key: only RSA keys can encrypt another key.
func (p *Profile) keyUsage(kind string) keyUsage {
	if kind == "rsa" && p.KeyEncipherment {
		return digitalSignature | keyEncipherment
	}
	return digitalSignature
}

func parseOIDs(texts []string) ([]asn1.ObjectIdentifier, error) {
	var ids []asn1.ObjectIdentifier
	for _, text := range texts {
		id, err := parseOID(text)
		if err != nil {
			return nil, fmt.Errorf("certificate policy %s: %w", quote(text), err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// newTicket takes the two looks before a signature: the linter's, and our own
// at what the profile promises (checker.go). cert has its TBS.
func (a *Authority) newTicket(issuer *Issuer, p *Profile, cert Certificate) (*ticket, error) {
	lintDER, err := issuer.lintable(cert.TBS)
	if err != nil {
		return nil, err
	}
	if err := lintRefusal(lintDER); err != nil {
		return nil, err
	}
	if err := a.promise(issuer, p).check(lintDER, &cert); err != nil {
		return nil, err
	}
	return &ticket{issuer: issuer, cert: cert}, nil
}

// lintable is the certificate with a dummy in the place of its signature.
func (i *Issuer) lintable(tbs []byte) ([]byte, error) {
	dummy, err := dummySignature(i.key.Public())
	if err != nil {
		return nil, err
	}
	return wrapSigned(tbs, i.algorithm.id, dummy)
}

// maxFindings that a refusal repeats.
const maxFindings = 5

func lintRefusal(lintDER []byte) error {
	findings, err := lint.Check(lintDER)
	if err != nil {
		return &Refusal{Code: LintFailed, Detail: "the certificate would not be well-formed: " + parseReason(err)}
	}
	var bad []string
	for _, f := range findings {
		if f.Forbids() && len(bad) < maxFindings {
			bad = append(bad, f.String())
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return &Refusal{Code: LintFailed, Detail: "the certificate would break a rule that applies here: " + strings.Join(bad, "; ")}
}

// sign makes the certificate, once. The signature was verified by the
// algorithm; the third look is that the signed octets are those of the ticket.
func (t *ticket) sign(random io.Reader) (*Certificate, error) {
	if t.used.Swap(true) {
		return nil, errors.New("sign: this ticket was used before")
	}
	signature, err := t.issuer.algorithm.sign(t.issuer.key, random, t.cert.TBS)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	der, err := wrapSigned(t.cert.TBS, t.issuer.algorithm.id, signature)
	if err != nil {
		return nil, err
	}
	tbs, _, ok := unwrapSigned(der)
	if !ok || !bytes.Equal(tbs, t.cert.TBS) {
		return nil, errors.New("sign: what was signed is not what was linted; nothing was issued")
	}
	issued := t.certificate()
	issued.TBS, issued.DER = nil, der
	return issued, nil
}

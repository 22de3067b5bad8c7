package admin

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"chancery/ca"
)

// Certificate is a certificate in a listing. Times are UTC; NotAfter is the
// last second of validity.
type Certificate struct {
	Serial    string    `json:"serial"` // 32 lower-case hexadecimal digits
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Status    string    `json:"status"`  // valid, revoked, expired or reserved
	Account   string    `json:"account"` // empty for Chancery's own
	Order     string    `json:"order"`   // empty for Chancery's own
	Issuer    string    `json:"issuer"`
	Profile   string    `json:"profile"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	Reason    string    `json:"reason,omitempty"`
}

// CertificateDetail is one certificate with what only its DER tells.
type CertificateDetail struct {
	Certificate
	Key         string    `json:"key,omitempty"`         // "ECDSA P-256", "RSA 2048"
	SPKI        string    `json:"spki_sha256"`           // hexadecimal SHA-256 of the SubjectPublicKeyInfo
	Fingerprint string    `json:"fingerprint,omitempty"` // hexadecimal SHA-256 of the DER
	Shard       int       `json:"crl_shard"`
	ReservedAt  time.Time `json:"reserved_at"`
}

func showCertificate(c *ca.Certificate, now time.Time) Certificate {
	out := Certificate{
		Serial: c.Serial.String(), Names: make([]string, len(c.Names)),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Status: string(c.StatusAt(now)),
		Account: c.Account, Order: c.Order, Issuer: c.Issuer, Profile: c.Profile,
	}
	for i, n := range c.Names {
		out.Names[i] = n.Value()
	}
	if c.Revocation != nil {
		out.RevokedAt = c.Revocation.At.UTC()
		out.Reason = ReasonName(c.Revocation.Reason)
	}
	return out
}

func (a *Admin) certificates(r *request) (*reply, error) {
	q := &r.query
	s := ca.CertificateSearch{
		At:      r.now,
		Name:    q.name("name"),
		Account: q.id("account"), Issuer: q.word("issuer"), Profile: q.word("profile"),
		Status: ca.CertificateStatus(q.oneOf("status", string(ca.CertificateValid), string(ca.CertificateRevoked),
			string(ca.CertificateExpired), string(ca.CertificateReserved))),
		ExpiringBefore: q.time("expiring_before"),
		After:          q.serial("cursor"),
		Limit:          q.limit(),
	}
	serial := q.serial("serial")
	if err := q.done(); err != nil {
		return nil, err
	}
	if serial != (ca.Serial{}) {
		if len(q.values) > 1 && !(len(q.values) == 2 && q.values.Has("limit")) {
			return nil, problemf(http.StatusBadRequest, "Parameter serial names one certificate and stands alone.")
		}
		c, err := a.config.Store.Certificate(r.ctx, serial)
		if errors.Is(err, ca.ErrNotFound) {
			return ok(Page[Certificate]{Items: []Certificate{}}), nil
		}
		if err != nil {
			return nil, err
		}
		return ok(Page[Certificate]{Items: []Certificate{showCertificate(c, r.now)}}), nil
	}
	list, err := a.config.Store.Certificates(r.ctx, s)
	if err != nil {
		return nil, err
	}
	return page(list, s.Limit,
		func(c *ca.Certificate) Certificate { return showCertificate(c, r.now) },
		func(c *ca.Certificate) string { return c.Serial.String() }), nil
}

// find is the certificate that the path names.
func (a *Admin) find(r *request) (*ca.Certificate, error) {
	serial, err := ca.ParseSerial(r.vars["serial"])
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "%.40q is no serial number: %s.", r.vars["serial"], err)
	}
	return a.config.Store.Certificate(r.ctx, serial)
}

func (a *Admin) certificate(r *request) (*reply, error) {
	if err := r.query.done(); err != nil {
		return nil, err
	}
	c, err := a.find(r)
	if err != nil {
		return nil, err
	}
	return ok(detail(c, r.now)), nil
}

func detail(c *ca.Certificate, now time.Time) CertificateDetail {
	out := CertificateDetail{
		Certificate: showCertificate(c, now), SPKI: hex.EncodeToString(c.SPKI[:]),
		Shard: c.Shard, ReservedAt: c.ReservedAt.UTC(),
	}
	if len(c.DER) == 0 {
		return out
	}
	sum := sha256.Sum256(c.DER)
	out.Fingerprint = hex.EncodeToString(sum[:])
	if parsed, err := x509.ParseCertificate(c.DER); err == nil {
		out.Key = keyName(parsed.PublicKey)
	}
	return out
}

func keyName(pub any) string {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

func (a *Admin) certificateChain(r *request) (*reply, error) {
	if err := r.query.done(); err != nil {
		return nil, err
	}
	c, err := a.find(r)
	if err != nil {
		return nil, err
	}
	if len(c.DER) == 0 {
		return nil, problemf(http.StatusConflict, "The serial number is reserved, but there is no certificate (yet).")
	}
	chains, err := a.config.Chains(c)
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, fmt.Errorf("certificate %s has no chain", c.Serial)
	}
	return &reply{status: http.StatusOK, raw: chains[0]}, nil
}

func (a *Admin) revokeCertificate(r *request) (*reply, error) {
	body, err := r.body("reason")
	if err != nil {
		return nil, err
	}
	name, err := body.OptionalString("reason")
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "The body can't be taken: %s.", err)
	}
	if name == "" {
		name = ReasonName(ca.Unspecified)
	}
	reason, err := parseReason(name)
	if err != nil {
		return nil, err
	}
	c, err := a.find(r)
	if err != nil {
		return nil, err
	}
	// The one serial that was looked up is the one that is revoked (I63).
	if err := a.config.Engine.Revoke(r.ctx, ca.Revocation{By: r.by, Serial: c.Serial, Reason: reason, At: r.now}); err != nil {
		return nil, err
	}
	if c, err = a.config.Store.Certificate(r.ctx, c.Serial); err != nil {
		return nil, err
	}
	return ok(detail(c, r.now)), nil
}

// reasons are the names of RFC 5280 section 5.3.1, and which of them an
// operator may give to a certificate. Those of CA certificates, attribute
// authorities and holds have no meaning for what Chancery issues.
var reasons = []struct {
	reason  ca.Reason
	name    string
	allowed bool
}{
	{ca.Unspecified, "unspecified", true},
	{ca.KeyCompromise, "keyCompromise", true},
	{ca.CACompromise, "cACompromise", false},
	{ca.AffiliationChanged, "affiliationChanged", true},
	{ca.Superseded, "superseded", true},
	{ca.CessationOfOperation, "cessationOfOperation", true},
	{ca.CertificateHold, "certificateHold", false},
	{ca.RemoveFromCRL, "removeFromCRL", false},
	{ca.PrivilegeWithdrawn, "privilegeWithdrawn", true},
	{ca.AACompromise, "aACompromise", false},
}

// ReasonName is the reason's name in RFC 5280 section 5.3.1.
func ReasonName(r ca.Reason) string {
	for _, row := range reasons {
		if row.reason == r {
			return row.name
		}
	}
	return "unknown"
}

// ReasonNames lists the reasons that an operator may give.
func ReasonNames() []string {
	var out []string
	for _, row := range reasons {
		if row.allowed {
			out = append(out, row.name)
		}
	}
	return out
}

func parseReason(name string) (ca.Reason, error) {
	for _, row := range reasons {
		if row.allowed && row.name == name {
			return row.reason, nil
		}
	}
	return 0, problemf(http.StatusBadRequest, "Reason %.40q can't be given; these can: %s.", name, strings.Join(ReasonNames(), ", "))
}

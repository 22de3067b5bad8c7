package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"
)

// Verify says whether the authority can issue at `now`: parts are there, the
// active issuer's chain is valid, and each profile yields a certificate that
// passes linter and checker. It signs and stores nothing, and reports all
// mistakes together.
func (a *Authority) Verify(now time.Time) error {
	if len(a.Issuers) == 0 || a.Ledger == nil {
		return errors.New("authority: an issuer and a ledger are needed")
	}
	var all []error
	seen := map[string]bool{}
	for _, issuer := range a.Issuers {
		if seen[issuer.id] {
			all = append(all, fmt.Errorf("authority: issuer %s is there twice", issuer.id))
		}
		seen[issuer.id] = true
	}
	for _, cert := range a.Issuers[0].chain {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			all = append(all, fmt.Errorf("authority: the issuer's certificate %s is valid from %s to %s, and the clock says %s",
				quote(cert.Subject.String()), stamp(cert.NotBefore), stamp(cert.NotAfter), stamp(now)))
		}
	}
	if a.Profiles[a.Default] == nil {
		all = append(all, fmt.Errorf("authority: the default profile %s does not exist", quote(a.Default)))
	}
	if len(all) > 0 {
		return errors.Join(all...)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Profiles)) {
		if err := a.tryProfile(name, now); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// tryProfile makes a certificate up to the signature, for one key of each
// kind that the profile certifies.
func (a *Authority) tryProfile(name string, now time.Time) error {
	p := a.Profiles[name]
	if err := errors.Join(p.Check(), a.rules().CheckProfile(p)); err != nil {
		return err
	}
	if p.Name != name {
		return fmt.Errorf("authority: profile %s stands under the name %s", quote(p.Name), quote(name))
	}
	for _, cert := range a.Issuers[0].chain {
		if err := mayIssueFor(cert, p); err != nil {
			return err
		}
	}
	for _, kind := range p.Keys {
		key, err := sampleKey(kind, p.MinRSABits)
		if err != nil {
			return fmt.Errorf("authority: sample key: %w", err)
		}
		if err := a.trySample(p, key, now); err != nil {
			return fmt.Errorf("authority: profile %s with %s keys: %w", quote(name), kind, err)
		}
	}
	return nil
}

// mayIssueFor: an extKeyUsage in a CA certificate limits those below it
// (BR 7.1.2.10.6; RFC 5280 leaves it open, and programs do it).
func mayIssueFor(cert *x509.Certificate, p *Profile) error {
	if len(cert.ExtKeyUsage) == 0 || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return nil
	}
	known := map[string]x509.ExtKeyUsage{ServerAuth: x509.ExtKeyUsageServerAuth, ClientAuth: x509.ExtKeyUsageClientAuth}
	for _, usage := range p.ExtKeyUsages {
		if !slices.Contains(cert.ExtKeyUsage, known[usage]) {
			return fmt.Errorf("authority: profile %s has %s, which the CA certificate %s does not allow",
				quote(p.Name), usage, quote(cert.Subject.String()))
		}
	}
	return nil
}

func (a *Authority) trySample(p *Profile, key crypto.PublicKey, now time.Time) error {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	names, err := a.Issuers[0].names.sample()
	if err != nil {
		return err
	}
	from, to, err := a.validity(p, span{}, now, 0)
	if err != nil {
		return err
	}
	csr := &CSR{spki: spki, key: key, names: names}
	_, err = a.prepare(&accepted{&Request{CSR: csr, Names: names, Now: now}, p, from, to})
	return err
}

// sampleKey makes a key that is thrown away.
func sampleKey(kind string, bits int) (crypto.PublicKey, error) {
	curves := map[string]elliptic.Curve{"ec256": elliptic.P256(), "ec384": elliptic.P384(), "ec521": elliptic.P521()}
	switch kind {
	case "rsa":
		return sampleRSA(bits)
	case "ed25519":
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		return pub, err
	}
	key, err := ecdsa.GenerateKey(curves[kind], rand.Reader)
	if err != nil {
		return nil, err
	}
	return &key.PublicKey, nil
}

// sampleRSA makes no primes, which would delay each start: nobody needs the
// factors. One in six random odd numbers has no small factor, so that 1000
// tries are plenty.
func sampleRSA(bits int) (*rsa.PublicKey, error) {
	for range 1000 {
		octets := make([]byte, bits/8)
		if _, err := rand.Read(octets); err != nil {
			return nil, err
		}
		octets[0] |= 0x80
		octets[len(octets)-1] |= 1
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(octets), E: minRSAExponent}
		if CheckKey(key) == nil {
			return key, nil
		}
	}
	return nil, errors.New("no RSA modulus found; check the random source")
}

package crl

import (
	"crypto"
	"crypto/x509"
	"testing"

	"chancery/ca"
)

// For the tests outside the package.
const (
	ClaimTime   = claimTime
	MinInterval = minInterval
)

var ErrClockBack = errClockBack

// World is an issuer with its key, below a root.
type World struct {
	Root   *x509.Certificate
	Issuer *ca.Issuer
	Key    crypto.Signer
}

func SomeWorld(t testing.TB, kind string) World {
	w := newWorld(t, kind)
	return World{w.root, w.issuer, w.key}
}

func KeyKinds() []string { return keyKinds }

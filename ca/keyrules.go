package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math"
	"math/big"

	"github.com/titanous/rocacheck"
)

// Bounds of keys, for certificates and for accounts alike.
const (
	minRSABits     = 2048 // BR 6.1.5
	maxRSABits     = 8192 // more would only let a client buy our CPU time with its own
	minRSAExponent = 65537
	fermatRounds   = 100 // BR 6.1.1.3: what 100 rounds of Fermat's method factor is weak
)

// smallPrimes is the product of the odd primes below 752 (BR 6.1.6, from
// NIST SP 800-89 section 5.3.3: no factor smaller than 752).
var smallPrimes = func() *big.Int {
	product := big.NewInt(1)
	for n := int64(3); n < 752; n += 2 {
		if p := big.NewInt(n); p.ProbablyPrime(0) { // exact below 2^64
			product.Mul(product, p)
		}
	}
	return product
}()

// smallOrder are the encodings, sign bit cleared, of the points of Ed25519
// whose order divides 8, among them the two that are not canonical. With such
// a key anybody can make signatures (RFC 8032 section 8.9 and its errata).
var smallOrder = [...][ed25519.PublicKeySize]byte{
	{0x00}, // order 4
	{0x01}, // order 1
	{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	}, // order 8
	{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	}, // order 8
	littleEndian(0xec), // p-1, order 2
	littleEndian(0xed), // p, that is 0
	littleEndian(0xee), // p+1, that is 1
}

// littleEndian is the 255-bit number whose lowest octet is given and whose other bits are all set.
func littleEndian(lowest byte) (b [ed25519.PublicKeySize]byte) {
	for i := range b {
		b[i] = 0xff
	}
	b[0], b[31] = lowest, 0x7f
	return b
}

// CheckKey says whether a public key may be certified or be an account's:
// RSA of 2048 to 8192 bits without the known weaknesses, ECDSA on P-256,
// P-384 or P-521, or Ed25519. The error is a *Refusal with BadPublicKey.
//
// Not checked here: the lists of keys that are known to be weak or blocked
// (policy.go), and that an RSA modulus is no prime itself, which would cost
// 160 ms for the longest.
func CheckKey(pub crypto.PublicKey) error {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		return checkRSA(key)
	case *ecdsa.PublicKey:
		return checkECDSA(key)
	case ed25519.PublicKey:
		return checkEd25519(key)
	}
	return badKey("a key of type %T is not served; use RSA, ECDSA or Ed25519", pub)
}

func badKey(format string, args ...any) error {
	return &Refusal{Code: BadPublicKey, Detail: fmt.Sprintf(format, args...)}
}

func checkRSA(key *rsa.PublicKey) error {
	if key == nil || key.N == nil || key.N.Sign() <= 0 {
		return badKey("the RSA key has no modulus")
	}
	bits := key.N.BitLen()
	switch {
	case bits < minRSABits || bits > maxRSABits:
		return badKey("the RSA key has %d bits; between %d and %d are accepted", bits, minRSABits, maxRSABits)
	case bits%8 != 0: // BR 6.1.5
		return badKey("the RSA key has %d bits, which is not divisible by 8", bits)
	case key.E < minRSAExponent || key.E&1 == 0: // BR 6.1.6; above, crypto/rsa and int hold the limit of 2^31-1
		return badKey("the RSA key's public exponent is %d; it must be odd and at least %d", key.E, minRSAExponent)
	case int64(key.E) > 1<<31-1:
		return badKey("the RSA key's public exponent is above 2^31-1")
	case key.N.Bit(0) == 0:
		return badKey("the RSA key's modulus is even")
	case new(big.Int).GCD(nil, nil, key.N, smallPrimes).Cmp(big.NewInt(1)) != 0:
		return badKey("the RSA key's modulus has a prime factor below 752")
	case perfectPower(key.N): // SP 800-89 section 5.3.3; squares fall to fermat
		return badKey("the RSA key's modulus is a power of one number")
	case rocacheck.IsWeak(key): // CVE-2017-15361
		return badKey("the RSA key has the structure of the ROCA weakness; make a new one in software")
	case fermat(key.N, fermatRounds):
		return badKey("the RSA key's prime factors are too close to each other; make a new key with another program")
	}
	return nil
}

// fermat says whether n, odd and positive, falls to so many rounds of Fermat's
// factorization: n = a^2 - b^2 with a little above the root of n.
func fermat(n *big.Int, rounds int) bool {
	a := new(big.Int).Sqrt(n)
	rest := new(big.Int).Mul(a, a)
	rest.Sub(rest, n) // a^2 - n, not positive yet
	if rest.Sign() == 0 {
		return true // a square
	}
	step := new(big.Int).Lsh(a, 1)
	step.Add(step, big.NewInt(1)) // (a+1)^2 - a^2
	two := big.NewInt(2)
	root, square := new(big.Int), new(big.Int)
	for range rounds {
		rest.Add(rest, step)
		step.Add(step, two)
		// Squares end in 0, 1, 4, 9, 16, 17, 25, 33, 36, 41, 49 or 57 modulo 64:
		// this saves four of five square roots.
		if squaresMod64>>(rest.Uint64()&63)&1 == 0 {
			continue
		}
		if root.Sqrt(rest); square.Mul(root, root).Cmp(rest) == 0 {
			return true
		}
	}
	return false
}

// perfectPower says whether n is an odd prime power of a number above 752. It
// takes each root by Newton's method, from an estimate that is just above it.
func perfectPower(n *big.Int) bool {
	mantissa := new(big.Float)
	exponent := new(big.Float).SetInt(n).MantExp(mantissa)
	m, _ := mantissa.Float64()
	log := float64(exponent) + math.Log2(m)
	for k := int64(3); log/float64(k) >= minRootBits; k += 2 {
		if !big.NewInt(k).ProbablyPrime(0) { // exact below 2^64
			continue
		}
		if root := rootOf(n, k, log/float64(k)); new(big.Int).Exp(root, big.NewInt(k), nil).Cmp(n) == 0 {
			return true
		}
	}
	return false
}

const minRootBits = 9.55 // of 752: smaller factors were looked for

// rootOf is the integer part of n's k-th root, whose binary logarithm is
// about log.
func rootOf(n *big.Int, k int64, log float64) *big.Int {
	// 2^log from its fraction, in 40 bits that are right, and a bit more.
	whole := uint(log)
	x := new(big.Int).SetUint64(uint64(math.Exp2(log-float64(whole)) * (1 << 40)))
	x.Add(x, big.NewInt(2))
	if whole >= 40 {
		x.Lsh(x, whole-40)
	} else {
		x.Rsh(x, 40-whole)
		x.Add(x, big.NewInt(1))
	}
	less, kBig := big.NewInt(k-1), big.NewInt(k)
	for {
		next := new(big.Int).Exp(x, less, nil)
		next.Div(n, next)
		next.Add(next, new(big.Int).Mul(x, less))
		if next.Div(next, kBig).Cmp(x) >= 0 {
			return x
		}
		x = next
	}
}

const squaresMod64 uint64 = 1<<0 | 1<<1 | 1<<4 | 1<<9 | 1<<16 | 1<<17 | 1<<25 | 1<<33 | 1<<36 | 1<<41 | 1<<49 | 1<<57

func checkECDSA(key *ecdsa.PublicKey) error {
	if key == nil || key.X == nil || key.Y == nil { //nolint:staticcheck // crypto/ecdsa itself would panic without them
		return badKey("there is no ECDSA key")
	}
	switch key.Curve {
	case elliptic.P256(), elliptic.P384(), elliptic.P521():
	default:
		return badKey("the ECDSA key is on another curve than P-256, P-384 and P-521")
	}
	// ECDH does the full public-key validation of NIST SP 800-56A section
	// 5.6.2.3.3: coordinates in range, on the curve, not infinity. These
	// curves have cofactor 1.
	if _, err := key.ECDH(); err != nil {
		return badKey("the ECDSA key is no point of %s", key.Curve.Params().Name)
	}
	return nil
}

// checkEd25519 leaves the equation of the curve to ed25519.Verify, which fails
// for what is not on it: keys come here with a signature of their own.
func checkEd25519(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize {
		return badKey("the Ed25519 key has %d octets, not %d", len(key), ed25519.PublicKeySize)
	}
	y := [ed25519.PublicKeySize]byte(key)
	y[31] &= 0x7f
	for _, weak := range smallOrder {
		if y == weak {
			return badKey("the Ed25519 key is a point of small order")
		}
	}
	// RFC 8032 section 5.1.3: y must be below p = 2^255 - 19.
	canonical := y[0] < 0xed || y[31] != 0x7f
	for _, b := range y[1:31] {
		canonical = canonical || b != 0xff
	}
	if !canonical {
		return badKey("the Ed25519 key is not encoded canonically")
	}
	return nil
}

// keyKind names the kind of a key that passed CheckKey, as profiles do.
func keyKind(pub crypto.PublicKey) string {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		return "rsa"
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return "ec256"
		case elliptic.P384():
			return "ec384"
		case elliptic.P521():
			return "ec521"
		}
	case ed25519.PublicKey:
		return "ed25519"
	}
	return ""
}

// rsaBits is the length of an RSA modulus, 0 for other keys.
func rsaBits(pub crypto.PublicKey) int {
	if key, ok := pub.(*rsa.PublicKey); ok {
		return key.N.BitLen()
	}
	return 0
}

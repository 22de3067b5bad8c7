package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"
)

// randomModulus is an odd number without small factors. What CheckKey looks
// at, it can't tell from a product of two primes.
func randomModulus(t testing.TB, bits int) *big.Int {
	t.Helper()
	for {
		octets := make([]byte, (bits+7)/8)
		_, err := rand.Read(octets)
		check(t, err)
		n := new(big.Int).SetBytes(octets)
		n.SetBit(n, 0, 1)
		for i := bits; i < 8*len(octets); i++ {
			n.SetBit(n, i, 0)
		}
		n.SetBit(n, bits-1, 1)
		if new(big.Int).GCD(nil, nil, n, smallPrimes).IsInt64() && new(big.Int).GCD(nil, nil, n, smallPrimes).Int64() == 1 {
			return n
		}
	}
}

func TestCheckKey(t *testing.T) {
	for _, kind := range kinds {
		if err := CheckKey(newTestKey(t, kind).Public()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	n := randomModulus(t, 2048)
	p, err := rand.Prime(rand.Reader, 1024)
	check(t, err)
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(20) {
		q.Add(q, big.NewInt(2))
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	check(t, err)
	third := randomModulus(t, 2046)
	timesThree := new(big.Int).Mul(third.SetBit(third, 2044, 1), big.NewInt(3)) // of 2048 bits
	for what, key := range map[string]crypto.PublicKey{
		"nothing":               nil,
		"a private key":         newTestKey(t, "ec256"),
		"RSA without modulus":   &rsa.PublicKey{E: 65537},
		"RSA nil":               (*rsa.PublicKey)(nil),
		"RSA-1024":              &rsa.PublicKey{N: randomModulus(t, 1024), E: 65537},
		"RSA-2047":              &rsa.PublicKey{N: randomModulus(t, 2047), E: 65537},
		"RSA-2049":              &rsa.PublicKey{N: randomModulus(t, 2049), E: 65537},
		"RSA-8200":              &rsa.PublicKey{N: randomModulus(t, 8200), E: 65537},
		"exponent 1":            &rsa.PublicKey{N: n, E: 1},
		"exponent 3":            &rsa.PublicKey{N: n, E: 3},
		"exponent 65536":        &rsa.PublicKey{N: n, E: 65536},
		"exponent -65537":       &rsa.PublicKey{N: n, E: -65537},
		"exponent above 2^31":   &rsa.PublicKey{N: n, E: 1<<32 + 1},
		"even modulus":          &rsa.PublicKey{N: new(big.Int).Sub(n, big.NewInt(1)), E: 65537},
		"factor 3":              &rsa.PublicKey{N: timesThree, E: 65537},
		"close primes":          &rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
		"square":                &rsa.PublicKey{N: new(big.Int).Mul(p, p), E: 65537},
		"ROCA":                  &rsa.PublicKey{N: rocaModulus(t), E: 65537},
		"P-224":                 &p224.PublicKey,
		"ECDSA nil":             (*ecdsa.PublicKey)(nil),
		"ECDSA without a point": &ecdsa.PublicKey{Curve: elliptic.P256()},
		"ECDSA off the curve":   &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, //nolint:staticcheck // no other way to a bad point
		"ECDSA on no curve":     &ecdsa.PublicKey{},
		"short Ed25519":         ed25519.PublicKey(make([]byte, 31)),
		"Ed25519 nil":           ed25519.PublicKey(nil),
		"Ed25519 y = p+2":       ed25519.PublicKey(slices.Concat([]byte{0xef}, slices.Repeat([]byte{0xff}, 30), []byte{0x7f})),
	} {
		if err := CheckKey(key); err == nil {
			t.Errorf("%s was accepted", what)
		} else {
			wantRefusal(t, err, BadPublicKey)
		}
	}
}

// rocaModulus has the fingerprint that rocacheck looks for: a power of 65537
// modulo each of its primes. Such a number: 65537^k modulo their product, plus
// a multiple of it.
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for _, p := range []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		m.Mul(m, big.NewInt(p))
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(12345), m)
	n.Add(n, new(big.Int).Mul(m, new(big.Int).Div(new(big.Int).Lsh(big.NewInt(3), 2046), m)))
	for n.Bit(0) == 0 || new(big.Int).GCD(nil, nil, n, smallPrimes).Cmp(big.NewInt(1)) != 0 {
		n.Add(n, m)
	}
	if n.BitLen() != 2048 {
		t.Fatalf("modulus of %d bits", n.BitLen())
	}
	return n
}

// TestSmallOrder finds the points of small order by arithmetic and compares
// them with the table.
func TestSmallOrder(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	mul := func(a, b *big.Int) *big.Int { return new(big.Int).Mod(new(big.Int).Mul(a, b), p) }
	one := big.NewInt(1)
	// y of the doubled point depends on y alone:
	// x^2 = (y^2-1)/(d y^2+1); y(2P) = (y^2+x^2)/(1-d x^2 y^2) for a = -1.
	double := func(y *big.Int) *big.Int {
		yy := mul(y, y)
		den := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Add(mul(d, yy), one), p), p)
		xx := mul(new(big.Int).Sub(yy, one), den)
		den = new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, mul(d, mul(xx, yy))), p), p)
		return mul(new(big.Int).Add(yy, xx), den)
	}
	for _, entry := range smallOrder {
		big := slices.Clone(entry[:])
		slices.Reverse(big)
		y := bigInt(big)
		y.Mod(y, p)
		if got := double(double(double(y))); got.Cmp(one) != 0 {
			t.Errorf("%s times 8 is not the neutral element", hex.EncodeToString(entry[:]))
		}
		for _, sign := range []byte{0, 0x80} {
			key := ed25519.PublicKey(slices.Clone(entry[:]))
			key[31] |= sign
			if CheckKey(key) == nil {
				t.Errorf("%x was accepted", key)
			}
		}
	}
	// The group of points of order dividing 8 has 8 elements: y = 1, -1, 0
	// (twice), and two values twice each: five values, of which 0 and 1 have a
	// second encoding.
	if len(smallOrder) != 7 {
		t.Errorf("%d encodings, want 7", len(smallOrder))
	}
}

func bigInt(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

func TestFermat(t *testing.T) {
	// The gap that 100 rounds reach grows with the root of the size; keys
	// whose primes differ in their upper half are out of reach.
	for range 20 {
		if n := randomModulus(t, 2048); fermat(n, fermatRounds) {
			t.Errorf("a random modulus fell: %x", n)
		}
	}
	p, err := rand.Prime(rand.Reader, 1024)
	check(t, err)
	for _, gap := range []uint{2, 100, 500, 515} {
		q := new(big.Int).Add(p, new(big.Int).Lsh(big.NewInt(1), gap))
		q.SetBit(q, 0, 1)
		if !fermat(new(big.Int).Mul(p, q), fermatRounds) {
			t.Errorf("primes with a difference of 2^%d were not found", gap)
		}
	}
}

func BenchmarkCheckRSA(b *testing.B) {
	for _, bits := range []int{2048, 4096, 8192} {
		key := &rsa.PublicKey{N: randomModulus(b, bits), E: 65537}
		b.Run(big.NewInt(int64(bits)).String(), func(b *testing.B) {
			for b.Loop() {
				check(b, CheckKey(key))
			}
		})
	}
}

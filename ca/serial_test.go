package ca

import (
	"bytes"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestSerial makes many serial numbers (I37): positive, 16 octets in DER, never
// twice, and each of the 80 random bits is set about half of the time.
func TestSerial(t *testing.T) {
	const n = 100_000
	seen := make(map[Serial]bool, n)
	var ones [80]int
	for range n {
		s, err := NewSerial(noon, rand.Reader)
		check(t, err)
		if seen[s] {
			t.Fatalf("%s came twice", s)
		}
		seen[s] = true
		if !s.wellFormed() {
			t.Fatalf("%s is not well-formed", s)
		}
		for bit := range ones {
			ones[bit] += int(s[6+bit/8] >> (bit % 8) & 1)
		}
	}
	for bit, count := range ones {
		if count < n/2-1000 || count > n/2+1000 { // more than six standard deviations
			t.Errorf("random bit %d was set %d times in %d", bit, count, n)
		}
	}
}

func TestSerialForms(t *testing.T) {
	s, err := NewSerial(noon, bytes.NewReader(bytes.Repeat([]byte{0xab}, 10)))
	check(t, err)
	if want := "019aab7c2a00" + strings.Repeat("ab", 10); len(s.String()) != 32 || s.String()[12:] != want[12:] {
		t.Errorf("serial %s", s)
	}
	if ms := new(big.Int).SetBytes(s[:6]).Int64(); ms != noon.UnixMilli() {
		t.Errorf("time %d, want %d", ms, noon.UnixMilli())
	}
	back, err := ParseSerial(s.String())
	if err != nil || back != s {
		t.Errorf("%s came back as %s, %v", s, back, err)
	}
	big1, ok := SerialFromBig(s.BigInt())
	if !ok || big1 != s {
		t.Errorf("%s came back as %s", s, big1)
	}
	der, err := asn1.Marshal(s.BigInt())
	check(t, err)
	if !bytes.Equal(der[2:], s[:]) {
		t.Errorf("DER %x", der)
	}
	later, err := NewSerial(noon.Add(time.Millisecond), bytes.NewReader(make([]byte, 10)))
	check(t, err)
	if later.String() <= s.String() {
		t.Error("a later serial does not sort behind")
	}
}

func TestSerialRefused(t *testing.T) {
	if _, err := NewSerial(noon, iotest.ErrReader(errors.New("no entropy"))); err == nil {
		t.Error("a failing random source gave a serial")
	}
	if _, err := NewSerial(noon, bytes.NewReader(make([]byte, 9))); err == nil {
		t.Error("a short random source gave a serial")
	}
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Date(2003, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, err := NewSerial(now, rand.Reader); err == nil {
			t.Errorf("%s gave a serial", now)
		}
	}
	for _, text := range []string{"", "01", strings.Repeat("0", 32), strings.Repeat("f", 32), strings.Repeat("A1", 16), strings.Repeat("zz", 16), strings.Repeat("11", 17)} {
		if s, err := ParseSerial(text); err == nil {
			t.Errorf("%q was parsed as %s", text, s)
		}
	}
	for _, n := range []*big.Int{nil, big.NewInt(0), big.NewInt(-1), big.NewInt(5), new(big.Int).Lsh(big.NewInt(1), 127), new(big.Int).Lsh(big.NewInt(1), 128)} {
		if s, ok := SerialFromBig(n); ok {
			t.Errorf("%v became %s", n, s)
		}
	}
}

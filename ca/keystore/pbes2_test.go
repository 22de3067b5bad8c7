package keystore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 15, 16} {
		plain := bytes.Repeat([]byte{7}, n)
		der, err := encrypt(plain, []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := decrypt(der, []byte("a"))
		if err != nil || !bytes.Equal(back, plain) {
			t.Errorf("%d octets: %x, %v", n, back, err)
		}
	}
}

// TestBounds: a file can't make the process work or allocate without end.
func TestBounds(t *testing.T) {
	der, err := encrypt(make([]byte, 20), []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ old, with string }{
		"more iterations than served": {"02030927c0", "02037fffff"},
		"negative iterations":         {"02030927c0", "0203ff27c0"},
		"no iterations":               {"02030927c0", "0203000000"},
		"another cipher":              {"60864801650304012a", "60864801650304012b"},
		"another hash":                {"2a864886f70d0209", "2a864886f70d027f"},
		"another KDF":                 {"2a864886f70d01050c", "2a864886f70d01050b"},
		"another scheme":              {"2a864886f70d01050d", "2a864886f70d01050f"},
	} {
		old, err := hex.DecodeString(c.old)
		if err != nil {
			t.Fatal(err)
		}
		with, err := hex.DecodeString(c.with)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(der, old, with, 1)
		if bytes.Equal(changed, der) {
			t.Errorf("%s: nothing was changed in %x", what, der)
		}
		start := time.Now()
		if _, err := decrypt(changed, []byte("a")); err == nil {
			t.Errorf("%s: decrypted", what)
		}
		if spent := time.Since(start); spent > 30*time.Second {
			t.Errorf("%s: took %s", what, spent)
		}
	}
	for cut := range len(der) {
		if _, err := decrypt(der[:cut], []byte("a")); err == nil {
			t.Errorf("decrypted after %d octets", cut)
		}
	}
	for _, c := range [][3]int64{{1 << 21, 8, 1}, {3, 8, 1}, {0, 8, 1}, {1 << 20, 9, 1}, {1024, 0, 1}, {1024, 8, 17}, {1 << 62, 1 << 62, 1}, {-2, 8, 1}} {
		if _, err := deriveScrypt(scryptParameters(c), []byte("salt"), []byte("a"), 32); err == nil {
			t.Errorf("scrypt %v was run", c)
		}
	}
	if _, err := deriveScrypt(scryptParameters([3]int64{1024, 8, 1}), []byte("salt"), []byte("a"), 32); err != nil {
		t.Error(err)
	}
}

func FuzzDecrypt(f *testing.F) {
	// One iteration, so that the fuzzer gets through quickly.
	seed, err := encodePBES2([]byte("saltsalt"), make([]byte, 16), make([]byte, 16), 1)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := decrypt(seed, []byte("a")); !errors.Is(err, ErrPassphrase) {
		f.Fatalf("the seed does not get as far as the padding: %v", err)
	}
	f.Add(seed)
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		if bytes.Contains(der, []byte{2, 3}) || bytes.Contains(der, []byte{2, 4}) {
			return // large iteration counts only cost time
		}
		if plain, err := decrypt(der, []byte("a")); err == nil && len(plain) >= len(der) {
			t.Fatalf("%d octets out of %d", len(plain), len(der))
		}
	})
}

func scryptParameters(c [3]int64) cryptobyte.String {
	var b cryptobyte.Builder
	for _, n := range c {
		b.AddASN1Int64(n)
	}
	return cryptobyte.String(b.BytesOrPanic())
}

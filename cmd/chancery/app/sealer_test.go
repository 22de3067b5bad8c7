package app

import (
	"bytes"
	"testing"
)

func TestSealer(t *testing.T) {
	s, err := newSealer([]byte("passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("a secret of thirty-two octets !!")
	sealed, err := s.Seal(secret, "key:1")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret[:8]) {
		t.Error("the secret shows")
	}
	if again, err := s.Seal(secret, "key:1"); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("the same secret seals to the same octets (%v)", err)
	}
	if got, err := s.Open(sealed, "key:1"); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := s.Open(sealed, "key:2"); err == nil {
		t.Error("opened under another context")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := s.Open(bad, "key:1"); err == nil {
			t.Errorf("opened with octet %d changed", i)
		}
		if _, err := s.Open(sealed[:i], "key:1"); err == nil {
			t.Errorf("opened with %d octets", i)
		}
	}
	other, err := newSealer([]byte("another"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(sealed, "key:1"); err == nil {
		t.Error("opened under another passphrase")
	}
	same, err := newSealer([]byte("passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := same.Open(sealed, "key:1"); err != nil {
		t.Errorf("not opened after a restart: %v", err)
	}
}

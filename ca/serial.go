package ca

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"time"
)

// Serial is a certificate's serial number: 16 octets, positive, first octet
// never zero, so that its DER integer is always these 16 octets.
// 48 bits are the Unix time in milliseconds (so that a store's index grows at
// its end), 80 are from a cryptographic random source: more than the 64 that
// BR 7.1 asks for, and below the 20 octets of RFC 5280 section 4.1.2.2.
type Serial [16]byte

const (
	serialTime = 6 // octets of a Serial that are its time
	// Milliseconds whose first of 48 bits is zero (positive) and whose first
	// octet is not zero: November 2004 to the year 6429.
	minSerialTime = 1 << 40
	maxSerialTime = 1<<47 - 1
)

// NewSerial makes a serial number of the time and of 80 bits from random.
// It fails when random does, and when the clock is before 2004.
func NewSerial(now time.Time, random io.Reader) (Serial, error) {
	ms := now.UnixMilli()
	if ms < minSerialTime || ms > maxSerialTime {
		return Serial{}, fmt.Errorf("serial number: the clock says %s; set it", now.UTC().Format(time.RFC3339))
	}
	var s Serial
	var stamp [8]byte
	binary.BigEndian.PutUint64(stamp[:], uint64(ms))
	copy(s[:serialTime], stamp[8-serialTime:])
	if _, err := io.ReadFull(random, s[serialTime:]); err != nil {
		return Serial{}, fmt.Errorf("serial number: random source: %w", err)
	}
	return s, nil
}

// String is the serial in 32 lower-case hexadecimal digits.
func (s Serial) String() string { return hex.EncodeToString(s[:]) }

// BigInt is the serial as crypto/x509 has it.
func (s Serial) BigInt() *big.Int { return new(big.Int).SetBytes(s[:]) }

// IsZero says whether there is no serial number.
func (s Serial) IsZero() bool { return s == Serial{} }

// ParseSerial reads what String wrote: exactly 32 lower-case hexadecimal
// digits of a number that NewSerial could have made.
func ParseSerial(text string) (Serial, error) {
	var s Serial
	if len(text) != 2*len(s) {
		return Serial{}, fmt.Errorf("serial number %s has %d characters, not %d hexadecimal digits", quote(text), len(text), 2*len(s))
	}
	if _, err := hex.Decode(s[:], []byte(text)); err != nil || s.String() != text {
		return Serial{}, fmt.Errorf("serial number %s is not in lower-case hexadecimal digits", quote(text))
	}
	if !s.wellFormed() {
		return Serial{}, fmt.Errorf("serial number %s was not made here", quote(text))
	}
	return s, nil
}

// SerialFromBig is false for a number that can't be one of our serials.
func SerialFromBig(n *big.Int) (Serial, bool) {
	if n == nil || n.Sign() <= 0 || n.BitLen() > 8*len(Serial{}) {
		return Serial{}, false
	}
	var s Serial
	n.FillBytes(s[:])
	return s, s.wellFormed()
}

// serialFromBytes takes the content octets of a DER INTEGER.
func serialFromBytes(b []byte) (Serial, bool) {
	if len(b) != len(Serial{}) {
		return Serial{}, false
	}
	s := Serial(b)
	return s, s.wellFormed()
}

// wellFormed: the DER integer is exactly the 16 octets.
func (s Serial) wellFormed() bool { return s[0] > 0 && s[0] < 0x80 }

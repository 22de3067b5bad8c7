package ca

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Lists that come as files: of names that are not certified, and of keys that
// are known to be bad. A list is taken whole or not at all (I27): a line that
// can't be read would be an entry that is not looked for.

// maxLines bounds a list. Debian's weak keys of one RSA size, for all
// architectures and byte orders, are under 300,000.
const maxLines = 5_000_000

// eachLine calls do for each entry. Blank lines and lines that begin with "#"
// are none. Text is ASCII with line feeds alone: a byte order mark, a carriage
// return or a tab is a sign that another program's idea of the file is not
// ours.
func eachLine(list []byte, do func(line string) error) error {
	entries, number := 0, 0
	for rest := list; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		number++
		for _, c := range line {
			switch {
			case c == '\r':
				return fmt.Errorf("line %d ends with a carriage return; save the list with line feeds alone", number)
			case c < ' ' || c >= 0x7f:
				return fmt.Errorf("line %d has the octet 0x%02x; lists are plain ASCII, without tabs and byte order mark", number, c)
			}
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if entries++; entries > maxLines {
			return fmt.Errorf("the list has more than %d entries", maxLines)
		}
		if err := do(string(line)); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if entries == 0 {
		return errors.New("the list has no entries; an empty one is taken for a mistake")
	}
	return nil
}

// ParseNameList reads a list of names, one pattern a line (ParseNamePattern).
func ParseNameList(list []byte) ([]NamePattern, error) {
	var patterns []NamePattern
	err := eachLine(list, func(line string) error {
		p, err := ParseNamePattern(line)
		patterns = append(patterns, p)
		return err
	})
	return patterns, err
}

// WeakKeys is a set of keys that are known to be weak or compromised. A nil
// set is empty.
type WeakKeys struct {
	moduli map[[10]byte]struct{} // the last 80 bits of an RSA modulus's fingerprint
	keys   map[[32]byte]struct{} // SPKI hashes
}

// Add reads a list. An entry is either 20 hexadecimal digits, the last ones of
// the SHA-1 of "Modulus=", the RSA modulus in upper-case hexadecimal digits,
// and a line feed: the form of Debian's openssl-blacklist (CVE-2008-0166), and
// what `openssl rsa -noout -modulus | sha1sum | cut -c 21-40` prints; or 64,
// the SHA-256 of a SubjectPublicKeyInfo. Nothing is added when the list has a
// mistake.
func (w *WeakKeys) Add(list []byte) error {
	moduli, keys := map[[10]byte]struct{}{}, map[[32]byte]struct{}{}
	err := eachLine(list, func(line string) error {
		if hash, ok := ParseSPKIHash(line); ok {
			keys[hash] = struct{}{}
			return nil
		}
		var tail [10]byte
		if len(line) != hex.EncodedLen(len(tail)) || line != strings.ToLower(line) {
			return fmt.Errorf("%s is neither 20 nor 64 lower-case hexadecimal digits", quote(line))
		}
		if _, err := hex.Decode(tail[:], []byte(line)); err != nil {
			return fmt.Errorf("%s is not in hexadecimal digits", quote(line))
		}
		moduli[tail] = struct{}{}
		return nil
	})
	if err != nil {
		return err
	}
	if w.moduli == nil {
		w.moduli, w.keys = map[[10]byte]struct{}{}, map[[32]byte]struct{}{}
	}
	for k := range moduli {
		w.moduli[k] = struct{}{}
	}
	for k := range keys {
		w.keys[k] = struct{}{}
	}
	return nil
}

// Len is how many entries there are.
func (w *WeakKeys) Len() int {
	if w == nil {
		return 0
	}
	return len(w.moduli) + len(w.keys)
}

// Has says whether a key is in the set.
func (w *WeakKeys) Has(key crypto.PublicKey, spki [32]byte) bool {
	if w == nil {
		return false
	}
	if _, ok := w.keys[spki]; ok {
		return true
	}
	if k, ok := key.(*rsa.PublicKey); ok && len(w.moduli) > 0 {
		_, ok := w.moduli[modulusFingerprint(k)]
		return ok
	}
	return false
}

// modulusFingerprint names a modulus as Debian's lists do; SHA-1 is theirs,
// and whoever could make a collision would only have a key of their own refused.
func modulusFingerprint(key *rsa.PublicKey) [10]byte {
	sum := sha1.Sum(fmt.Appendf(nil, "Modulus=%X\n", key.N))
	return [10]byte(sum[10:])
}

package api

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"chancery/acme/strict"
)

// Nonces hands out and takes back the nonces of RFC 8555 section 6.5. It is
// called by many goroutines at once.
type Nonces interface {
	// New makes a nonce: base64url, at most maxNonce characters.
	New(now time.Time) string
	// Use takes a nonce back. It is true exactly once for each nonce that New
	// made, and false for every other, for one that is too old, and for
	// anything that New did not make. An error means that it could not be
	// found out.
	Use(ctx context.Context, nonce string, now time.Time) (bool, error)
}

// Bounds of nonces.
const (
	// nonceLife is how long a nonce may lie with a client: longer than any
	// client sleeps between two polls.
	nonceLife = time.Hour
	// nonceWindow is how many counters are remembered, a power of two: one
	// MiB of bits. At 2,000 requests a second it is more than nonceLife; a
	// flood that outruns it costs honest clients one badNonce and a retry.
	nonceWindow = 1 << 23
	// maxNonce bounds the text of a nonce in a request. Ours have 22.
	maxNonce = 128
)

// SealedNonces is Nonces for one process. A nonce is a counter and the instant
// of its making, enciphered as one AES block under a key that lives as long as
// the process. Handing one out keeps nothing. Taking one back sets the
// counter's bit in a window that slides over the counters that were *used*, so
// that memory is constant and only requests with a good signature move it.
//
// One block needs no MAC: a guess deciphers to 128 random bits and passes only
// if 64 of them fall into the window (2^-41) and 64 into the last hour (2^-42),
// and whoever guesses right has won what newNonce gives to anybody.
//
// Replicas need another implementation: a nonce of this one is unknown to the
// next process, also after a restart.
type SealedNonces struct {
	block cipher.Block
	next  atomic.Uint64 // counter of the next nonce

	mu   sync.Mutex
	base uint64   // counters below it are too old
	used []uint64 // bit c%nonceWindow belongs to counter c of [base, base+nonceWindow)
}

// NewSealedNonces makes the nonces of a process.
func NewSealedNonces() (*SealedNonces, error) {
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand aborts the process instead
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return &SealedNonces{block: block, used: make([]uint64, nonceWindow/64)}, nil
}

// New implements Nonces.
func (n *SealedNonces) New(now time.Time) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:8], n.next.Add(1)-1)
	binary.BigEndian.PutUint64(b[8:], uint64(now.UnixMilli())) //nolint:gosec // only compared with itself
	n.block.Encrypt(b[:], b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Use implements Nonces; it never returns an error.
func (n *SealedNonces) Use(_ context.Context, nonce string, now time.Time) (bool, error) {
	b, err := strict.Base64URL(nonce)
	if err != nil || len(b) != aes.BlockSize {
		return false, nil
	}
	n.block.Decrypt(b, b)
	counter := binary.BigEndian.Uint64(b[:8])
	made := int64(binary.BigEndian.Uint64(b[8:])) //nolint:gosec // see New
	// Both ways: a clock that is set back must not make nonces immortal. The
	// differences can't overflow for what New made; for a guess it is a guess.
	age := now.UnixMilli() - made
	if age > nonceLife.Milliseconds() || age < -nonceLife.Milliseconds() || counter >= n.next.Load() {
		return false, nil
	}
	return n.mark(counter), nil
}

// mark sets the counter's bit and says whether it was free.
func (n *SealedNonces) mark(counter uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if counter < n.base {
		return false
	}
	if counter-n.base >= nonceWindow {
		n.slide(counter - nonceWindow + 1)
	}
	word, bit := &n.used[counter%nonceWindow/64], uint64(1)<<(counter%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// slide moves the window's start to base and frees the bits of what came in.
// At its worst it clears the whole MiB, some 20 microseconds, once for every
// nonceWindow nonces.
func (n *SealedNonces) slide(base uint64) {
	// [n.base+nonceWindow, base+nonceWindow) comes in; its bits are those of
	// [n.base, base), which goes out.
	from, count := n.base, base-n.base
	n.base = base
	if count >= nonceWindow {
		clear(n.used)
		return
	}
	for ; count > 0 && from%64 != 0; from, count = from+1, count-1 {
		n.used[from%nonceWindow/64] &^= 1 << (from % 64)
	}
	for ; count >= 64; from, count = from+64, count-64 {
		n.used[from%nonceWindow/64] = 0
	}
	for ; count > 0; from, count = from+1, count-1 {
		n.used[from%nonceWindow/64] &^= 1 << (from % 64)
	}
}

package ocsp

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"
)

// maxRemembered bounds the memory of signed answers: about 20 MB at 600 octets
// each, with an RSA issuer twice that.
const maxRemembered = 1 << 14

// memory keeps signed answers, so that the same fact is not signed again for
// each request, and has one ETag. It is no cache of facts: get is told what the
// store says now, and answers only when that is what was signed.
type memory struct {
	mu   sync.Mutex
	kept map[string]*signed // by the DER of the CertID
}

// signed is one signed response.
type signed struct {
	der        []byte
	etag       string
	status     status
	thisUpdate time.Time
	producedAt time.Time
	resignAt   time.Time
}

func (m *memory) get(certID []byte, status status, now time.Time) *signed {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.kept[string(certID)]
	// Before producedAt: the clock was set back, and the answer is of a future.
	if s == nil || s.status != status || now.Before(s.producedAt) || !now.Before(s.resignAt) {
		return nil
	}
	return s
}

func (m *memory) put(certID []byte, s *signed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = make(map[string]*signed)
	}
	if _, ok := m.kept[string(certID)]; !ok && len(m.kept) >= maxRemembered {
		for other := range m.kept { // any one: the map's sequence is random
			delete(m.kept, other)
			break
		}
	}
	m.kept[string(certID)] = s
}

func etag(der []byte) string {
	sum := sha256.Sum256(der)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

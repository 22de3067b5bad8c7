package ocsp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"math/big"
	"sync"
	"testing"
	"time"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	start    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keyKinds = []string{"ec256", "ec384", "rsa2048", "ed25519"}
)

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "ec256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ec384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no key kind %q", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// world is an issuer below a root, its certificates in a store, and a
// responder whose clock the test turns.
type world struct {
	*Responder
	root   *x509.Certificate
	issuer *ca.Issuer
	key    crypto.Signer
	store  *ledger
	log    *bytes.Buffer
	now    time.Time
	seen   []string      // outcomes
	took   time.Duration // of the last one
}

func newWorld(t testing.TB, kind string) *world {
	t.Helper()
	w := &world{key: newKey(t, kind), store: &ledger{certificates: map[ca.Serial]*ca.Certificate{}}, log: new(bytes.Buffer), now: start}
	rootKey := newKey(t, "ec256")
	w.root = certify(t, "Example Root CA", nil, rootKey.Public(), rootKey)
	intermediate := certify(t, "Example Issuing CA", w.root, w.key.Public(), rootKey)
	var err error
	w.issuer, err = ca.NewIssuer(ca.IssuerConfig{
		Chain: []*x509.Certificate{intermediate, w.root}, Key: w.key, PublishURL: "http://pki.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Responder, err = New(Config{
		Store: w.store, Issuers: []*ca.Issuer{w.issuer}, Now: func() time.Time { return w.now },
		Log: slog.New(slog.NewTextHandler(w.log, nil)), Observe: func(s string, took time.Duration) { w.seen, w.took = append(w.seen, s), took },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func certify(t testing.TB, name string, parent *x509.Certificate, pub crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	id := make([]byte, 20)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{Organization: []string{"Example"}, CommonName: name},
		NotBefore: start.AddDate(-1, 0, 0), NotAfter: start.AddDate(30, 0, 0), SubjectKeyId: id,
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ledger is the store: a map.
type ledger struct {
	mu           sync.Mutex
	certificates map[ca.Serial]*ca.Certificate
	fault        error
	asked        int
}

func (l *ledger) Certificate(ctx context.Context, serial ca.Serial) (*ca.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	c := l.certificates[serial]
	switch {
	case l.fault != nil:
		return nil, l.fault
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case c == nil:
		return nil, ca.ErrNotFound
	}
	out := *c
	return &out, nil
}

// issue puts a certificate in.
func (w *world) issue(t testing.TB) ca.Serial {
	t.Helper()
	serial, err := ca.NewSerial(w.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.certificates[serial] = &ca.Certificate{Serial: serial, Issuer: w.issuer.ID(), NotAfter: w.now.AddDate(0, 3, 0), DER: []byte{0x30, 0}}
	return serial
}

func (w *world) revoke(serial ca.Serial, reason ca.Reason, at time.Time) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.certificates[serial].Revocation = &ca.Revoked{Serial: serial, At: at, Reason: reason}
}

// question writes OCSP requests, right and wrong ones. What is nil or zero is
// left out, or as it usually is.
type question struct {
	serial     *big.Int
	sha256     bool
	algorithm  []byte // DER, instead
	name, key  []byte // hashes, instead
	version    *int64
	requestor  bool
	copies     int // of the request for the certificate; 0: one
	nonce      []byte
	extensions [][]byte // DER, besides the nonce
	single     [][]byte
	signature  []byte
	behind     []byte // in the outer SEQUENCE
}

func (w *world) ask(q question) []byte {
	c := w.issuer.Certificate()
	bits, err := publicKeyBits(c)
	if err != nil {
		panic(err)
	}
	algorithm, _ := asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.NullRawValue})
	name, key := sha1Of(c.RawSubject), sha1Of(bits)
	if q.sha256 {
		algorithm, _ = asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: oidSHA256})
		n, k := sha256.Sum256(c.RawSubject), sha256.Sum256(bits)
		name, key = n[:], k[:]
	}
	q.algorithm, q.name, q.key = first(q.algorithm, algorithm), first(q.name, name), first(q.key, key)
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, q.addTBS)
		if q.signature != nil {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddBytes(q.signature) })
		}
		b.AddBytes(q.behind)
	})
	return b.BytesOrPanic()
}

func (q question) addTBS(b *cryptobyte.Builder) {
	if q.version != nil {
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1Int64(*q.version) })
	}
	if q.requestor { // directoryName
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1(explicit(4), func(b *cryptobyte.Builder) { b.AddBytes([]byte{0x30, 0}) })
		})
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for range max(q.copies, 1) {
			if q.copies >= 0 {
				b.AddASN1(cbasn1.SEQUENCE, q.addRequest)
			}
		}
	})
	extensions := q.extensions
	if q.nonce != nil {
		value, _ := asn1.Marshal(q.nonce)
		extensions = append([][]byte{extension(oidNonce, false, value)}, extensions...)
	}
	addExtensions(b, explicit(2), extensions)
}

func (q question) addRequest(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(q.algorithm)
		b.AddASN1OctetString(q.name)
		b.AddASN1OctetString(q.key)
		b.AddASN1BigInt(q.serial)
	})
	addExtensions(b, explicit(0), q.single)
}

func addExtensions(b *cryptobyte.Builder, tag cbasn1.Tag, extensions [][]byte) {
	if extensions == nil {
		return
	}
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, e := range extensions {
				b.AddBytes(e)
			}
		})
	})
}

func extension(oid asn1.ObjectIdentifier, critical bool, value []byte) []byte {
	der, err := asn1.Marshal(pkix.Extension{Id: oid, Critical: critical, Value: value})
	if err != nil {
		panic(err)
	}
	return der
}

func first(a, b []byte) []byte {
	if a != nil {
		return a
	}
	return b
}

func sha1Of(b []byte) []byte { sum := sha1.Sum(b); return sum[:] }

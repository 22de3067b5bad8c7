package ocsp

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // CertID and KeyHash are SHA-1 by RFC 6960 section 4.2.1; they name, they do not protect
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Config is what a Responder is made of. What is zero becomes its default.
type Config struct {
	Store    Store
	Issuers  []*ca.Issuer
	Validity time.Duration    // from now to nextUpdate
	Now      func() time.Time // time.Now
	Log      *slog.Logger     // discards
	// Observe is called once for each OCSP response, with one of Outcomes and
	// the time from the whole request to the answer. Nil: nobody is told.
	Observe func(outcome string, took time.Duration)
}

// Outcomes are all the outcomes that Observe is told.
var Outcomes = []string{"good", "revoked", "unknown", "malformed", "unauthorized", "try-later"}

const (
	// DefaultValidity is as long as a CRL's.
	DefaultValidity = 24 * time.Hour
	// Limits of it that no configuration can leave (BR 4.9.10): shorter, and a
	// night's outage takes relying parties down; longer, and a stapled good
	// answer outlives a revocation for too long.
	minValidity = 8 * time.Hour
	maxValidity = 10 * 24 * time.Hour
)

const (
	// backdate is taken off thisUpdate, for relying parties whose clocks are
	// a little behind.
	backdate = time.Minute
	// resignShare: a remembered answer is signed anew after this share of its
	// validity, so that what is handed out is always valid for long.
	resignShare = 4
	// lookupTime bounds one look into the store.
	lookupTime = 5 * time.Second
	// signers is how many signatures are made at a time, and signWait how long
	// a request waits for its turn: a slow key store or a flood ends in
	// tryLater, not in a heap of goroutines.
	signers  = 64
	signWait = 2 * time.Second
	// logEvery is the pace at which trouble is logged: under an outage every
	// request has it.
	logEvery = 10 * time.Second
)

// Responder answers OCSP requests over HTTP.
type Responder struct {
	Config
	issuers []*issuer
	memory  memory
	slots   chan struct{}
	logged  atomic.Int64 // Unix nanoseconds of the last logged trouble
}

// issuer is one issuer, with what CertIDs may call it.
type issuer struct {
	responder
	id     string
	hashes map[hashKind]names
}

type names struct{ name, key []byte }

// New checks the configuration.
func New(c Config) (*Responder, error) {
	if c.Validity == 0 {
		c.Validity = DefaultValidity
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(string, time.Duration) {}
	}
	switch {
	case c.Store == nil || len(c.Issuers) == 0:
		return nil, errors.New("ocsp: a store and at least one issuer are needed")
	case c.Validity < minValidity || c.Validity > maxValidity:
		return nil, fmt.Errorf("ocsp: a validity of %v is not between %v and %v", c.Validity, minValidity, maxValidity)
	}
	r := &Responder{Config: c, slots: make(chan struct{}, signers)}
	for _, i := range c.Issuers {
		known, err := newIssuer(i)
		if err != nil {
			return nil, err
		}
		r.issuers = append(r.issuers, known)
	}
	return r, nil
}

func newIssuer(i *ca.Issuer) (*issuer, error) {
	if i == nil {
		return nil, errors.New("ocsp: an issuer is missing")
	}
	certificate := i.Certificate()
	key, err := publicKeyBits(certificate)
	if err != nil {
		return nil, fmt.Errorf("ocsp: issuer %s: %w", i.ID(), err)
	}
	name1, key1 := sha1.Sum(certificate.RawSubject), sha1.Sum(key) //nolint:gosec // see the import
	name256, key256 := sha256.Sum256(certificate.RawSubject), sha256.Sum256(key)
	return &issuer{
		id: i.ID(),
		hashes: map[hashKind]names{
			hashSHA1:   {name1[:], key1[:]},
			hashSHA256: {name256[:], key256[:]},
		},
		responder: responder{keyHash: key1[:], algorithm: i.SignatureAlgorithm(), sign: i.SignOCSP},
	}, nil
}

// publicKeyBits is what is hashed to name a key: the content of the BIT STRING
// subjectPublicKey, without tag, length and count of unused bits (RFC 6960
// section 4.1.1).
func publicKeyBits(c *x509.Certificate) ([]byte, error) {
	in := cryptobyte.String(c.RawSubjectPublicKeyInfo)
	var spki cryptobyte.String
	var bits []byte
	if !in.ReadASN1(&spki, cbasn1.SEQUENCE) || !spki.SkipASN1(cbasn1.SEQUENCE) || !spki.ReadASN1BitStringAsBytes(&bits) {
		return nil, errors.New("its public key can't be read")
	}
	return bits, nil
}

// reply is one answer with what the HTTP side needs of it.
type reply struct {
	signed
	outcome string
	cache   bool // may be kept by caches for a moment
}

func failed(s ResponseStatus, outcome string) *reply {
	return &reply{signed: signed{der: failure(s)}, outcome: outcome}
}

// serve answers the DER of a request and tells Observe.
func (r *Responder) serve(ctx context.Context, der []byte) *reply {
	began := r.Now()
	re := r.answer(ctx, der)
	r.Observe(re.outcome, r.Now().Sub(began))
	return re
}

// answer answers the DER of a request. It always has an answer.
func (r *Responder) answer(ctx context.Context, der []byte) *reply {
	request, err := ParseRequest(der)
	if err != nil {
		return failed(MalformedRequest, "malformed")
	}
	i := r.find(request)
	if i == nil {
		return failed(Unauthorized, "unauthorized")
	}
	now := r.Now().UTC()
	status, err := r.status(ctx, i, request)
	if err != nil {
		r.trouble(ctx, now, "OCSP: no look into the store", err)
		return failed(TryLater, "try-later")
	}
	s, err := r.signed(ctx, i, request, status, now)
	if err != nil {
		r.trouble(ctx, now, "OCSP: no signature", err)
		return failed(TryLater, "try-later")
	}
	// An unknown serial may be certified in the next moment.
	return &reply{signed: *s, outcome: status.kind.String(), cache: request.nonce == nil && status.kind != unknown}
}

func (r *Responder) find(request *Request) *issuer {
	for _, i := range r.issuers {
		n, ok := i.hashes[request.hash]
		if ok && bytes.Equal(n.name, request.name) && bytes.Equal(n.key, request.key) {
			return i
		}
	}
	return nil
}

// status looks into the store, for each request anew. A serial number of
// another issuer is as unknown as one that nobody has.
func (r *Responder) status(ctx context.Context, i *issuer, request *Request) (status, error) {
	if !request.possible {
		return status{kind: unknown}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	c, err := r.Store.Certificate(ctx, request.serial)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		return status{kind: unknown}, nil
	case err != nil:
		return status{}, err
	case c.Issuer != i.id:
		return status{kind: unknown}, nil
	}
	return statusOf(c), nil
}

// signed makes the answer, or remembers it.
func (r *Responder) signed(ctx context.Context, i *issuer, request *Request, status status, now time.Time) (*signed, error) {
	remember := request.nonce == nil && status.kind != unknown
	if remember {
		if s := r.memory.get(request.certID, status, now); s != nil {
			return s, nil
		}
	}
	free := time.NewTimer(signWait)
	defer free.Stop()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-free.C:
		return nil, fmt.Errorf("%d signatures are being made, and none was done within %v", signers, signWait)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	second := now.Truncate(time.Second)
	a := answer{
		certID: request.certID, status: status, nonce: request.nonce,
		thisUpdate: second.Add(-backdate), nextUpdate: second.Add(r.Validity), producedAt: second,
	}
	// "Revoked" was not true before the revocation.
	if at := time.Unix(status.at, 0).UTC(); status.kind == revoked && at.After(a.thisUpdate) {
		a.thisUpdate = at
		if at.After(second) { // the clock of the replica that revoked is ahead
			a.thisUpdate = second
		}
	}
	der, err := i.respond(a)
	if err != nil {
		return nil, err
	}
	s := &signed{der: der, status: status, thisUpdate: a.thisUpdate, producedAt: second, resignAt: second.Add(r.Validity / resignShare)}
	s.etag = etag(der)
	if remember {
		r.memory.put(request.certID, s)
	}
	return s, nil
}

// trouble logs what is wrong inside, now and then.
func (r *Responder) trouble(ctx context.Context, now time.Time, what string, err error) {
	if ctx.Err() != nil {
		return // the client went away
	}
	last := r.logged.Load()
	if since := time.Duration(now.UnixNano() - last); since.Abs() < logEvery || !r.logged.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	r.Log.Error(what, "error", err)
}

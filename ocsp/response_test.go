package ocsp

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"testing"
	"time"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	xocsp "golang.org/x/crypto/ocsp"
)

// response is what readResponse reads: the shape of RFC 6960 section 4.2.1,
// octet by octet, besides what golang.org/x/crypto/ocsp makes of it.
type response struct {
	status   ResponseStatus
	tbs      []byte
	keyHash  []byte
	produced time.Time
	certID   []byte
	kind     kind
	nonce    []byte
}

var errShape = errors.New("not the shape of an OCSP response")

func readResponse(der []byte) (*response, error) {
	in := cryptobyte.String(der)
	var outer, bytesOf, wrapped, octets, basic, tbs, id cryptobyte.String
	var status int
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Enum(&status) {
		return nil, errShape
	}
	r := &response{status: ResponseStatus(status)}
	if outer.Empty() && r.status != Successful {
		return r, nil
	}
	var typ asn1.ObjectIdentifier
	ok := outer.ReadASN1(&bytesOf, explicit(0)) && outer.Empty() && bytesOf.ReadASN1(&wrapped, cbasn1.SEQUENCE) &&
		wrapped.ReadASN1ObjectIdentifier(&typ) && typ.Equal(oidBasic) && wrapped.ReadASN1(&octets, cbasn1.OCTET_STRING) && wrapped.Empty() &&
		octets.ReadASN1(&basic, cbasn1.SEQUENCE) && octets.Empty() && basic.ReadASN1Element(&tbs, cbasn1.SEQUENCE) &&
		basic.SkipASN1(cbasn1.SEQUENCE) && basic.SkipASN1(cbasn1.BIT_STRING) && basic.Empty()
	if !ok {
		return nil, errShape
	}
	r.tbs = tbs
	var data, list, single, key cryptobyte.String
	ok = tbs.ReadASN1(&data, cbasn1.SEQUENCE) && data.ReadASN1(&id, explicit(2)) && id.ReadASN1(&key, cbasn1.OCTET_STRING) &&
		data.ReadASN1GeneralizedTime(&r.produced) && data.ReadASN1(&list, cbasn1.SEQUENCE) && list.ReadASN1(&single, cbasn1.SEQUENCE) && list.Empty()
	if !ok {
		return nil, errShape
	}
	r.keyHash = key
	return r, r.readSingle(single, data)
}

func (r *response) readSingle(single, data cryptobyte.String) error {
	var certID, ignore, this cryptobyte.String
	var tag cbasn1.Tag
	if !single.ReadASN1Element(&certID, cbasn1.SEQUENCE) || !single.ReadAnyASN1(&ignore, &tag) ||
		!single.ReadASN1(&this, cbasn1.GeneralizedTime) || !single.SkipASN1(explicit(0)) || !single.Empty() {
		return errShape
	}
	r.certID = certID
	switch tag {
	case cbasn1.Tag(0).ContextSpecific():
		r.kind = good
	case explicit(1):
		r.kind = revoked
	case cbasn1.Tag(2).ContextSpecific():
		r.kind = unknown
	default:
		return errShape
	}
	nonce, ok := readExtensions(&data, explicit(1))
	if !ok || !data.Empty() {
		return errShape
	}
	if nonce != nil {
		if r.nonce, ok = readNonce(*nonce); !ok {
			return errShape
		}
	}
	return nil
}

// parse reads a successful answer with x/crypto/ocsp, and checks its signature.
func (w *world) parse(t testing.TB, der []byte, serial ca.Serial) *xocsp.Response {
	t.Helper()
	issuer := w.issuer.Certificate()
	if pub, ok := issuer.PublicKey.(ed25519.PublicKey); ok { // which x/crypto does not verify
		r, err := xocsp.ParseResponse(der, nil)
		if err != nil {
			t.Fatalf("%v: %x", err, der)
		}
		if !ed25519.Verify(pub, r.TBSResponseData, r.Signature) {
			t.Fatal("the signature is wrong")
		}
		return r
	}
	r, err := xocsp.ParseResponseForCert(der, &x509.Certificate{SerialNumber: serial.BigInt()}, issuer)
	if err != nil {
		t.Fatalf("%v: %x", err, der)
	}
	return r
}

func TestStatuses(t *testing.T) {
	for _, kind := range keyKinds {
		for _, sha256 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", kind, sha256), func(t *testing.T) { testStatuses(t, newWorld(t, kind), sha256) })
		}
	}
}

func testStatuses(t *testing.T, w *world, sha256 bool) {
	plain, reserved, bad, old, foreign := w.issue(t), w.issue(t), w.issue(t), w.issue(t), w.issue(t)
	w.store.certificates[reserved].DER = nil // I52: a signature may exist
	w.store.certificates[foreign].Issuer = "another issuer's"
	w.revoke(bad, ca.KeyCompromise, w.now.Add(-2*time.Hour-300*time.Millisecond))
	w.revoke(old, ca.Unspecified, w.now.Add(-time.Second))
	never, err := ca.NewSerial(w.now, bytes.NewReader(make([]byte, 16)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		serial ca.Serial
		status int
		reason ca.Reason
		at     time.Time
	}{
		"issued":              {plain, xocsp.Good, 0, time.Time{}},
		"reserved":            {reserved, xocsp.Good, 0, time.Time{}},
		"revoked":             {bad, xocsp.Revoked, ca.KeyCompromise, w.now.Add(-2*time.Hour - time.Second)},
		"revoked just now":    {old, xocsp.Revoked, ca.Unspecified, w.now.Add(-time.Second)},
		"of another issuer":   {foreign, xocsp.Unknown, 0, time.Time{}},
		"never issued":        {never, xocsp.Unknown, 0, time.Time{}},
		"not one of our form": {ca.Serial{15: 1}, xocsp.Unknown, 0, time.Time{}},
	} {
		nonce := []byte("0123456789abcdef" + name)[:32%len("0123456789abcdef"+name)+1]
		request := w.ask(question{serial: c.serial.BigInt(), sha256: sha256, nonce: nonce})
		reply := w.answer(t.Context(), request)
		got := w.parse(t, reply.der, c.serial)
		if got.Status != c.status || got.RevocationReason != int(c.reason) || !got.RevokedAt.Equal(c.at) {
			t.Errorf("%s: status %d, reason %d, at %v", name, got.Status, got.RevocationReason, got.RevokedAt)
		}
		if !got.ProducedAt.Equal(w.now) || !got.NextUpdate.Equal(w.now.Add(DefaultValidity)) || got.ThisUpdate.After(w.now) || got.ThisUpdate.Before(c.at) {
			t.Errorf("%s: produced %v, valid from %v to %v", name, got.ProducedAt, got.ThisUpdate, got.NextUpdate)
		}
		if want := map[bool]crypto.Hash{false: crypto.SHA1, true: crypto.SHA256}[sha256]; got.IssuerHash != want {
			t.Errorf("%s: CertID by %v", name, got.IssuerHash)
		}
		shape, err := readResponse(reply.der)
		if err != nil || !bytes.Equal(shape.nonce, nonce) || !bytes.Contains(request, shape.certID) || int(shape.kind) != c.status {
			t.Errorf("%s: %v, %+v", name, err, shape)
		}
		if bits, err := publicKeyBits(w.issuer.Certificate()); err != nil || !bytes.Equal(shape.keyHash, sha1Of(bits)) {
			t.Errorf("%s: responder %x, %v", name, shape.keyHash, err)
		}
	}
}

// A revocation by a replica whose clock is ahead.
func TestRevokedInTheFuture(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	w.revoke(serial, ca.Superseded, w.now.Add(3*time.Second))
	got := w.parse(t, w.answer(t.Context(), w.ask(question{serial: serial.BigInt()})).der, serial)
	if got.Status != xocsp.Revoked || !got.ThisUpdate.Equal(w.now) {
		t.Errorf("status %d, this update %v", got.Status, got.ThisUpdate)
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t).BigInt()
	other := newWorld(t, "ec256")
	for name, c := range map[string]struct {
		request []byte
		want    ResponseStatus
	}{
		"nothing":          {nil, MalformedRequest},
		"text":             {[]byte("hello"), MalformedRequest},
		"two certificates": {w.ask(question{serial: serial, copies: 2}), MalformedRequest},
		"nonce too long":   {w.ask(question{serial: serial, nonce: make([]byte, 129)}), MalformedRequest},
		"foreign issuer":   {other.ask(question{serial: serial}), Unauthorized},
		"foreign key":      {w.ask(question{serial: serial, key: make([]byte, 20)}), Unauthorized},
		"foreign name":     {w.ask(question{serial: serial, name: make([]byte, 20)}), Unauthorized},
		"another hash":     {w.ask(question{serial: serial, algorithm: []byte{0x30, 0x04, 0x06, 0x02, 0x2a, 0x03}}), Unauthorized},
	} {
		reply := w.answer(t.Context(), c.request)
		shape, err := readResponse(reply.der)
		if err != nil || shape.status != c.want || shape.tbs != nil || reply.cache {
			t.Errorf("%s: %v, %+v", name, err, shape)
		}
		var known xocsp.ResponseError
		if _, err := xocsp.ParseResponse(reply.der, nil); !errors.As(err, &known) || int(known.Status) != int(c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

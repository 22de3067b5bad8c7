package ocsp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"chancery/ca"

	xocsp "golang.org/x/crypto/ocsp"
)

// Public incidents of other CAs whose defence is the responder's;
// docs/safety.md has them all.

// TestIncident_I50: a certificate was revoked again, for keyCompromise, and
// the answer stayed the first one's.
func TestIncident_I50(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	request := w.ask(question{serial: serial.BigInt()})
	w.revoke(serial, ca.Superseded, w.now)
	if r := w.parse(t, w.post(request).Body.Bytes(), serial); r.RevocationReason != int(ca.Superseded) {
		t.Fatalf("reason %d", r.RevocationReason)
	}
	w.now = w.now.Add(time.Second)
	at := w.now
	w.revoke(serial, ca.KeyCompromise, at)
	if r := w.parse(t, w.post(request).Body.Bytes(), serial); r.RevocationReason != int(ca.KeyCompromise) || !r.RevokedAt.Equal(at) {
		t.Errorf("reason %d at %v", r.RevocationReason, r.RevokedAt)
	}
}

// TestIncident_I52: the responder said unknown, or unauthorized, of a serial
// number whose signing had failed half way. From the record of intent on a
// serial is this CA's, and is answered for.
func TestIncident_I52(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	w.store.certificates[serial].DER = nil // reserved, perhaps signed, never stored
	w.store.certificates[serial].TBS = []byte{0x30, 0}
	request := w.ask(question{serial: serial.BigInt()})
	r := w.parse(t, w.post(request).Body.Bytes(), serial)
	if r.Status != xocsp.Good {
		t.Errorf("a reserved serial is answered with status %d", r.Status)
	}
	w.revoke(serial, ca.Superseded, w.now)
	if r := w.parse(t, w.post(request).Body.Bytes(), serial); r.Status != xocsp.Revoked {
		t.Errorf("a reserved and revoked serial is answered with status %d", r.Status)
	}
	never := ca.Serial{9: 1, 0: 1}
	if r := w.parse(t, w.post(w.ask(question{serial: never.BigInt()})).Body.Bytes(), never); r.Status == xocsp.Good {
		t.Error("a serial that nobody reserved is good")
	}
}

// TestIncident_I54: a server on the way collapsed the "//" of a request's
// base64, and all status went. Each way to write one request is answered alike.
func TestIncident_I54(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	for range 20 {
		_, text := w.awkward(t, serial)
		for _, path := range []string{
			text, strings.ReplaceAll(text, "/", "%2F"), strings.ReplaceAll(text, "/", "%2f"), strings.ReplaceAll(text, "+", "%2B"),
			strings.ReplaceAll(text, "+", "%2b"), strings.TrimRight(text, "="), url.QueryEscape(text), lowerEscapes(url.QueryEscape(text)),
		} {
			if out := w.get(Path + "/" + path); out.Code != http.StatusOK || w.parse(t, out.Body.Bytes(), serial).Status != xocsp.Good {
				t.Errorf("%s: %d", path, out.Code)
			}
		}
		// What the collapse leaves of it is another request, not an answer to this one.
		if out := w.get(Path + "/" + strings.ReplaceAll(text, "//", "/")); out.Code == http.StatusOK && bytes.Contains(out.Body.Bytes(), serial[:]) {
			t.Error("a collapsed request is answered as if it were whole")
		}
	}
}

// TestIncident_I55: the database was overloaded, and the status of all
// certificates went with it. This responder asks the database each time, so
// that a revocation shows at once; without it, it says so, soon, with nothing
// that caches would keep, and answers again with the first that succeeds.
func TestIncident_I55(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	target := Path + "/" + url.QueryEscape(base64.StdEncoding.EncodeToString(w.ask(question{serial: serial.BigInt()})))
	if w.get(target).Code != http.StatusOK {
		t.Fatal("no answer")
	}
	w.store.fault = errors.New("too many connections")
	out := w.get(target)
	r, err := readResponse(out.Body.Bytes())
	if out.Code != http.StatusOK || err != nil || r.status != TryLater || out.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("without the database: %d %v %+v %v", out.Code, err, r, out.Header())
	}
	w.store.fault = nil
	if w.parse(t, w.get(target).Body.Bytes(), serial).Status != xocsp.Good {
		t.Error("it did not recover")
	}
}

// TestIncident_I57: nextUpdate lay too far away after an upgrade. The bounds
// are in the code, and each answer keeps them.
func TestIncident_I57(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	for hours := range 400 {
		c := w.Config
		c.Validity = time.Duration(hours) * time.Hour
		r, err := New(c)
		if ok := hours == 0 || hours >= 8 && hours <= 240; (err == nil) != ok {
			t.Errorf("a validity of %d hours: %v", hours, err)
		}
		if err != nil {
			continue
		}
		w.Responder = r
		got := w.parse(t, w.post(w.ask(question{serial: serial.BigInt()})).Body.Bytes(), serial)
		if d := got.NextUpdate.Sub(got.ThisUpdate); d < 8*time.Hour || d > 10*24*time.Hour+backdate {
			t.Errorf("with %d hours, an answer is for %v", hours, d)
		}
	}
}

// TestIncident_I58: a new issuer's certificates were answered with 404 or
// unauthorized. The responder answers for all issuers it is given, from the
// first request on, and signs each answer with that issuer's key.
func TestIncident_I58(t *testing.T) {
	old, fresh := newWorld(t, "ec256"), newWorld(t, "ec384")
	serial := fresh.issue(t)
	old.store.certificates[serial] = fresh.store.certificates[serial]
	c := old.Config
	if out, err := readResponse(old.post(fresh.ask(question{serial: serial.BigInt()})).Body.Bytes()); err != nil || out.status != Unauthorized {
		t.Fatalf("an issuer it does not know: %+v, %v", out, err)
	}
	c.Issuers = append(c.Issuers[:1:1], fresh.issuer)
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	old.Responder = r
	der := old.post(fresh.ask(question{serial: serial.BigInt()})).Body.Bytes()
	if fresh.parse(t, der, serial).Status != xocsp.Good {
		t.Error("not good")
	}
	// The same serial under the other issuer is none of that one's.
	if r := old.parse(t, old.post(old.ask(question{serial: serial.BigInt()})).Body.Bytes(), serial); r.Status == xocsp.Good {
		t.Error("another issuer's serial is good")
	}
}

// TestIncident_I59: support said "revoked" and OCSP said good for hours. The
// next answer says it, whatever was remembered or is asked for conditionally.
func TestIncident_I59(t *testing.T) {
	w := newWorld(t, "ec256")
	for range 20 {
		serial := w.issue(t)
		target := Path + "/" + url.QueryEscape(base64.StdEncoding.EncodeToString(w.ask(question{serial: serial.BigInt()})))
		first := w.get(target)
		w.get(target)
		w.revoke(serial, ca.KeyCompromise, w.now)
		for _, header := range [][]string{nil, {"If-None-Match", first.Header().Get("ETag")}, {"If-Modified-Since", first.Header().Get("Last-Modified")}} {
			out := w.get(target, header...)
			if out.Code != http.StatusOK || w.parse(t, out.Body.Bytes(), serial).Status != xocsp.Revoked {
				t.Errorf("%v: %d", header, out.Code)
			}
		}
		if !strings.Contains(first.Header().Get("Cache-Control"), "max-age=5,") {
			t.Errorf("caches may keep it for %q", first.Header().Get("Cache-Control"))
		}
	}
}

// TestIncident_I62: answers were taken for another certificate, or another
// issuer. Each answer names the request's CertID, octet by octet, is signed by
// that issuer, and another's request gets no signature at all.
func TestIncident_I62(t *testing.T) {
	w, other := newWorld(t, "ec256"), newWorld(t, "ec256")
	a, b := w.issue(t), w.issue(t)
	der := w.post(w.ask(question{serial: a.BigInt()})).Body.Bytes()
	if _, err := xocsp.ParseResponseForCert(der, nil, other.issuer.Certificate()); err == nil {
		t.Error("the answer verifies with another issuer's key")
	}
	r := w.parse(t, der, a)
	if r.SerialNumber.Cmp(a.BigInt()) != 0 || r.SerialNumber.Cmp(b.BigInt()) == 0 {
		t.Errorf("asked for %s, answered for %x", a, r.SerialNumber)
	}
	for name, q := range map[string]question{
		"another key hash":  {serial: a.BigInt(), key: make([]byte, 20)},
		"another name hash": {serial: a.BigInt(), name: make([]byte, 20)},
		"swapped":           {serial: a.BigInt(), name: sha1Of(nil), key: sha1Of([]byte("x"))},
	} {
		out, err := readResponse(w.post(w.ask(q)).Body.Bytes())
		if err != nil || out.status != Unauthorized || out.tbs != nil {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

package crl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/ca"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a root, an issuer below it, and a key of the issuer's.
type world struct {
	root   *x509.Certificate
	issuer *ca.Issuer
	key    crypto.Signer
}

var keyKinds = []string{"ec256", "ec384", "rsa2048", "ed25519"}

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

func newWorld(t testing.TB, kind string) *world {
	t.Helper()
	w := &world{key: newKey(t, kind)}
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
	return w
}

// certify makes a CA certificate; parent nil: a self-signed one.
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

func (w *world) head(number int64) head {
	c := w.issuer.Certificate()
	return head{
		issuer: c.RawSubject, keyID: c.SubjectKeyId, algorithm: w.issuer.SignatureAlgorithm(),
		number: number, thisUpdate: start, nextUpdate: start.Add(24 * time.Hour),
	}
}

var someReasons = []ca.Reason{
	ca.Unspecified, ca.KeyCompromise, ca.CACompromise, ca.AffiliationChanged, ca.Superseded,
	ca.CessationOfOperation, ca.CertificateHold, ca.PrivilegeWithdrawn, ca.AACompromise,
}

func someEntries(n int) []ca.Revoked {
	out := make([]ca.Revoked, n)
	for i := range out {
		binary.BigEndian.PutUint64(out[i].Serial[:], uint64(start.UnixMilli())<<16+uint64(i))
		out[i].Serial[15] = byte(i * 37)
		out[i].Reason = someReasons[i%len(someReasons)]
		out[i].At = start.Add(time.Duration(i) * time.Second)
		out[i].NotAfter = start.Add(90 * 24 * time.Hour)
	}
	return out
}

// standard is the same list as crypto/x509 makes it.
func standard(t testing.TB, w *world, h head, entries []ca.Revoked) *x509.RevocationList {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(h.number), ThisUpdate: h.thisUpdate, NextUpdate: h.nextUpdate}
	for _, e := range entries {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: e.Serial.BigInt(), RevocationTime: e.At, ReasonCode: int(e.Reason),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, w.issuer.Certificate(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// The oracle is crypto/x509: for the same content, the same bytes.
func TestEncodeAsStandardLibrary(t *testing.T) {
	for _, kind := range keyKinds {
		w := newWorld(t, kind)
		for _, n := range []int{0, 1, 2, 3, 100, 5000} {
			t.Run(fmt.Sprintf("%s/%d", kind, n), func(t *testing.T) {
				h, entries := w.head(start.UnixMilli()), someEntries(n)
				got, err := encode(h, entries)
				if err != nil {
					t.Fatal(err)
				}
				if want := standard(t, w, h, entries).RawTBSRevocationList; !bytes.Equal(got, want) {
					t.Fatalf("got  %x\nwant %x", clip(got), clip(want))
				}
				der, err := w.issuer.SignCRL(got)
				if err != nil {
					t.Fatal(err)
				}
				l := &List{Number: h.number, ThisUpdate: h.thisUpdate, NextUpdate: h.nextUpdate, Entries: n, DER: der}
				if err := check(w.issuer.Certificate(), l, entries); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 400)] }

// Times change their form in 2050 (RFC 5280 section 5.1.2.4).
func TestEncodeTimes(t *testing.T) {
	w := newWorld(t, "ec256")
	entries := someEntries(4)
	entries[0].At = time.Date(2049, 12, 31, 23, 59, 59, 999, time.UTC)
	entries[1].At = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	entries[2].At = time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)
	entries[3].At = start.In(time.FixedZone("", 5*3600+1800))
	for _, this := range []time.Time{start, entries[0].At.Truncate(time.Second), entries[1].At} {
		h := w.head(1)
		h.thisUpdate, h.nextUpdate = this, this.Add(time.Second)
		got, err := encode(h, entries)
		if err != nil {
			t.Fatal(err)
		}
		if want := standard(t, w, h, entries).RawTBSRevocationList; !bytes.Equal(got, want) {
			t.Errorf("%v:\ngot  %x\nwant %x", this, got, want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	w := newWorld(t, "ec256")
	for name, c := range map[string]struct {
		change func(h *head, e *ca.Revoked)
		want   string
	}{
		"number 0":          {func(h *head, _ *ca.Revoked) { h.number = 0 }, "must be positive"},
		"number negative":   {func(h *head, _ *ca.Revoked) { h.number = -1 }, "must be positive"},
		"no span":           {func(h *head, _ *ca.Revoked) { h.nextUpdate = h.thisUpdate }, "is not after"},
		"reason 7":          {func(_ *head, e *ca.Revoked) { e.Reason = 7 }, "reason 7"},
		"reason 8":          {func(_ *head, e *ca.Revoked) { e.Reason = ca.RemoveFromCRL }, "reason 8"},
		"reason 11":         {func(_ *head, e *ca.Revoked) { e.Reason = 11 }, "reason 11"},
		"reason negative":   {func(_ *head, e *ca.Revoked) { e.Reason = -1 }, "reason -1"},
		"reason 257":        {func(_ *head, e *ca.Revoked) { e.Reason = 257 }, "reason 257"},
		"no serial":         {func(_ *head, e *ca.Revoked) { e.Serial = ca.Serial{} }, "not a serial number"},
		"serial negative":   {func(_ *head, e *ca.Revoked) { e.Serial[0] = 0x80 }, "not a serial number"},
		"date before 1950":  {func(_ *head, e *ca.Revoked) { e.At = time.Time{} }, "can't be written"},
		"date of year 10^4": {func(_ *head, e *ca.Revoked) { e.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "can't be written"},
	} {
		h, entries := w.head(1), someEntries(2)
		c.change(&h, &entries[1])
		if _, err := encode(h, entries); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
}

func TestSerials(t *testing.T) {
	w := newWorld(t, "ed25519")
	for _, n := range []int{0, 1, 500} {
		entries := someEntries(n)
		tbs, err := encode(w.head(5), entries)
		if err != nil {
			t.Fatal(err)
		}
		der, err := w.issuer.SignCRL(tbs)
		if err != nil {
			t.Fatal(err)
		}
		got, err := serials(der)
		if err != nil || len(got) != n {
			t.Fatalf("%d serials, %v; want %d", len(got), err, n)
		}
		for i, e := range entries {
			if got[i] != e.Serial {
				t.Fatalf("serial %d is %s, want %s", i, got[i], e.Serial)
			}
		}
		for cut := range min(len(der), 300) {
			if _, err := serials(der[:cut]); err == nil {
				t.Errorf("the first %d octets of %d pass for a list", cut, len(der))
			}
		}
		if _, err := serials(append(slices.Clone(der), 0)); err == nil {
			t.Error("an octet behind the list is not seen")
		}
	}
}

// FuzzEncode compares with crypto/x509 over lists of any content.
func FuzzEncode(f *testing.F) {
	w := newWorld(f, "ed25519")
	f.Add(int64(1), int64(0), uint32(86400), []byte{})
	f.Add(int64(1)<<40, int64(2524607999), uint32(1), bytes.Repeat([]byte{0x01, 0x93, 5, 6, 7, 8, 9, 3}, 9))
	f.Fuzz(func(t *testing.T, number, this int64, span uint32, raw []byte) {
		if this < 0 || this > 4102444800 || number <= 0 || span == 0 {
			return
		}
		h := w.head(number)
		h.thisUpdate = time.Unix(this, 0).UTC()
		h.nextUpdate = h.thisUpdate.Add(time.Duration(span) * time.Second)
		var entries []ca.Revoked
		for ; len(raw) >= 8; raw = raw[8:] {
			var e ca.Revoked
			copy(e.Serial[:], raw[:3])
			e.Serial[0] = max(1, e.Serial[0]&0x7f)
			e.At = time.Unix(int64(binary.BigEndian.Uint32(raw[3:7])), 0)
			e.Reason = someReasons[int(raw[7])%len(someReasons)]
			entries = append(entries, e)
		}
		got, err := encode(h, entries)
		if err != nil {
			t.Fatal(err)
		}
		if want := standard(t, w, h, entries).RawTBSRevocationList; !bytes.Equal(got, want) {
			t.Errorf("got  %x\nwant %x", got, want)
		}
	})
}

// FuzzSerials: what serials accepts, it read as crypto/x509 does.
func FuzzSerials(f *testing.F) {
	w := newWorld(f, "ed25519")
	for _, n := range []int{0, 1, 3} {
		tbs, err := encode(w.head(5), someEntries(n))
		if err != nil {
			f.Fatal(err)
		}
		der, err := w.issuer.SignCRL(tbs)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := serials(der)
		if err != nil {
			return
		}
		parsed, err := x509.ParseRevocationList(der)
		if err != nil {
			return // stricter than serials, which reads verified lists only
		}
		if len(got) != len(parsed.RevokedCertificateEntries) {
			t.Fatalf("%d serials, crypto/x509 has %d", len(got), len(parsed.RevokedCertificateEntries))
		}
	})
}

func BenchmarkList(b *testing.B) {
	w := newWorld(b, "ec256")
	for _, n := range []int{1000, 100_000} {
		entries := someEntries(n)
		b.Run(fmt.Sprintf("ours/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tbs, err := encode(w.head(1), entries)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := w.issuer.SignCRL(tbs); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("x509/%d", n), func(b *testing.B) {
			template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: start, NextUpdate: start.Add(time.Hour)}
			for _, e := range entries {
				template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
					SerialNumber: e.Serial.BigInt(), RevocationTime: e.At, ReasonCode: int(e.Reason),
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x509.CreateRevocationList(rand.Reader, template, w.issuer.Certificate(), w.key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

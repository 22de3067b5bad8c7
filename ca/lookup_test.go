package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestChains(t *testing.T) {
	h := newHouse(t, "ec256")
	// The same issuer, cross-signed by another root.
	otherKey := newTestKey(t, "ec384")
	other, err := NewRoot(RootSpec{Name: "Other", Key: otherKey, Now: noon})
	check(t, err)
	cross, err := NewIntermediate(IntermediateSpec{Name: "Example", Public: h.key.Public(), Root: other, RootKey: otherKey, PublishURL: publishURL, Now: noon})
	check(t, err)
	h.issuer, err = NewIssuer(IssuerConfig{Chain: h.issuer.Chain(), Alternates: [][]*x509.Certificate{{cross}}, Key: h.key, PublishURL: publishURL})
	check(t, err)
	h.authority.Issuers[0] = h.issuer
	c, err := h.authority.Issue(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	chains, err := h.authority.Chains(c)
	check(t, err)
	if len(chains) != 2 {
		t.Fatalf("%d chains", len(chains))
	}
	for n, want := range [][][]byte{{c.DER, h.issuer.Certificate().Raw}, {c.DER, cross.Raw}} {
		rest := chains[n]
		for _, der := range want {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || !bytes.Equal(block.Bytes, der) {
				t.Fatalf("chain %d: %s", n, chains[n])
			}
		}
		if len(rest) != 0 {
			t.Errorf("chain %d has more: %s", n, rest)
		}
	}
	for _, bad := range []*Certificate{{Issuer: "other", DER: c.DER}, {Issuer: c.Issuer}} {
		if _, err := h.authority.Chains(bad); err == nil {
			t.Errorf("chains of %+v", bad)
		}
	}
}

func TestOwn(t *testing.T) {
	h, stranger := newHouse(t, "ec256"), newHouse(t, "ec256")
	c, err := h.authority.Issue(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	foreign, err := stranger.authority.Issue(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	own, err := h.authority.Own(t.Context(), c.DER)
	if err != nil || own.Serial != c.Serial {
		t.Errorf("own certificate: %v", err)
	}
	flipped := bytes.Clone(c.DER)
	flipped[len(flipped)-1] ^= 1
	for what, der := range map[string][]byte{
		"nothing": nil, "garbage": []byte("garbage"), "foreign": foreign.DER, "root": h.root.Raw, "one bit": flipped,
		"behind": append(bytes.Clone(c.DER), 0), "too long": make([]byte, maxCertificate+1), "cut off": c.DER[:len(c.DER)-1],
	} {
		if _, err := h.authority.Own(t.Context(), der); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h2 := newHouse(t, "ec256")
	serial, tbs := begun(t, h2, newTestKey(t, "ec256"))
	der, err := h2.issuer.lintable(tbs)
	check(t, err)
	if _, err := h2.authority.Own(t.Context(), der); !errors.Is(err, ErrNotFound) {
		t.Errorf("%s is only reserved: %v", serial, err)
	}
}

func TestCertID(t *testing.T) {
	h := newHouse(t, "ec256")
	c, err := h.authority.Issue(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	id, err := h.authority.CertID(c)
	check(t, err)
	found, err := h.authority.ByCertID(t.Context(), id)
	if err != nil || found.Serial != c.Serial {
		t.Errorf("certID %s: %v", id, err)
	}
	// As a client makes it, from the certificate's own octets.
	cert := h.verify(t, c, "a.example")
	if want := encode64(cert.AuthorityKeyId) + "." + encode64(cert.SerialNumber.Bytes()); id != want {
		t.Errorf("certID %s, want %s", id, want)
	}
	// The example of RFC 9773 section 4.1 is well-formed, and foreign.
	aki, serial, _ := strings.Cut(id, ".")
	for what, certID := range map[string]string{
		"example of the RFC": "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", "foreign issuer": encode64(h.root.SubjectKeyId) + "." + serial,
		"unknown serial": aki + "." + encode64(bytes.Repeat([]byte{1}, 16)), "short serial": aki + ".AQ", "serial zero": aki + ".AA",
	} {
		if _, err := h.authority.ByCertID(t.Context(), certID); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, certID := range map[string]string{
		"nothing": "", "no dot": aki, "dot only": ".", "no serial": aki + ".", "no identifier": "." + serial, "three parts": id + "." + serial,
		"padding": aki + "=." + serial, "standard alphabet": "+/+/." + serial, "line end": aki + "\n." + serial, "trailing bits": aki + ".AR",
		"negative": aki + "." + encode64([]byte{0x80}), "needless zero": aki + "." + encode64([]byte{0, 1}), "too long": strings.Repeat("A", 300) + ".AQ", "blank": id + " ",
	} {
		_, err := h.authority.ByCertID(t.Context(), certID)
		if err == nil {
			t.Errorf("%s: found", what)
			continue
		}
		wantRefusal(t, err, MalformedIdentifier)
	}
	if _, err := h.authority.CertID(&Certificate{Issuer: "other"}); err == nil {
		t.Error("a foreign certificate has a certID")
	}
	h2 := newHouse(t, "ec256")
	reserved, _ := begun(t, h2, newTestKey(t, "ec256"))
	if _, err := h2.authority.ByCertID(t.Context(), encode64(h2.issuer.Certificate().SubjectKeyId)+"."+encode64(reserved[:])); !errors.Is(err, ErrNotFound) {
		t.Errorf("a reservation was found: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	h := newHouse(t, "ec256")
	for reason := Reason(-1); reason <= 12; reason++ {
		c, err := h.authority.Issue(t.Context(), h.request(t, "", newTestKey(t, "ec256"), "a.example"))
		check(t, err)
		err = h.authority.Revoke(t.Context(), Revocation{By: System("test"), Serial: c.Serial, Reason: reason, At: noon})
		switch reason {
		case Unspecified, KeyCompromise, AffiliationChanged, Superseded, CessationOfOperation, PrivilegeWithdrawn:
			check(t, err)
			if r := h.ledger.certs[c.Serial].Revocation; r == nil || r.Reason != reason || !r.At.Equal(noon) {
				t.Errorf("reason %d: the ledger has %+v", reason, r)
			}
			if err := h.authority.Revoke(t.Context(), Revocation{Serial: c.Serial, At: noon}); !errors.Is(err, ErrAlreadyRevoked) {
				t.Errorf("a second time: %v", err)
			}
		default:
			wantRefusal(t, err, BadRevocationReason)
		}
	}
	for _, r := range []Revocation{{Serial: Serial{}, At: noon}, {Serial: Serial{1}, At: noon}} {
		if err := h.authority.Revoke(t.Context(), r); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", r.Serial, err)
		}
	}
	if err := h.authority.Revoke(t.Context(), Revocation{Serial: Serial{1}, At: time.Time{}}); err == nil {
		t.Error("a revocation without an instant was accepted")
	}
}

func FuzzParseCertID(f *testing.F) {
	for _, seed := range []string{"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", "A.A", ".", "AA.AA", "AQ.gA", "AQ.AAE", "A\n.AQ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, certID string) {
		keyID, serial, err := parseCertID(certID)
		if err != nil {
			wantRefusal(t, err, MalformedIdentifier)
			return
		}
		if got := encode64(keyID) + "." + encode64(serial); got != certID {
			t.Fatalf("%q is another writing of %q", certID, got)
		}
	})
}

func FuzzOwnCertificate(f *testing.F) {
	h := newHouse(f, "ec256")
	c, err := h.authority.Issue(f.Context(), h.request(f, "o", newTestKey(f, "ec256"), "a.example"))
	check(f, err)
	f.Add(c.DER)
	f.Add(h.root.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		own, err := h.authority.Own(t.Context(), der)
		if (err == nil) != bytes.Equal(der, c.DER) {
			t.Fatalf("%x: %v, %v", der, own, err)
		}
	})
}

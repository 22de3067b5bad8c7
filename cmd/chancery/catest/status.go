package catest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

// maxBody bounds what tests read of an answer.
const maxBody = 32 << 20

func (c *CA) get(url string) ([]byte, int, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	return c.do(r)
}

func (c *CA) do(r *http.Request) ([]byte, int, error) {
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return body, resp.StatusCode, err
}

// Issuer fetches the issuer's certificate from where the certificate says
// that it is (RFC 5280 section 4.2.2.1).
func (c *CA) Issuer(leaf *x509.Certificate) (*x509.Certificate, error) {
	if len(leaf.IssuingCertificateURL) == 0 {
		return nil, fmt.Errorf("%x names no caIssuers URL", leaf.SerialNumber)
	}
	der, status, err := c.get(leaf.IssuingCertificateURL[0])
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d: %w", leaf.IssuingCertificateURL[0], status, err)
	}
	return x509.ParseCertificate(der)
}

// OCSP asks the responder that the certificate names, as RFC 6960 appendix A
// has it, and checks the answer's signature.
func (c *CA) OCSP(leaf *x509.Certificate) (*ocsp.Response, error) {
	issuer, err := c.Issuer(leaf)
	if err != nil {
		return nil, err
	}
	return c.ocsp(leaf, issuer)
}

func (c *CA) ocsp(leaf, issuer *x509.Certificate) (*ocsp.Response, error) {
	if len(leaf.OCSPServer) == 0 {
		return nil, fmt.Errorf("%x names no OCSP responder", leaf.SerialNumber)
	}
	ask, err := ocsp.CreateRequest(leaf, issuer, nil)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, leaf.OCSPServer[0], bytes.NewReader(ask))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/ocsp-request")
	body, status, err := c.do(r)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d: %w", leaf.OCSPServer[0], status, err)
	}
	return ocsp.ParseResponseForCert(body, leaf, issuer)
}

// CRL fetches the list that the certificate names and checks its signature.
func (c *CA) CRL(leaf *x509.Certificate) (*x509.RevocationList, error) {
	if len(leaf.CRLDistributionPoints) == 0 {
		return nil, fmt.Errorf("%x names no CRL", leaf.SerialNumber)
	}
	issuer, err := c.Issuer(leaf)
	if err != nil {
		return nil, err
	}
	return c.crl(leaf.CRLDistributionPoints[0], issuer)
}

func (c *CA) crl(url string, issuer *x509.Certificate) (*x509.RevocationList, error) {
	der, status, err := c.get(url)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d: %w", url, status, err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if now := time.Now(); now.Before(list.ThisUpdate) || now.After(list.NextUpdate) {
		return nil, fmt.Errorf("%s is for %s to %s", url, list.ThisUpdate, list.NextUpdate)
	}
	return list, list.CheckSignatureFrom(issuer)
}

func listed(list *x509.RevocationList, leaf *x509.Certificate) (x509.RevocationListEntry, bool) {
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return e, true
		}
	}
	return x509.RevocationListEntry{}, false
}

// RevocationWithin is the promise to relying parties: OCSP and CRL show a
// revocation at most this long after it was answered with 200.
const RevocationWithin = 10 * time.Second

// WantGood fails the test unless OCSP says good and the CRL does not list it.
func (c *CA) WantGood(leaf *x509.Certificate) {
	c.t.Helper()
	answer, err := c.OCSP(leaf)
	if err != nil || answer.Status != ocsp.Good {
		c.t.Errorf("%v: OCSP says %v, %v, want good", leaf.DNSNames, answer, err)
	}
	list, err := c.CRL(leaf)
	if err != nil {
		c.t.Errorf("%v: CRL: %v", leaf.DNSNames, err)
	} else if _, ok := listed(list, leaf); ok {
		c.t.Errorf("%v: the CRL lists it, and it is not revoked", leaf.DNSNames)
	}
}

// WantRevoked fails the test unless OCSP says so at once and the CRL within
// RevocationWithin, both for this reason (RFC 5280 section 5.3.1).
func (c *CA) WantRevoked(leaf *x509.Certificate, reason int) {
	c.t.Helper()
	answer, err := c.OCSP(leaf)
	if err != nil || answer.Status != ocsp.Revoked || answer.RevocationReason != reason {
		c.t.Errorf("%v: OCSP says %+v, %v, want revoked for reason %d", leaf.DNSNames, answer, err, reason)
	}
	deadline := time.Now().Add(RevocationWithin)
	for {
		list, err := c.CRL(leaf)
		if err == nil {
			if e, ok := listed(list, leaf); ok {
				if e.ReasonCode != reason {
					c.t.Errorf("%v: the CRL has reason %d, want %d", leaf.DNSNames, e.ReasonCode, reason)
				}
				return
			}
		}
		if time.Now().After(deadline) {
			c.t.Errorf("%v: not on the CRL %s after its revocation: %v", leaf.DNSNames, RevocationWithin, err)
			return
		}
		time.Sleep(pollInterval)
	}
}

// WantChain fails the test unless the PEM chain (leaf first, as clients store
// it) leads to the root for TLS servers, and the leaf has exactly these names.
// It returns the leaf.
func (c *CA) WantChain(chain []byte, names ...string) *x509.Certificate {
	c.t.Helper()
	certs, err := ParseChain(chain)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := verify(certs, c.Root); err != nil {
		c.t.Errorf("%v: %v", names, err)
	}
	leaf := certs[0]
	if got := sortedNames(leaf); !sameNames(got, names) {
		c.t.Errorf("the certificate is for %v, want %v", got, names)
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		c.t.Errorf("%v: a client got a CA certificate", names)
	}
	return leaf
}

func verify(certs []*x509.Certificate, root *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, i := range certs[1:] {
		intermediates.AddCert(i)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots: root, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// ParseChain reads PEM certificates.
func ParseChain(chain []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("no certificate in %q", strings.TrimSpace(string(chain[:min(len(chain), 100)])))
	}
	return certs, nil
}

// ReadChain is ParseChain of a file.
func (c *CA) ReadChain(path string) []byte {
	c.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

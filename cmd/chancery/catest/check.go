package catest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"chancery/acme"
	"chancery/ca"
	"chancery/storage"
)

// Check is the oracle. It re-reads the whole store, with a connection of its
// own, and fails the test unless
//
//   - the store's own check finds nothing,
//   - every certificate chains to the root and has the names of its order,
//   - serials are unique, and no order has two certificates,
//   - every reservation, issuance, revocation and new order has its audit event,
//   - OCSP and CRL, asked over HTTP, say of every certificate what the store says.
func (c *CA) Check() {
	c.t.Helper()
	if err := c.check(); err != nil {
		c.t.Errorf("catest: %v", err)
	}
}

// checkTimeout bounds the oracle's look at the store.
const checkTimeout = 2 * time.Minute

func (c *CA) check() error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	db, err := storage.Open(ctx, c.dsn())
	if err != nil {
		return fmt.Errorf("the store does not open: %w", err)
	}
	defer func() { _ = db.Close() }()
	findings, err := db.Check(ctx)
	if err != nil {
		return fmt.Errorf("the store can't check itself: %w", err)
	}
	o := &oracle{c: c, db: db, issuers: map[string]*x509.Certificate{}, lists: map[string]map[string]bool{}, orders: map[string]ca.Serial{}, serials: map[ca.Serial]bool{}}
	for _, f := range findings {
		o.find("%s", f)
	}
	if err := o.readEvents(ctx); err != nil {
		return err
	}
	if err := o.certificates(ctx); err != nil {
		return err
	}
	if err := o.readOrders(ctx); err != nil {
		return err
	}
	return errors.Join(o.findings...)
}

func (c *CA) dsn() string {
	for _, s := range slices.Backward(c.set) {
		if dsn, ok := strings.CutPrefix(s, "storage.dsn="); ok {
			return dsn
		}
	}
	return "sqlite:" + filepath.Join(c.Dir, "chancery.db")
}

// oracle is one run of Check.
type oracle struct {
	c        *CA
	db       *storage.DB
	findings []error

	events  map[string]bool // action "/" object
	issuers map[string]*x509.Certificate
	lists   map[string]map[string]bool // CRL URL to serial numbers
	orders  map[string]ca.Serial
	serials map[ca.Serial]bool
}

func (o *oracle) find(format string, args ...any) {
	o.findings = append(o.findings, fmt.Errorf(format, args...))
}

func (o *oracle) readEvents(ctx context.Context) error {
	o.events = map[string]bool{}
	search := ca.EventSearch{Limit: ca.MaxSearch}
	for {
		page, err := o.db.Events(ctx, search)
		if err != nil {
			return fmt.Errorf("audit events: %w", err)
		}
		for _, e := range page {
			o.events[e.Action+"/"+e.Object] = true
			if e.By.Kind == "" || e.At.IsZero() {
				o.find("audit event %d (%s %s) has no actor or no time", e.Seq, e.Action, e.Object)
			}
			search.After = e.Seq
		}
		if len(page) < search.Limit {
			return nil
		}
	}
}

func (o *oracle) event(action, object string) {
	if !o.events[action+"/"+object] {
		o.find("no audit event %s for %s", action, object)
	}
}

func (o *oracle) certificates(ctx context.Context) error {
	search := ca.CertificateSearch{At: time.Now(), Limit: ca.MaxSearch}
	for {
		page, err := o.db.Certificates(ctx, search)
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		for _, cert := range page {
			if err := o.certificate(ctx, cert); err != nil {
				o.find("certificate %s: %w", cert.Serial, err)
			}
			search.After = cert.Serial
		}
		if len(page) < search.Limit {
			return nil
		}
	}
}

func (o *oracle) certificate(ctx context.Context, cert *ca.Certificate) error {
	if o.serials[cert.Serial] {
		return errors.New("its serial is there twice")
	}
	o.serials[cert.Serial] = true
	o.event("certificate.reserve", cert.Serial.String())
	o.event("certificate.issue", cert.Serial.String())
	leaf, err := x509.ParseCertificate(cert.DER)
	if err != nil {
		return err
	}
	if leaf.SerialNumber.Cmp(cert.Serial.BigInt()) != 0 {
		return fmt.Errorf("its DER has serial %x", leaf.SerialNumber)
	}
	issuer, err := o.issuer(leaf, cert.Issuer)
	if err != nil {
		return err
	}
	if err := verify([]*x509.Certificate{leaf, issuer}, o.c.Root); err != nil {
		return err
	}
	if cert.Order != "" {
		if other, ok := o.orders[cert.Order]; ok {
			return fmt.Errorf("order %s has also certificate %s", cert.Order, other)
		}
		o.orders[cert.Order] = cert.Serial
		order, err := o.db.Order(ctx, cert.Order)
		if err != nil {
			return fmt.Errorf("order %s: %w", cert.Order, err)
		}
		if got, want := sortedNames(leaf), values(order.Identifiers); !sameNames(got, want) {
			return fmt.Errorf("it is for %v, its order %s for %v", got, cert.Order, want)
		}
		if order.Certificate != cert.Serial {
			return fmt.Errorf("its order %s has certificate %s", cert.Order, order.Certificate)
		}
		if err := o.proven(ctx, cert); err != nil {
			return err
		}
	}
	return o.published(cert, leaf, issuer)
}

// proven wants evidence for each name of the certificate and for no other, and
// of each that can have CAA records a look at them that was fresh.
func (o *oracle) proven(ctx context.Context, cert *ca.Certificate) error {
	evidence, err := o.db.CertificateEvidence(ctx, cert.Serial)
	if err != nil {
		return fmt.Errorf("its evidence: %w", err)
	}
	var names []ca.Identifier
	for _, e := range evidence {
		names = append(names, e.Name)
		switch {
		case e.Method == "" || e.ValidatedAt.IsZero() || e.Authorization == "":
			return fmt.Errorf("%s has no proof: %+v", e.Name, e)
		case e.CAA != nil && (e.CAA.At.Before(cert.ReservedAt.Add(-ca.CAALife)) || len(e.CAA.Asked) == 0):
			return fmt.Errorf("%s has a stale look at its CAA records: %+v", e.Name, e.CAA)
		}
	}
	if !sameNames(slices.Sorted(slices.Values(values(names))), values(cert.Names)) {
		return fmt.Errorf("it is for %v, its evidence for %v", cert.Names, names)
	}
	return nil
}

func (o *oracle) issuer(leaf *x509.Certificate, id string) (*x509.Certificate, error) {
	if i, ok := o.issuers[id]; ok {
		return i, nil
	}
	i, err := o.c.Issuer(leaf)
	if err == nil {
		o.issuers[id] = i
	}
	return i, err
}

// published compares what relying parties see with what the store says.
func (o *oracle) published(cert *ca.Certificate, leaf, issuer *x509.Certificate) error {
	want := ocsp.Good
	if cert.Revocation != nil {
		want = ocsp.Revoked
		o.event("certificate.revoke", cert.Serial.String())
	}
	answer, err := o.c.ocsp(leaf, issuer)
	if err != nil {
		return fmt.Errorf("OCSP: %w", err)
	}
	if answer.Status != want {
		return fmt.Errorf("OCSP status is %d, want %d", answer.Status, want)
	}
	if want == ocsp.Revoked && (answer.RevocationReason != int(cert.Revocation.Reason) || !answer.RevokedAt.Equal(cert.Revocation.At.Truncate(time.Second))) {
		return fmt.Errorf("OCSP says revoked at %s for %d, the store at %s for %d", answer.RevokedAt, answer.RevocationReason, cert.Revocation.At, cert.Revocation.Reason)
	}
	return o.onList(cert, leaf, issuer)
}

// onList waits for the CRL to catch up, as long as it may take.
func (o *oracle) onList(cert *ca.Certificate, leaf, issuer *x509.Certificate) error {
	if len(leaf.CRLDistributionPoints) == 0 {
		return errors.New("it names no CRL")
	}
	url, serial, want := leaf.CRLDistributionPoints[0], leaf.SerialNumber.String(), cert.Revocation != nil
	deadline := time.Now().Add(RevocationWithin)
	for {
		list, ok := o.lists[url]
		if ok && list[serial] == want {
			return nil
		}
		if ok && time.Now().After(deadline) {
			return fmt.Errorf("on the CRL: %v, revoked: %v", list[serial], want)
		}
		fetched, err := o.c.crl(url, issuer)
		if err != nil {
			return fmt.Errorf("CRL: %w", err)
		}
		list = map[string]bool{}
		for _, e := range fetched.RevokedCertificateEntries {
			list[e.SerialNumber.String()] = true
		}
		o.lists[url] = list
		if list[serial] != want {
			time.Sleep(pollInterval)
		}
	}
}

// readOrders looks from the other side: an order that says it is issued has
// the certificate that was seen.
func (o *oracle) readOrders(ctx context.Context) error {
	search := acme.OrderSearch{Limit: ca.MaxSearch}
	for {
		page, err := o.db.Orders(ctx, search)
		if err != nil {
			return fmt.Errorf("orders: %w", err)
		}
		for _, order := range page {
			o.event("order.create", order.ID)
			if order.Issued() && o.orders[order.ID] != order.Certificate {
				o.find("order %s has certificate %s, which is not in the store as its", order.ID, order.Certificate)
			}
			search.After = order.ID
		}
		if len(page) < search.Limit {
			return nil
		}
	}
}

func values(ids []ca.Identifier) (out []string) {
	for _, id := range ids {
		out = append(out, id.Value())
	}
	return out
}

func sortedNames(leaf *x509.Certificate) []string {
	out := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		out = append(out, ip.String())
	}
	slices.Sort(out)
	return out
}

func sameNames(sorted, want []string) bool {
	want = slices.Clone(want)
	slices.Sort(want)
	return slices.Equal(sorted, want)
}

package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"chancery/acme"
	"chancery/ca"
)

// Bounds of a check.
const (
	// A store with this many faults is broken; more lines don't help.
	maxFindings = 100
	// Rows that are read at once.
	checkPage = 500
)

var errEnough = errors.New("enough findings")

// Check looks for facts that contradict each other: an order and its
// certificate that don't know each other, other names than the order's,
// revocations of nothing, changes without an audit event, broken tables. It
// reads everything, from one snapshot, and returns a sentence for each
// finding, at most a hundred. Nil findings: all is well. It does not look into
// the certificates' DER.
func (db *DB) Check(ctx context.Context) (findings []string, err error) {
	c := &checker{ctx: ctx}
	err = db.engine.read(ctx, true, func(s *session) error {
		// Everything takes as long as it takes; the caller's end is the bound.
		c.session = session{ctx: ctx, q: s.q, dialect: s.dialect}
		for _, step := range []func() error{c.tables, c.sentences, c.accounts, c.authorizations, c.orders, c.certificates} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return c.findings, err
}

type checker struct {
	session
	ctx      context.Context
	findings []string
}

func (c *checker) find(format string, args ...any) error {
	c.findings = append(c.findings, fmt.Sprintf(format, args...))
	if len(c.findings) >= maxFindings {
		return errEnough
	}
	return nil
}

// tables asks the database about itself.
func (c *checker) tables() error {
	for _, pragma := range c.dialect.selfChecks {
		var lines []string
		if err := c.list(&lines, pragma); err != nil {
			return err
		}
		for _, line := range lines {
			if line == "ok" {
				continue
			}
			if err := c.find("the database says of itself: %s", line); err != nil {
				return err
			}
		}
	}
	return nil
}

// What a statement finds is a fault.
var checkSentences = []struct{ says, query string }{
	{"a name leads to a certificate that is not there", `
SELECT COUNT(*) FROM certificate_names n WHERE NOT EXISTS (SELECT 1 FROM certificates c WHERE c.serial = n.serial)`},
	{"a revocation is of a certificate that is not there, or in another issuer's or shard's list, or has another end", `
SELECT COUNT(*) FROM revocations r WHERE NOT EXISTS
(SELECT 1 FROM certificates c WHERE c.serial = r.serial AND c.issuer = r.issuer AND c.shard = r.shard AND c.not_after = r.not_after)`},
	{"a shard has revocations and no row that makes its list due", `
SELECT COUNT(*) FROM (SELECT DISTINCT issuer, shard FROM revocations) r
WHERE NOT EXISTS (SELECT 1 FROM crl_shards s WHERE s.issuer = r.issuer AND s.shard = r.shard AND s.counter > 0)`},
	{"a published list has a number that was not handed out", `
SELECT COUNT(*) FROM crl_lists l WHERE NOT EXISTS
(SELECT 1 FROM crl_shards s WHERE s.issuer = l.issuer AND s.shard = l.shard AND s.number >= l.number)`},
	{"an external key that is not reusable was used more than once", `
SELECT COUNT(*) FROM external_keys WHERE reusable = 0 AND uses > 1`},
	{"an external key has other uses than accounts", `
SELECT COUNT(*) FROM external_keys k WHERE uses <> (SELECT COUNT(*) FROM accounts a WHERE a.external_key_id = k.id)`},
	{"an order claims a certificate that is another order's, or not signed, or not there", `
SELECT COUNT(*) FROM orders o WHERE o.certificate IS NOT NULL AND NOT EXISTS
(SELECT 1 FROM certificates c WHERE c.serial = o.certificate AND c.order_id = o.id AND c.account = o.account AND c.der IS NOT NULL)`},
	{"a certificate was signed and its order does not know it", `
SELECT COUNT(*) FROM certificates c JOIN orders o ON o.id = c.order_id
WHERE c.der IS NOT NULL AND (o.certificate IS NULL OR o.certificate <> c.serial)`},
	{"evidence is kept for a certificate that is not there", `
SELECT COUNT(*) FROM certificate_evidence e WHERE NOT EXISTS (SELECT 1 FROM certificates c WHERE c.serial = e.serial)`},
	{"evidence belongs to an authorization without a verdict", `
SELECT COUNT(*) FROM evidence e JOIN authorizations a ON a.id = e.authorization_id WHERE a.validated_at IS NULL AND a.error IS NULL`},
	{"a lease is on work that is done or was never begun", `
SELECT (SELECT COUNT(*) FROM orders WHERE lease_until IS NOT NULL AND (began_at IS NULL OR certificate IS NOT NULL OR error IS NOT NULL)) +
(SELECT COUNT(*) FROM authorizations WHERE lease_until IS NOT NULL
AND (attempt IS NULL OR validated_at IS NOT NULL OR error IS NOT NULL OR deactivated_at IS NOT NULL))`},
	{"an authorization is both valid and failed", `
SELECT COUNT(*) FROM authorizations WHERE validated_at IS NOT NULL AND error IS NOT NULL`},
	{"a run of failures ended before it began, or was paused for before it began", `
SELECT COUNT(*) FROM failing WHERE last < since OR paused_at < since`},
	{"an audit event names no actor", `
SELECT COUNT(*) FROM audit_events WHERE actor_kind = '' OR action = ''`},
}

func (c *checker) sentences() error {
	for _, s := range checkSentences {
		var n int64
		if err := c.get(&n, s.query); err != nil {
			return fmt.Errorf("%s: %w", s.says, err)
		}
		if n == 0 {
			continue
		}
		if err := c.find("%s (%d times)", s.says, n); err != nil {
			return err
		}
	}
	return nil
}

const countEvents = `SELECT COUNT(*) FROM audit_events WHERE object = ? AND action = ?`

// recorded finds a fault unless the audit has each of the actions of the object.
func (c *checker) recorded(what, object string, actions ...string) error {
	for _, action := range actions {
		var n int64
		if err := c.get(&n, countEvents, object, action); err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		if err := c.find("%s %s: the audit has no event %s", what, object, action); err != nil {
			return err
		}
	}
	return nil
}

// actionsOf are the actions whose instants are known.
func actionsOf(all map[string]bool) []string {
	var actions []string
	for action, happened := range all {
		if happened {
			actions = append(actions, action)
		}
	}
	slices.Sort(actions)
	return actions
}

// pages reads a table page by page; query takes the key to begin behind and a limit.
func pages[R any](c *checker, query string, first any, key func(*R) any, do func(*R) error) error {
	for after := first; ; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		var rows []R
		if err := c.list(&rows, query, after, checkPage); err != nil {
			return err
		}
		for i := range rows {
			if err := do(&rows[i]); err != nil {
				return err
			}
		}
		if len(rows) < checkPage {
			return nil
		}
		after = key(&rows[len(rows)-1])
	}
}

const allAccounts = `SELECT ` + accountColumns + ` FROM accounts WHERE id > ? ORDER BY id LIMIT ?`

func (c *checker) accounts() error {
	return pages(c, allAccounts, []byte{}, func(r *accountRow) any { return r.ID }, func(r *accountRow) error {
		a, err := r.account()
		if err != nil {
			return c.find("%v", err)
		}
		return c.recorded("account", a.ID, actionsOf(map[string]bool{
			actionAccountCreate: true, actionAccountDeactivate: !a.DeactivatedAt.IsZero(), actionAccountRevoke: !a.RevokedAt.IsZero(),
		})...)
	})
}

const allAuthorizations = `SELECT ` + authorizationColumns + fromAuthorizations + ` WHERE a.id > ? ORDER BY a.id LIMIT ?`

func (c *checker) authorizations() error {
	return pages(c, allAuthorizations, []byte{}, func(r *authorizationRow) any { return r.ID }, func(r *authorizationRow) error {
		a, err := r.authorization()
		if err != nil {
			return c.find("%v", err)
		}
		return c.recorded("authorization", a.ID, actionsOf(map[string]bool{
			actionAuthorizationTry: a.Attempt != "", actionAuthorizationValid: !a.ValidatedAt.IsZero(),
			actionAuthorizationFail: a.Error != nil, actionAuthorizationEnd: !a.DeactivatedAt.IsZero(),
		})...)
	})
}

const allOrders = `SELECT ` + orderColumns + ` FROM orders WHERE id > ? ORDER BY id LIMIT ?`

func (c *checker) orders() error {
	return pages(c, allOrders, []byte{}, func(r *orderRow) any { return r.ID }, func(r *orderRow) error {
		o, err := c.withAuthorizations(r)
		if err != nil {
			return c.find("order %s: %v", r.ID.text(), err)
		}
		if err := c.authorized(o); err != nil {
			return err
		}
		return c.recorded("order", o.ID, actionsOf(map[string]bool{
			actionOrderCreate: true, actionOrderFinalize: !o.BeganAt.IsZero(), actionOrderFail: o.Error != nil,
		})...)
	})
}

// authorized compares an order with its authorizations.
func (c *checker) authorized(o *acme.Order) error {
	if len(o.Authorizations) != len(o.Identifiers) {
		return c.find("order %s has %d identifiers and %d authorizations", o.ID, len(o.Identifiers), len(o.Authorizations))
	}
	for i, a := range o.Authorizations {
		n := o.Identifiers[i]
		if a.Account != o.Account || a.Identifier != n.Base() || a.Wildcard != n.IsWildcard() {
			return c.find("order %s: its authorization %s is not for %s of the order's account", o.ID, a.ID, n)
		}
		if o.Issued() && a.ValidatedAt.IsZero() {
			return c.find("order %s was issued, and its authorization %s for %s was never valid", o.ID, a.ID, n)
		}
	}
	return nil
}

const (
	allCertificates = `SELECT ` + certificateColumns + fromCertificates + ` WHERE c.serial > ? ORDER BY c.serial LIMIT ?`
	namesOfOrder    = `SELECT identifiers FROM orders WHERE id = ?`
	countNames      = `SELECT COUNT(*) FROM certificate_names WHERE serial = ? AND name = ?`
)

func (c *checker) certificates() error {
	return pages(c, allCertificates, []byte{}, func(r *certificateRow) any { return r.Serial }, func(r *certificateRow) error {
		cert := r.certificate()
		if err := c.named(cert, r); err != nil {
			return err
		}
		return c.recorded("certificate", cert.Serial.String(), actionsOf(map[string]bool{
			actionCertificateReserve: true, actionCertificateIssue: len(cert.DER) > 0, actionCertificateRevoke: cert.Revocation != nil,
		})...)
	})
}

// named compares a certificate's names with its order's and with the index.
func (c *checker) named(cert *ca.Certificate, r *certificateRow) error {
	for _, n := range cert.Names {
		var rows int
		if err := c.get(&rows, countNames, r.Serial, n.String()); err != nil {
			return err
		}
		if rows == 0 {
			if err := c.find("certificate %s can't be found by its name %s", cert.Serial, n); err != nil {
				return err
			}
		}
	}
	if cert.Order == "" {
		return nil
	}
	var ordered struct {
		Names nameList `db:"identifiers"`
	}
	switch err := c.get(&ordered, namesOfOrder, r.Order); {
	case errors.Is(err, ca.ErrNotFound): // pruned by age
		return nil
	case err != nil:
		return err
	}
	if !slices.Equal(sorted(ordered.Names), sorted(cert.Names)) {
		return c.find("certificate %s is for %v, its order %s for %v", cert.Serial, cert.Names, cert.Order, ordered.Names)
	}
	return nil
}

func sorted(names []ca.Identifier) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.String()
	}
	slices.Sort(list)
	return list
}

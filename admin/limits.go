package admin

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// Limiter tells how the limits of an account stand, and ends its pauses.
type Limiter interface {
	AccountLimits(ctx context.Context, id string) (*acme.AccountLimits, error)
	// Unpause returns the names that the account is no longer paused for. The
	// zero name stands for all.
	Unpause(ctx context.Context, by ca.Actor, id string, name ca.Identifier) ([]ca.Identifier, error)
}

// AccountLimits is how the limits of an account stand.
type AccountLimits struct {
	Account    string        `json:"account"`
	Enabled    bool          `json:"enabled"`
	Concurrent int           `json:"concurrent_validations"` // 0: no bound
	Limits     []Limit       `json:"limits"`
	Failing    []FailingName `json:"failing"`
}

// Limit is how one bucket stands.
type Limit struct {
	Limit  string    `json:"limit"`
	Name   string    `json:"name,omitempty"` // where each name has its bucket
	Rate   string    `json:"rate"`           // "20/1h": twenty at once, and as many again over an hour
	Left   int       `json:"left"`
	FullAt time.Time `json:"full_at,omitzero"` // when it is full again; missing: it is
	Scope  string    `json:"scope,omitempty"`  // the entry of limits.overrides that sets the rate
}

// FailingName is a name whose validations fail one after the other.
type FailingName struct {
	Name     string    `json:"name"`
	Failures int       `json:"failures"`
	Since    time.Time `json:"since"`
	Last     time.Time `json:"last"`
	PausedAt time.Time `json:"paused_at,omitzero"` // from then on nothing is tried
}

func (a *Admin) accountLimits(r *request) (*reply, error) {
	if err := r.query.done(); err != nil {
		return nil, err
	}
	id := r.vars["id"]
	if !acme.ValidID(id) {
		return nil, problemf(http.StatusBadRequest, "%.40q is no ID.", id)
	}
	found, err := a.config.Engine.AccountLimits(r.ctx, id)
	if err != nil {
		return nil, err
	}
	out := AccountLimits{Account: id, Enabled: found.Enabled, Concurrent: found.Concurrent, Limits: []Limit{}, Failing: []FailingName{}}
	for _, b := range found.Buckets {
		out.Limits = append(out.Limits, Limit{
			Limit: b.Kind.String(), Name: b.About, Rate: b.Rate.String(), Left: b.Left, FullAt: b.FullAt.UTC(), Scope: b.Scope,
		})
	}
	for _, f := range found.Failing {
		out.Failing = append(out.Failing, FailingName{
			Name: f.Name.Value(), Failures: f.Run, Since: f.Since.UTC(), Last: f.Last.UTC(), PausedAt: f.PausedAt.UTC(),
		})
	}
	return ok(out), nil
}

// Unpaused is the answer to ending pauses.
type Unpaused struct {
	Account string   `json:"account"`
	Names   []string `json:"names"`
}

func (a *Admin) unpauseAccount(r *request) (*reply, error) {
	body, err := r.body("name")
	if err != nil {
		return nil, err
	}
	text, err := body.OptionalString("name")
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "The body can't be taken: %s.", err)
	}
	id := r.vars["id"]
	if !acme.ValidID(id) {
		return nil, problemf(http.StatusBadRequest, "%.40q is no ID.", id)
	}
	var name ca.Identifier
	if text != "" {
		typ := string(ca.DNS)
		if _, err := netip.ParseAddr(text); err == nil {
			typ = string(ca.IP)
		}
		if name, err = ca.ParseIdentifier(typ, text); err != nil {
			return nil, problemf(http.StatusBadRequest, "%.100q is no name: %s.", text, err)
		}
	}
	list, err := a.config.Engine.Unpause(r.ctx, r.by, id, name)
	if err != nil {
		return nil, err
	}
	out := Unpaused{Account: id, Names: make([]string, 0, len(list))}
	for _, n := range list {
		out.Names = append(out.Names, n.Value())
	}
	return ok(out), nil
}

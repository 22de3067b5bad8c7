package acme_test

import (
	"context"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// manyEyes validates as the world does, and has rows of perspectives.
type manyEyes struct {
	*world
	rows []ca.Perspective
}

func (m *manyEyes) Validate(ctx context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	e, problem := m.world.Validate(ctx, a)
	for _, row := range m.rows {
		e.Perspectives = append(e.Perspectives, acme.PerspectiveResult{Perspective: row})
	}
	if a.CAA == ca.CAAEnforce {
		e.CAA = &ca.CAAEvidence{At: m.now(), Allowed: true, Perspectives: m.rows}
	}
	return e, problem
}

func (m *manyEyes) CheckCAA(ctx context.Context, q acme.CAAQuestion) (*ca.CAAEvidence, *acme.Problem) {
	e, problem := m.world.CheckCAA(ctx, q)
	e.Perspectives = m.rows
	return e, problem
}

// TestOlderProofsAreMadeAnew: once perspectives are configured, authorizations
// from before are not reused, so that orders don't fail at signing. What is
// kept of the perspectives reaches the signing core.
func TestOlderProofsAreMadeAnew(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	w.obtain(c, newKey(t), "a.example")
	before := w.asked.Load()
	w.obtain(c, newKey(t), "a.example")
	if got := w.asked.Load(); got != before {
		t.Fatalf("%d validations for a name that was proven", got-before)
	}

	w.advance(time.Minute)
	policy := ca.PerspectivePolicy{Remotes: 2}
	eyes := &manyEyes{world: w, rows: []ca.Perspective{
		{Name: ca.PrimaryPerspective, Primary: true, Outcome: ca.OutcomePass},
		{Name: "fra", Outcome: ca.OutcomePass},
		{Name: "ams", Outcome: ca.OutcomeError, Why: "did not answer"},
	}}
	w.Validator, w.Settings.Perspectives = eyes, policy
	authority, ok := w.Issuer.(*ca.Authority)
	if !ok {
		t.Fatalf("the issuer is %T", w.Issuer)
	}
	authority.Perspectives = policy
	w.obtain(c, newKey(t), "a.example")
	if got := w.asked.Load(); got != before+1 {
		t.Fatalf("%d validations after perspectives came, want 1", got-before)
	}
	w.obtain(c, newKey(t), "a.example")
	if got := w.asked.Load(); got != before+1 {
		t.Errorf("%d validations for a name that enough perspectives saw", got-before-1)
	}
	a, created, err := w.NewAuthorization(t.Context(), c, names(t, "a.example")[0])
	must(t, err)
	if created || len(a.Evidence) == 0 {
		t.Error("a pre-authorization does not find the valid one")
	}

	// One more perspective: validated anew. Without the rows, nothing is issued.
	policy.Remotes = 3
	w.Settings.Perspectives, authority.Perspectives = policy, policy
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	if o, err = w.Finalize(t.Context(), c, o.ID, csrFor(t, newKey(t), "a.example")); err == nil && o.StatusAt(w.now()) == acme.StatusValid {
		t.Error("issued with fewer perspectives than are asked for")
	}
}

package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"chancery/ca"
)

// proofOf gathers why each name of a begun order may be certified: by which
// authorization, and what CAA records say. A look at CAA records that the
// validation made counts while it is fresh (BR 4.2.2.1: eight hours); what is
// older is looked at anew, name by name (SAFETY I1). The signing core checks
// the result; nothing here is its only guard.
//
// A *Problem is why the order can't be issued; any other error may pass.
func (s *Service) proofOf(ctx context.Context, o *Order) ([]ca.NameEvidence, error) {
	policy, err := s.Issuer.CAAPolicy(o.Profile)
	if err != nil {
		return nil, err
	}
	if len(o.Authorizations) != len(o.Identifiers) {
		return nil, fmt.Errorf("order %s has %d names and %d authorizations", o.ID, len(o.Identifiers), len(o.Authorizations))
	}
	now := s.now()
	proof := make([]ca.NameEvidence, len(o.Identifiers))
	var stale []int
	for i, name := range o.Identifiers {
		a := o.Authorizations[i]
		if a.Identifier != name.Base() || a.Wildcard != name.IsWildcard() || a.Account != o.Account {
			return nil, fmt.Errorf("order %s: authorization %s is not for %s", o.ID, a.ID, name)
		}
		proof[i] = ca.NameEvidence{Name: name, Authorization: a.ID, Method: string(a.Attempt), ValidatedAt: a.ValidatedAt}
		if s.Settings.Perspectives.Remotes > 0 {
			proof[i].Perspectives = perspectivesOf(a)
		}
		if policy.Mode == ca.CAAOff || !name.HasCAA() {
			continue
		}
		if proof[i].CAA = s.freshCAA(a, policy, now); proof[i].CAA == nil {
			stale = append(stale, i)
		}
	}
	problems := s.checkCAA(ctx, o, policy, proof, stale)
	if errors.Is(context.Cause(ctx), errStopping) {
		return nil, errStopping // whoever takes the order over looks again
	}
	if policy.Mode == ca.CAAReport || len(problems) == 0 {
		return proof, nil
	}
	return nil, caaProblem(problems)
}

// freshCAA is the look at CAA records that the validation made, if it counts:
// young enough, and asking what the profile asks. One that was no permission
// is not kept to: the records may have been corrected since.
func (s *Service) freshCAA(a *Authorization, policy ca.CAAPolicy, now time.Time) *ca.CAAEvidence {
	var e Evidence
	if len(a.Evidence) == 0 || json.Unmarshal(a.Evidence, &e) != nil || e.CAA == nil {
		return nil
	}
	// A minute is left for what comes between here and the signature.
	young := !e.CAA.At.After(now) && e.CAA.At.After(now.Add(-ca.CAALife+time.Minute))
	if !young || !e.CAA.Allowed || !slices.Equal(e.CAA.Require, policy.Require) || s.Settings.Perspectives.Flaw(e.CAA.Perspectives) != "" {
		return nil
	}
	return e.CAA
}

// perspectivesOf are the rows of the perspectives that saw the validation.
func perspectivesOf(a *Authorization) []ca.Perspective {
	var e Evidence
	if len(a.Evidence) == 0 || json.Unmarshal(a.Evidence, &e) != nil {
		return nil
	}
	rows := make([]ca.Perspective, 0, len(e.Perspectives))
	for i := range e.Perspectives {
		rows = append(rows, e.Perspectives[i].Perspective)
	}
	return rows
}

// corroborated leaves those authorizations that were seen from as many
// perspectives as are asked for now. Others, from before that was configured,
// would be refused at signing; the names are validated anew instead.
func (s *Service) corroborated(valid []*Authorization) []*Authorization {
	if s.Settings.Perspectives.Remotes == 0 {
		return valid
	}
	return slices.DeleteFunc(valid, func(a *Authorization) bool {
		return s.Settings.Perspectives.Flaw(perspectivesOf(a)) != ""
	})
}

// checkCAA looks at the CAA records of the names with these indexes, some side
// by side, puts what it found into proof, and returns a problem for each name
// that is not allowed.
func (s *Service) checkCAA(ctx context.Context, o *Order, policy ca.CAAPolicy, proof []ca.NameEvidence, indexes []int) []*Problem {
	ctx, cancel := context.WithTimeout(ctx, s.validationTime())
	defer cancel()
	problems := make([]*Problem, len(proof))
	places := make(chan struct{}, caaAtOnce)
	var wg sync.WaitGroup
	for _, i := range indexes {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			e := &proof[i]
			q := CAAQuestion{Name: e.Name, Method: ChallengeType(e.Method), AccountURL: s.accountURL(o.Account), Require: policy.Require}
			found, problem := s.Validator.CheckCAA(ctx, q)
			e.CAA = found
			s.sawCAA(ctx, policy.Mode, e.Name, found)
			if problem != nil {
				p := *problem
				p.Identifier = &e.Name
				problems[i] = &p
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(problems, func(p *Problem) bool { return p == nil })
}

// sawCAA tells metrics and, when a profile only reports, the log.
func (s *Service) sawCAA(ctx context.Context, mode ca.CAAMode, name ca.Identifier, found *ca.CAAEvidence) {
	if s.Hooks.CAA != nil {
		outcome := found.Problem
		if found.Allowed {
			outcome = "allowed"
		}
		s.Hooks.CAA(mode, outcome)
	}
	if !found.Allowed && mode == ca.CAAReport {
		s.log().WarnContext(ctx, "CAA records don't allow a name; that is only reported", "name", name.Value(), "problem", found.Problem, "detail", found.Why)
	}
}

// caaProblem is the problem of an order of which these names, at least one, are
// not allowed: caa if records forbid any, else that nobody knows. Each name has
// its subproblem (RFC 8555 section 6.7.1).
func caaProblem(problems []*Problem) *Problem {
	rank := map[Kind]int{CAA: 2, DNS: 1}
	first := slices.MaxFunc(problems, func(a, b *Problem) int { return rank[a.Kind] - rank[b.Kind] })
	whole := &Problem{Kind: first.Kind, Detail: first.Detail, Subproblems: problems}
	if len(problems) > 1 {
		whole.Detail = fmt.Sprintf("CAA records don't let this CA certify %d of the order's names, or could not be looked up; see the subproblems. One of them: %s", len(problems), first.Detail)
	}
	return whole
}

func (s *Service) accountURL(id string) string {
	if s.AccountURL == nil {
		return ""
	}
	return s.AccountURL(id)
}

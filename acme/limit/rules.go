package limit

import "time"

// Rules are all the limits of a Chancery. A nil *Rules limits nothing.
type Rules struct {
	Rates [Kinds]Rate

	// Concurrent is how many validations of one account run at once; further
	// ones wait. 0: no bound.
	Concurrent int
	// Retries is how many validations run at once of names that failed over
	// and over, all accounts together, so that those who only ever fail don't
	// hold up the others. 0: no bound.
	Retries int

	Pause Pause

	// Overrides are the exceptions: for accounts by "account:"+ID, and for
	// those that an external account key bound by "eab:"+key ID.
	Overrides map[string]Override
}

// Pause says when an account is paused for a name: after so many failed
// validations of it, with no valid one among them, over so long a time.
// After 0: never.
type Pause struct {
	After int
	Over  time.Duration
}

// Due says whether a run of failures is one to pause for.
func (p Pause) Due(run int, since, now time.Time) bool {
	return p.After > 0 && run >= p.After && now.Sub(since) >= p.Over
}

// Override is what is different for some: only what is named here.
type Override struct {
	Rates      map[Kind]Rate
	Concurrent *int
}

// The two things that an override can be for.
const (
	OverrideAccount = "account:"
	OverrideKey     = "eab:"
)

// Default are the rules that hold when nobody says anything.
func Default() *Rules {
	r := &Rules{
		Concurrent: 50,
		Retries:    25,
		Pause:      Pause{After: 100, Over: 24 * time.Hour},
	}
	for _, row := range table {
		r.Rates[row.kind] = row.initial
	}
	return r
}

// View is how the rules are for one account.
type View struct {
	rules        *Rules
	account      string
	byAccount    Override
	byKey        Override
	keyScope     string
	accountScope string
}

// For finds the rules of an account (empty: one that is yet to be made) that
// was bound by an external account key (empty: by none).
func (r *Rules) For(account, externalKey string) View {
	v := View{rules: r, account: account}
	if r == nil {
		return v
	}
	if account != "" {
		v.accountScope = OverrideAccount + account
		v.byAccount = r.Overrides[v.accountScope]
	}
	if externalKey != "" {
		v.keyScope = OverrideKey + externalKey
		v.byKey = r.Overrides[v.keyScope]
	}
	return v
}

// Rate is the rate of a limit. scope is not empty where an exception holds:
// "account:…" or "eab:…".
func (v View) Rate(k Kind) (rate Rate, scope string) {
	if v.rules == nil {
		return Rate{}, ""
	}
	if r, ok := v.byAccount.Rates[k]; ok {
		return r, v.accountScope
	}
	if r, ok := v.byKey.Rates[k]; ok {
		return r, v.keyScope
	}
	return v.rules.Rates[k], ""
}

// Concurrent is how many validations of the account run at once. 0: no bound.
func (v View) Concurrent() int {
	switch {
	case v.rules == nil:
		return 0
	case v.byAccount.Concurrent != nil:
		return *v.byAccount.Concurrent
	case v.byKey.Concurrent != nil:
		return *v.byKey.Concurrent
	}
	return v.rules.Concurrent
}

// Spend is one token of one bucket. False: this is not limited.
//
// about is what the bucket counts: an address, a name, a domain; it is empty
// where the bucket is the account's. A limit that all accounts share is
// counted apart for those who have an exception: two rates can't share a
// bucket.
func (v View) Spend(k Kind, about string) (Spend, bool) {
	rate, scope := v.Rate(k)
	if rate.Off() {
		return Spend{}, false
	}
	whose := scope
	if k.ofAccount() {
		whose = v.account
	}
	return Spend{Kind: k, Key: newKey(k.String(), whose, about), Rate: rate, About: about}, true
}

package ca

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// promise is everything that a certificate must keep, beside its own request:
// the issuer's constraints, the rule set, the profile and its lists.
type promise struct {
	issuer  *Issuer
	profile *Profile
	rules   *Rules
	denied  *NameList
}

func (a *Authority) promise(issuer *Issuer, p *Profile) promise {
	return promise{issuer: issuer, profile: p, rules: a.rules(), denied: a.DeniedNames}
}

// maxValidity is the most of profile and rules, for what is signed at this instant.
func (pr promise) maxValidity(now time.Time) time.Duration {
	return min(pr.profile.MaxValidity, pr.rules.MaxValidityAt(now))
}

// validity is the profile's, cut to what the rules allow at `now`.
func (a *Authority) validity(p *Profile, ask span, now time.Time, grace time.Duration) (from, to time.Time, err error) {
	held := *p
	held.MaxValidity = min(p.MaxValidity, a.rules().MaxValidityAt(now))
	held.Validity = min(p.Validity, held.MaxValidity)
	return held.validity(ask, now, grace, a.Issuers[0].Certificate())
}

// permit is permitNames for what others order. The names of Chancery's own
// certificate are the operator's own configuration, localhost among them, so
// that rules and lists, which are about what others ask for, are not asked.
// The issuer's constraints are.
func (pr promise) permit(own bool, names []Identifier) error {
	if own {
		return pr.judge(names, pr.constrained)
	}
	return pr.permitNames(names)
}

// permitNames says whether these names may be certified together.
func (pr promise) permitNames(names []Identifier) error { return pr.judge(names, pr.objection) }

// judge asks for 1 to 100 different names to which there is no objection. The
// error has a part for each name to which there is one (RFC 8555 section 6.7.1).
func (pr promise) judge(names []Identifier, objection func(Identifier) string) error {
	if len(names) == 0 || len(names) > maxNames {
		return &Refusal{Code: MalformedIdentifier, Detail: fmt.Sprintf("%d names; a certificate has 1 to %d", len(names), maxNames)}
	}
	seen := make(map[Identifier]bool, len(names))
	var parts []*Refusal
	for _, id := range names {
		switch {
		case id == Identifier{}:
			return &Refusal{Code: MalformedIdentifier, Detail: "an empty name"}
		case seen[id]:
			return &Refusal{Code: MalformedIdentifier, Detail: fmt.Sprintf("%s is there twice", id), Identifier: &id}
		}
		seen[id] = true
		if why := objection(id); why != "" {
			parts = append(parts, &Refusal{Code: RejectedIdentifier, Identifier: &id, Detail: id.String() + " " + why})
		}
	}
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return parts[0]
	}
	return &Refusal{
		Code: RejectedIdentifier, Parts: parts,
		Detail: fmt.Sprintf("%d of the names are not certified here; first: %s", len(parts), parts[0].Detail),
	}
}

// constrained is what the issuer's own certificate has against a name.
func (pr promise) constrained(id Identifier) string {
	if !pr.issuer.names.allow(id) {
		return "lies outside of the issuer's name constraints (RFC 5280 section 4.2.1.10)"
	}
	return ""
}

// objection is what there is against a name, "" for nothing.
func (pr promise) objection(id Identifier) string {
	if why := pr.constrained(id); why != "" {
		return why
	}
	if _, denied := pr.denied.Touches(id); denied { // which entry it was is not for strangers
		return "is on this CA's list of names that are not certified; ask its operator"
	}
	if p, denied := pr.profile.DeniedNames.Touches(id); denied {
		return fmt.Sprintf("is not certified under profile %s, whose denied_names have %s", pr.profile.Name, p)
	}
	_, listed := pr.profile.AllowedNames.Holds(id)
	if pr.profile.AllowedNames != nil && !listed {
		return fmt.Sprintf("is not among the allowed_names of profile %s", pr.profile.Name)
	}
	class, decision := pr.rules.classOf(id)
	switch decision {
	case Permit:
		return ""
	case Listed:
		if listed {
			return ""
		}
		return fmt.Sprintf("is a %s (%s; %s), which is certified only where a profile's allowed_names have it", class.Name, class.What, class.Reference)
	case Refuse:
	}
	return fmt.Sprintf("is not certified under the rules of this CA: %s (%s; %s)", class.Name, class.What, class.Reference)
}

// CheckAccountKey says whether a key may be an account's: what CheckKey says,
// and whether it is known to be weak, compromised or blocked (RFC 8555 section
// 6.2). Besides *Refusal with BadPublicKey, an error of BlockedKeys is possible.
func (a *Authority) CheckAccountKey(ctx context.Context, key crypto.PublicKey) error {
	spki, err := SPKIHash(key)
	if err != nil {
		return badKey("a key of type %T is not served; use RSA, ECDSA or Ed25519", key)
	}
	if err := CheckKey(key); err != nil {
		return err
	}
	return a.checkKnown(ctx, key, spki)
}

// checkKnown refuses keys that are known by name to be bad (BR 6.1.1.3).
func (a *Authority) checkKnown(ctx context.Context, key crypto.PublicKey, spki [32]byte) error {
	if a.WeakKeys.Has(key, spki) {
		return badKey("the key is on a list of keys that are known to be weak or compromised; make a new one")
	}
	if a.BlockedKeys == nil {
		return nil
	}
	blocked, err := a.BlockedKeys(ctx, spki)
	if err != nil { // and never on with a key that could not be looked up
		return fmt.Errorf("is the key blocked: %w", err)
	}
	if blocked {
		return blockedKey()
	}
	return nil
}

func blockedKey() error {
	return badKey("the key is blocked here: its private half was shown to others, or this CA's operator blocked it; make a new one")
}

// keyOfCSR says of a key in a CSR what was said of the key.
func keyOfCSR(err error) error {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return badCSR("the CSR's key can't be certified: %s", r.Detail)
	}
	return err
}

// Proof is a row of the table of methods that prove control.
type Proof struct {
	Method             string
	Name, Wildcard, IP bool
}

// Proofs are the methods by which control is proven, and for what, as the
// signing core holds its callers to them.
func Proofs() []Proof {
	var list []Proof
	for _, method := range slices.Sorted(maps.Keys(proofs)) {
		list = append(list, Proof{Method: method, Name: true, Wildcard: proofs[method].wildcard, IP: proofs[method].ip})
	}
	return list
}

// KeyRule is a rule that every key is under, of certificates and of accounts.
type KeyRule struct{ Rule, Reference string }

// KeyRules are the rules of CheckKey and CheckAccountKey, in words, with the
// numbers that the code has.
func KeyRules() []KeyRule {
	return []KeyRule{
		{"kinds: RSA, ECDSA on P-256, P-384 or P-521, Ed25519", "BR 6.1.5; RFC 8410"},
		{fmt.Sprintf("RSA: %d to %d bits, a number of bits that 8 divides", minRSABits, maxRSABits), "BR 6.1.5"},
		{fmt.Sprintf("RSA: an odd public exponent from %d to 2^31-1", minRSAExponent), "BR 6.1.6"},
		{"RSA: an odd modulus without a factor below 752, that is no power of one number", "BR 6.1.6, SP 800-89 section 5.3.3"},
		{fmt.Sprintf("RSA: no factors that %d rounds of Fermat's method find", fermatRounds), "BR 6.1.1.3"},
		{"RSA: not with the structure of ROCA", "BR 6.1.1.3, CVE-2017-15361"},
		{"RSA: not on a list of Debian's weak keys, when policy.weak_keys has one", "BR 6.1.1.3, CVE-2008-0166"},
		{"ECDSA: a point of the curve, not infinity, in the uncompressed form, on a named curve", "BR 6.1.6, SP 800-56A section 5.6.2.3.3"},
		{"Ed25519: in its canonical encoding, not of small order", "RFC 8032"},
		{"not blocked: not shown to be compromised by a revocation that the key signed, not blocked by the operator, not in policy.weak_keys", "BR 4.9.1.1, 6.1.1.3"},
		{"not a key for another purpose: a CA's; an account's, for a certificate; a certificate's, for an account", "RFC 8555 section 11.1"},
	}
}

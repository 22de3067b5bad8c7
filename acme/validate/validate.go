package validate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// Defaults and limits of Config.
const (
	DefaultTimeout       = 10 * time.Second // SAFETY row 152: an answer to the client within 10 s, whatever the peer does
	maxTimeout           = 5 * time.Minute  // longer than any lease of a validation would make replicas take over what still runs
	DefaultMaxConcurrent = 100
	maxConcurrent        = 10_000 // each holds a socket; beyond this, file descriptors run out first
	DefaultUserAgent     = "chancery-acme-validation"
	maxUserAgent         = 200
)

// Config says how to validate. The zero Config is usable.
type Config struct {
	// Resolvers are the DNS servers to ask, each as ParseResolver has it.
	// Empty: those of /etc/resolv.conf, and /etc/hosts for addresses.
	Resolvers []string
	// Zones have servers of their own, for split horizon. The longest zone in
	// which a name lies counts.
	Zones map[string][]string
	// ResolverRoots verify the certificates of tls:// resolvers; nil: the system's.
	ResolverRoots *x509.CertPool
	PlainCase     bool   // don't mix the case of names in queries
	DNSSEC        string // DNSSECOff (or empty) or DNSSECRequireAD

	// CAAIdentities are the domains by which CAA records mean this CA. With
	// none, a name whose records name any issuer is not allowed.
	CAAIdentities []string

	HTTPPort int // http-01 connects here; 0: 80
	TLSPort  int // tls-alpn-01, and https after a redirect, connect here; 0: 443

	Timeout       time.Duration // of one validation as a whole; 0: DefaultTimeout
	MaxConcurrent int           // validations at a time, others wait; 0: DefaultMaxConcurrent
	PerTarget     int           // connections to one address at a time, others wait; 0: no bound
	UserAgent     string        // of http-01; empty: DefaultUserAgent

	// DeniedNetworks are never connected to. AllowedNetworks, unless empty,
	// are the only ones connected to. Both see the address unmapped; what is
	// never sensible (see always) is denied whatever they say. Allow, unless
	// nil, has the last word; the client's owner sees its error's text.
	DeniedNetworks  []netip.Prefix
	AllowedNetworks []netip.Prefix
	Allow           func(netip.Addr) error

	Now func() time.Time // for the evidence; nil: time.Now
	Log *slog.Logger     // faults of our own only; nil: none
}

// What Config.DNSSEC may be.
const (
	DNSSECOff = "off"
	// DNSSECRequireAD believes answers of Resolvers only with the AD bit, so
	// those must be validating, and the way to them safe: on this machine, or
	// over TLS. The servers of Zones are believed without it.
	DNSSECRequireAD = "require-ad"
)

// Validator validates challenges; see New. It implements acme.Validator and
// may be used by many goroutines at once.
type Validator struct {
	resolver  *resolver
	policy    policy
	httpPort  uint16
	tlsPort   uint16
	timeout   time.Duration
	slots     chan struct{}
	userAgent string
	now       func() time.Time
	log       *slog.Logger

	identities  []string // lower case
	targetTurns turnstiles

	looks chan struct{} // CAA looks of their own, as slots is for validations
}

var _ acme.Validator = (*Validator)(nil)

// New makes a Validator. The error tells all that is wrong with the Config.
func New(c Config) (*Validator, error) {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(c.HTTPPort >= 0 && c.HTTPPort <= 65535, "http port %d: want 1 to 65535", c.HTTPPort)
	check(c.TLSPort >= 0 && c.TLSPort <= 65535, "tls port %d: want 1 to 65535", c.TLSPort)
	check(c.Timeout >= 0 && c.Timeout <= maxTimeout, "timeout %s: want more than 0 and at most %s", c.Timeout, maxTimeout)
	check(c.MaxConcurrent >= 0 && c.MaxConcurrent <= maxConcurrent, "max concurrent %d: want 1 to %d", c.MaxConcurrent, maxConcurrent)
	check(c.PerTarget >= 0 && c.PerTarget <= maxConcurrent, "per target %d: want 0 to %d", c.PerTarget, maxConcurrent)
	check(len(c.UserAgent) <= maxUserAgent && printable(c.UserAgent), "user agent %s: want at most %d printable ASCII characters", excerpt(c.UserAgent), maxUserAgent)
	for _, p := range slices.Concat(c.DeniedNetworks, c.AllowedNetworks) {
		check(p.IsValid(), "network: not a valid prefix")
	}
	identities, err := parseIdentities(c.CAAIdentities)
	faults = append(faults, err)
	if c.Now == nil {
		c.Now = time.Now //nolint:forbidigo // the field's default
	}
	timeout := or(c.Timeout, DefaultTimeout)
	resolver, err := newResolver(c, timeout, c.Now)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	v := &Validator{
		resolver:  resolver,
		policy:    policy{denied: unmapAll(c.DeniedNetworks), allowed: unmapAll(c.AllowedNetworks), hook: c.Allow},
		httpPort:  uint16(or(c.HTTPPort, 80)), // #nosec G115 -- checked above
		tlsPort:   uint16(or(c.TLSPort, 443)), // #nosec G115 -- checked above
		timeout:   timeout,
		slots:     make(chan struct{}, or(c.MaxConcurrent, DefaultMaxConcurrent)),
		userAgent: or(c.UserAgent, DefaultUserAgent),
		now:       c.Now,
		log:       c.Log,
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	v.identities = identities
	v.targetTurns.most = c.PerTarget
	v.looks = make(chan struct{}, cap(v.slots))
	return v, nil
}

// or is value, or fallback when value is zero.
func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// A method is one row of the table method x identifier.
type method struct {
	types    []ca.IdentifierType
	wildcard bool
	prove    func(*Validator, context.Context, *trace, acme.Attempt) error
}

// methods says which names each challenge type can prove. http-01 and
// tls-alpn-01 show control of one host, never of what is below it (BR
// 3.2.2.4.19 and .20), so they can't stand for a wildcard; dns-01 has no
// meaning for an address (RFC 8738 section 7).
var methods = map[acme.ChallengeType]method{
	acme.HTTP01:    {[]ca.IdentifierType{ca.DNS, ca.IP}, false, (*Validator).http01},
	acme.DNS01:     {[]ca.IdentifierType{ca.DNS}, true, (*Validator).dns01},
	acme.TLSALPN01: {[]ca.IdentifierType{ca.DNS, ca.IP}, false, (*Validator).tlsALPN01},
}

// Validate runs one attempt and always returns its evidence. The problem is
// nil only when control was proven. It returns soon after ctx ends, and at
// the latest Config.Timeout after it got a slot. When ctx was canceled (a
// shutdown), the problem is serverInternal and says nothing about the name.
func (v *Validator) Validate(ctx context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	started := v.now()
	t := newTrace(a, started)
	problem := v.verdict(ctx, a, v.attempt(ctx, t, a))
	return t.end(v.now().Sub(started), problem), problem
}

// attempt is the way from an Attempt to nil (proven) or the reason.
func (v *Validator) attempt(ctx context.Context, t *trace, a acme.Attempt) (err error) {
	defer func() {
		if r := recover(); r != nil { // a fault of ours must fail this validation, not the CA
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	m, err := methodFor(a)
	if err != nil {
		return err
	}
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return acme.Problemf(acme.ServerInternal, "%s: too many validations are running; nothing was looked up; try again later", a.Identifier.Value())
	}
	if a.Identifier.Type() == ca.IP {
		if _, err := v.policy.permit(a.Identifier.Addr()); err != nil {
			t.step("policy", a.Identifier.Value(), "", "refused: "+err.Error())
			return acme.Problemf(acme.RejectedIdentifier, "%s: this CA does not connect there (%v); ask its operator, or use a name", a.Identifier.Value(), err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	allowed := v.caaAside(ctx, t, a)
	err = m.prove(v, ctx, t, a)
	if forbidden := allowed(); err == nil {
		err = forbidden
	}
	return err
}

// methodFor finds the method and refuses what it can't prove. The engine
// offers no such challenge; this is the second look.
func methodFor(a acme.Attempt) (method, error) {
	m, ok := methods[a.Type]
	switch {
	case !ok:
		return m, acme.Problemf(acme.Malformed, "challenge type %s is not served", excerpt(string(a.Type)))
	case !slices.Contains(m.types, a.Identifier.Type()):
		return m, acme.Problemf(acme.RejectedIdentifier, "%s can't prove control of %s; use another challenge", a.Type, a.Identifier)
	case a.Wildcard && !m.wildcard:
		return m, acme.Problemf(acme.RejectedIdentifier, "%s can't prove control of the wildcard name *.%s; use dns-01", a.Type, a.Identifier.Value())
	case !isToken(a.Token) || !strings.HasPrefix(a.KeyAuthorization, a.Token+"."):
		return m, fmt.Errorf("token or key authorization is not one of RFC 8555 section 8.1")
	}
	return m, nil
}

// isToken says whether s is base64url, as tokens are (RFC 8555 section 8.3):
// the token becomes part of a URL, so nothing else may be in it (I24, I32).
func isToken(s string) bool {
	if len(s) < 22 || len(s) > 128 { // 22 characters are the least 128 bits
		return false
	}
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// verdict makes a problem of what attempt returned.
func (v *Validator) verdict(ctx context.Context, a acme.Attempt, err error) *acme.Problem {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return acme.Problemf(acme.ServerInternal, "the validation of %s was interrupted here before it ended; try again", a.Identifier.Value())
	}
	var p *acme.Problem
	if errors.As(err, &p) {
		return p
	}
	v.log.Error("validation broke", "type", string(a.Type), "identifier", a.Identifier.Value(), "error", err)
	return acme.Problemf(acme.ServerInternal, "the validation of %s could not be carried out here; try again later", a.Identifier.Value())
}

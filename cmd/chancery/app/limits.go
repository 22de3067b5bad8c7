package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"chancery/acme"
	"chancery/acme/limit"
)

// LimitsConfig are the rate limits.
type LimitsConfig struct {
	Enabled   bool
	Rules     limit.Rules
	PerTarget int // connections of validations to one address at once, 0: no bound
}

func defaultLimits() LimitsConfig {
	return LimitsConfig{Enabled: true, Rules: *limit.Default(), PerTarget: 20}
}

// rules are the limits in force; nil: none are.
func (l *LimitsConfig) rules() *limit.Rules {
	if !l.Enabled {
		return nil
	}
	return &l.Rules
}

func (l *LimitsConfig) perTarget() int {
	if !l.Enabled {
		return 0
	}
	return l.PerTarget
}

// maxOverrides bounds the exceptions.
const maxOverrides = 1000

// Ranges of the numbers (invariant 8).
var (
	parseAtOnce     = parseCount(0, 10_000) // as validation.max_concurrent; 0: no bound
	parsePauseAfter = parseCount(0, 1_000_000)
	parsePauseOver  = parseDuration(0, 30*day) // a run is forgotten when nothing was added for 30 days
	parsePerIP      = parseCount(0, 1_000_000)
)

// concurrentKey is the one key of limits, beside the rates, that an exception
// may have too.
const concurrentKey = "concurrent_validations_per_account"

// limitKeys are the keys of limits: a rate for each kind there is, and the rest.
func limitKeys() []key {
	out := []key{
		{"limits.enabled", "rate limits; false for load and conformance runs", into(parseBool, func(c *Config) *bool { return &c.Limits.Enabled })},
	}
	for k := range limit.Kinds {
		out = append(out, key{
			"limits." + k.String(), k.Says() + ": so many at once, and as many again over a time, 20/1h; or off",
			into(parseRate, func(c *Config) *limit.Rate { return &c.Limits.Rules.Rates[k] }),
		})
	}
	return append(out,
		key{"limits." + concurrentKey, "validations of one account at once, others wait; 0: no bound", into(parseAtOnce, func(c *Config) *int { return &c.Limits.Rules.Concurrent })},
		key{"limits.concurrent_retries", "validations at once of names that failed three times and more in a row, all accounts together; 0: no bound", into(parseAtOnce, func(c *Config) *int { return &c.Limits.Rules.Retries })},
		key{"limits.connections_per_target", "connections of validations to one address at once, others wait; 0: no bound", into(parseAtOnce, func(c *Config) *int { return &c.Limits.PerTarget })},
		key{"limits.pause_after", "an account is paused for a name after so many failures in a row …; 0: never", into(parsePauseAfter, func(c *Config) *int { return &c.Limits.Rules.Pause.After })},
		key{"limits.pause_over", "… over so long a time (chancery account unpause)", into(parsePauseOver, func(c *Config) *time.Duration { return &c.Limits.Rules.Pause.Over })},
		key{"limits.overrides", "exceptions: {\"account:ID\": {new_orders_per_account: 50000/1h}, \"eab:ID\": {…}}", into(parseOverrides, func(c *Config) *map[string]limit.Override { return &c.Limits.Rules.Overrides })},
	)
}

// parseRate takes "20/1h", or "off".
func parseRate(v value) (limit.Rate, error) {
	s, err := v.one()
	if err != nil || s == "off" {
		return limit.Rate{}, err
	}
	const how = "write for example 20/1h (twenty at once, and as many again over an hour), or off"
	count, over, ok := strings.Cut(s, "/")
	burst, err := strconv.Atoi(count)
	if !ok || err != nil {
		return limit.Rate{}, fmt.Errorf("%q is no rate; %s", s, how)
	}
	per, err := duration(over)
	switch {
	case err != nil:
		return limit.Rate{}, fmt.Errorf("%q is no rate: %w; %s", s, err, how)
	case burst < 1 || burst > limit.MaxBurst: // nobody means "nothing at all", and off is said by its name
		return limit.Rate{}, fmt.Errorf("%q allows %d at once, which is outside of 1 to %d; %s", s, burst, limit.MaxBurst, how)
	case per < limit.MinPer || per > limit.MaxPer:
		return limit.Rate{}, fmt.Errorf("%q is over %s, which is outside of %s to %s", s, over, words(limit.MinPer), words(limit.MaxPer))
	}
	return limit.Rate{Burst: burst, Per: per}, nil
}

// parseOverrides takes a map from "account:ID" or "eab:ID" to what is different.
func parseOverrides(v value) (map[string]limit.Override, error) {
	if v.kind == scalar && v.at.outside() {
		inner, err := v.inner()
		if err != nil {
			return nil, err
		}
		v = inner
	}
	switch {
	case v.kind == nothing || v.kind == mapping && len(v.fields) == 0:
		return nil, nil
	case v.kind != mapping:
		return nil, fmt.Errorf("wants a map of exceptions, found %s", v.kind)
	case len(v.fields) > maxOverrides:
		return nil, fmt.Errorf("has more than %d exceptions", maxOverrides)
	}
	out := make(map[string]limit.Override, len(v.fields))
	var faults []error
	for _, f := range v.fields {
		o, err := parseOverride(f)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", f.name, err))
			continue
		}
		out[f.name] = o
	}
	if len(faults) > 0 {
		return nil, oneLine(faults)
	}
	return out, nil
}

// oneLine joins mistakes of one key: each key has one line in the report.
func oneLine(faults []error) error {
	texts := make([]string, len(faults))
	for i, err := range faults {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

func parseOverride(f field) (limit.Override, error) {
	id, isAccount := strings.CutPrefix(f.name, limit.OverrideAccount)
	id2, isKey := strings.CutPrefix(f.name, limit.OverrideKey)
	if isKey {
		id = id2
	}
	switch {
	case !isAccount && !isKey:
		return limit.Override{}, fmt.Errorf("is for nobody; write %sID or %sID", limit.OverrideAccount, limit.OverrideKey)
	case !acme.ValidID(id):
		return limit.Override{}, errors.New("has no ID in it; `chancery account list` and `chancery eab list` show them")
	case f.kind != mapping || len(f.fields) == 0:
		return limit.Override{}, errors.New("wants a map of limits")
	}
	o := limit.Override{Rates: map[limit.Kind]limit.Rate{}}
	for _, in := range f.fields {
		if in.name == concurrentKey {
			n, err := parseAtOnce(in.value)
			if err != nil {
				return o, fmt.Errorf("%s: %w", in.name, err)
			}
			o.Concurrent = &n
			continue
		}
		kind, ok := limit.ParseKind(in.name)
		if !ok {
			return o, fmt.Errorf("%s is no limit that can have an exception", in.name)
		}
		if kind == limit.NewAccountsPerIP && isAccount {
			return o, fmt.Errorf("%s is for accounts that are yet to be made; write it under %sID", in.name, limit.OverrideKey)
		}
		rate, err := parseRate(in.value)
		if err != nil {
			return o, fmt.Errorf("%s: %w", in.name, err)
		}
		o.Rates[kind] = rate
	}
	return o, nil
}

// perNetwork is a listener that takes at most so many connections at once from
// one IPv4 address, or one IPv6 /48 (SAFETY row 28): further ones are closed
// before they cost a TLS handshake, so that one client can't hold all places.
type perNetwork struct {
	net.Listener
	most int

	mu   sync.Mutex
	open map[netip.Prefix]int
}

// limitNetworks puts the bound in front of a listener; 0 is none.
func limitNetworks(l net.Listener, most int) net.Listener {
	if most <= 0 {
		return l
	}
	return &perNetwork{Listener: l, most: most, open: make(map[netip.Prefix]int)}
}

// Accept implements net.Listener.
func (p *perNetwork) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.RemoteAddr().(*net.TCPAddr)
		if !ok { // the doors are TCP
			_ = c.Close()
			continue
		}
		from := limit.Prefix(tcp.AddrPort().Addr())
		if !p.enter(from) {
			_ = c.Close() // before anything was said
			continue
		}
		return &placed{Conn: c, leave: sync.OnceFunc(func() { p.leave(from) })}, nil
	}
}

func (p *perNetwork) enter(from netip.Prefix) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[from] >= p.most {
		return false
	}
	p.open[from]++
	return true
}

func (p *perNetwork) leave(from netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[from]--; p.open[from] == 0 {
		delete(p.open, from)
	}
}

// placed is a connection that gives its place back when it is closed.
type placed struct {
	net.Conn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

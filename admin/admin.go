package admin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"chancery/acme"
	"chancery/ca"
	"chancery/crl"
)

// Engine is the part of *acme.Service that an operator commands. Its errors
// are *acme.Problem, and ca.ErrNotFound of Revoke.
type Engine interface {
	Revoke(ctx context.Context, r ca.Revocation) error
	RevokeAccount(ctx context.Context, by ca.Actor, id string) (*acme.Account, error)
	ExternalKeyKeeper
	KeyBlocker
	Limiter
}

// ExternalKeyKeeper keeps the keys of external account bindings.
type ExternalKeyKeeper interface {
	CreateExternalKey(ctx context.Context, by ca.Actor, w acme.NewExternalKey) (*acme.ExternalKey, []byte, error)
	ExternalKeys(ctx context.Context) ([]*acme.ExternalKey, error)
	RevokeExternalKey(ctx context.Context, by ca.Actor, id string) error
}

// KeyBlocker blocks keys.
type KeyBlocker interface {
	// BlockKey says how many certificates were revoked for it.
	BlockKey(ctx context.Context, by ca.Actor, spki [32]byte, comment string) (revoked int, err error)
	UnblockKey(ctx context.Context, by ca.Actor, spki [32]byte) error
}

// Config is everything that New needs. Store, Engine, Chains, Lists, Token and
// Metrics must be there.
type Config struct {
	Store   Store
	Engine  Engine
	Chains  func(c *ca.Certificate) ([][]byte, error) // in PEM, the default first: ca.Authority.Chains
	Lists   Lists                                     // where published CRLs are, for /readyz and /metrics
	Shards  []crl.Shard                               // the lists that must be there and fresh
	Fixed   []crl.List                                // lists that do not change while the process runs: the root's. For /metrics; DER is not read
	Issuers []IssuerStatus
	Checks  []Check // further ones for /readyz
	Metrics *Metrics

	Token string           // bearer token, as CreateToken makes them
	Hosts []string         // names by which this listener may be asked, beside localhost and IP addresses
	Log   *slog.Logger     // nil: slog.Default
	Now   func() time.Time // nil: time.Now
}

// Admin is the operator's door, an http.Handler.
type Admin struct {
	config  Config
	routes  *mux.Router
	health  health
	token   [sha256.Size]byte
	hosts   map[string]bool
	working chan struct{} // one slot for each API request under way
}

// Bounds of the door (invariant 8).
const (
	requestTime = 30 * time.Second // one request, a full page over a big store included
	maxBody     = 16 << 10         // the largest body has a label of 200 octets
	maxQuery    = 4 << 10
	maxWorking  = 32 // API requests at once; more are told to come again
	maxHosts    = 100
)

// New checks the configuration and makes the door. It registers the scrape
// collector with c.Metrics, so it can be called once for each Metrics.
func New(c Config) (*Admin, error) {
	if c.Store == nil || c.Engine == nil || c.Chains == nil || c.Lists == nil || c.Metrics == nil {
		return nil, errors.New("admin: Store, Engine, Chains, Lists and Metrics are needed")
	}
	if err := checkToken(c.Token); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if len(c.Hosts) > maxHosts {
		return nil, fmt.Errorf("admin: %d hosts, at most %d can be configured", len(c.Hosts), maxHosts)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &Admin{config: c, token: sha256.Sum256([]byte(c.Token)), hosts: map[string]bool{}, working: make(chan struct{}, maxWorking)}
	for _, h := range c.Hosts {
		a.hosts[strings.ToLower(strings.TrimSuffix(h, "."))] = true
	}
	lists := &published{lists: c.Lists, shards: c.Shards}
	checks := append([]Check{checkStore(c.Store), checkIssuers(c.Issuers), checkLists(lists)}, c.Checks...)
	a.health = health{checks: checks, now: c.Now, log: c.Log}
	failed := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "state_failures_total", Help: "Scrapes for which the store did not answer, so that its series are missing."})
	if err := c.Metrics.registry.Register(&state{store: c.Store, published: lists, fixed: c.Fixed, issuers: c.Issuers, now: c.Now, failed: failed}); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	a.routes = a.router()
	return a, nil
}

// ServeHTTP refuses what no route may ever see, then routes.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if p := a.refuse(r); p != nil {
		a.config.Metrics.admin("refused", p.Status)
		writeProblem(w, p)
		return
	}
	a.routes.ServeHTTP(w, r)
}

// refuse is the guard before routing. Whether there is such a path is said
// only to those who hold the token.
func (a *Admin) refuse(r *http.Request) *Problem {
	switch {
	case !a.allowedHost(r.Host):
		return problemf(http.StatusForbidden, "Host %.100q is not one of this listener's. Ask by localhost or IP address, or add the name to the configuration.", r.Host)
	case len(r.Header.Values("Origin")) > 0:
		return problemf(http.StatusForbidden, "Requests that web pages send (Origin %.100q) are not answered here.", r.Header.Get("Origin"))
	case len(r.URL.RawQuery) > maxQuery:
		return problemf(http.StatusRequestURITooLong, "The query has %d octets, at most %d are read.", len(r.URL.RawQuery), maxQuery)
	case isAPI(r.URL.Path) && !a.authenticated(r):
		return problemf(http.StatusUnauthorized, "The API needs the bearer token of this Chancery: Authorization: Bearer <content of admin.token in its directory>.")
	}
	return nil
}

func isAPI(path string) bool { return path == "/api" || strings.HasPrefix(path, "/api/") }

// authenticated compares digests, so that neither content nor length of the
// token shows in the time it takes.
func (a *Admin) authenticated(r *http.Request) bool {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], a.token[:]) == 1
}

// allowedHost holds DNS rebinding off: a web page can make a browser send
// requests here under the page's own name, but not under an address or a name
// that its owner does not control.
func (a *Admin) allowedHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if ip := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"); ip != "" {
		if _, err := netip.ParseAddr(ip); err == nil {
			return true
		}
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	// RFC 6761 section 6.3: these never leave the machine.
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || a.hosts[host]
}

// actor is who the audit trail names. There is one token, so all that is
// proven is that its holder asked. Who that is, is the caller's own word (the
// command line sends its user name), and is written behind "token:".
func actor(r *http.Request) ca.Actor {
	by := ca.Actor{Kind: ca.ActorOperator, ID: "token"}
	if name := r.Header.Get(OperatorHeader); name != "" && len(name) <= maxLabelLength && plain(name) {
		by.ID += ":" + name
	}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		by.Addr = ap.Addr().Unmap().String()
	}
	return by
}

// OperatorHeader names the request header in which a client may say who is
// behind it, for the audit trail.
const OperatorHeader = "Chancery-Operator"

// nonceSize is the length of the nonce of a proof, base64url of 32 octets.
const nonceSize = 43

// prove shows that this listener knows the token, so that the command line
// does not hand it to whoever took the port while Chancery was down.
func (a *Admin) prove(r *request) (*reply, error) {
	nonce := r.query.text("nonce")
	if err := r.query.done(); err != nil {
		return nil, err
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce); err != nil || len(nonce) != nonceSize || len(raw) != sha256.Size {
		return nil, problemf(http.StatusBadRequest, "nonce must be 32 octets in base64url.")
	}
	return ok(map[string]string{"proof": Proof(a.config.Token, nonce)}), nil
}

// Proof is what a listener that knows the token answers to a nonce.
func Proof(token, nonce string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("chancery admin proof v1\n" + nonce))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

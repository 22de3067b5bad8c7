package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"chancery/acme"
)

// Config is what an API needs. Service and BaseURL are required.
type Config struct {
	Service *acme.Service
	BaseURL string // scheme and authority of every URL, without a slash at the end
	Meta    Meta
	Nonces  Nonces           // nil: SealedNonces
	Log     *slog.Logger     // nil: slog.Default. One line for each request, at Info
	Now     func() time.Time // nil: time.Now. For nonces and the status of what is shown

	// Observe is told of each answer, for metrics: the route's name, the
	// HTTP status, the time it took, and the error type ("" for none). The
	// name and type come from fixed lists. Nil: nobody.
	Observe func(route string, status int, took time.Duration, problem string)
}

// Meta is what the directory says of the server (RFC 8555 section 7.1.1).
type Meta struct {
	TermsOfService          string            `json:"termsOfService,omitempty"`
	Website                 string            `json:"website,omitempty"`
	CAAIdentities           []string          `json:"caaIdentities,omitempty"`
	ExternalAccountRequired bool              `json:"externalAccountRequired,omitempty"`
	Profiles                map[string]string `json:"profiles,omitempty"` // name to description
}

// API is the http.Handler of the ACME listener.
type API struct {
	service       *acme.Service
	nonces        Nonces
	log           *slog.Logger
	now           func() time.Time
	observe       func(route string, status int, took time.Duration, problem string)
	base          string
	templates     map[string]template
	accountPrefix string // of every kid
	indexLink     []string
	meta          Meta
	directoryJSON []byte
	router        *mux.Router
}

// New makes the API. It fails when the configuration can't work.
func New(c Config) (*API, error) {
	base, err := url.Parse(c.BaseURL)
	switch {
	case c.Service == nil:
		return nil, errors.New("api: no service")
	case err != nil:
		return nil, fmt.Errorf("api: base URL: %w", err)
	case base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil,
		c.BaseURL != base.Scheme+"://"+base.Host:
		return nil, fmt.Errorf("api: base URL %q must be scheme and authority only, such as https://ca.example", c.BaseURL)
	}
	a := &API{
		service: c.Service, nonces: c.Nonces, log: c.Log, now: c.Now, observe: c.Observe,
		base: c.BaseURL, templates: make(map[string]template), meta: c.Meta,
	}
	if a.nonces == nil {
		if a.nonces, err = NewSealedNonces(); err != nil {
			return nil, fmt.Errorf("api: nonces: %w", err)
		}
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.route()
	a.accountPrefix = a.url(accountRoute, "")
	a.indexLink = []string{link(a.url(directoryRoute), "index")}
	a.directoryJSON, err = a.makeDirectory()
	return a, err
}

// AccountURL is the URL of an account, for acme.Service.AccountURL.
func (a *API) AccountURL(id string) string { return a.url(accountRoute, id) }

// AccountURL is the URL of an account under a base URL, for those who need it
// before there is an API.
func AccountURL(base, id string) string { return base + "/acme/account/" + id }

// route builds the router from the table. Paths are matched as they were
// sent: nothing is cleaned, decoded or redirected, so that a resource has one
// spelling, the one that its url has in the JWS.
func (a *API) route() {
	a.router = mux.NewRouter().SkipClean(true).UseEncodedPath()
	byPath := make(map[string][]route)
	for _, row := range routes {
		a.templates[row.name] = parseTemplate(a.base, row.path)
		byPath[row.path] = append(byPath[row.path], row)
	}
	for _, row := range routes {
		if rows := byPath[row.path]; rows != nil {
			a.router.Path(row.path).Name(row.name).Handler(a.serve(rows))
			delete(byPath, row.path)
		}
	}
	a.router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, unknownRoute, func(*request) (*reply, error) { return nil, notFound() })
	})
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.router.ServeHTTP(w, r) }

// answer runs a handler and writes what it returned, or what its panic is to
// a client; then come the log line and the metrics.
func (a *API) answer(w http.ResponseWriter, r *http.Request, name string, h func(*request) (*reply, error)) {
	began := time.Now()
	req := &request{
		http: r, vars: mux.Vars(r), url: a.base + r.URL.EscapedPath(), now: a.now(), seen: &seen{route: name},
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		req.addr = host // the listener's word, not a header's
	}
	re, err := a.survive(req, h)
	a.write(w, req, re, err)
	took := time.Since(began)
	if a.observe != nil {
		a.observe(name, req.seen.status, took, req.seen.problem)
	}
	a.logRequest(req, took)
}

// survive runs a handler; a panic in it becomes an error, so that one bad
// request costs one answer, not the server.
func (a *API) survive(r *request, h func(*request) (*reply, error)) (re *reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.ErrorContext(r.ctx(), "panic in a handler", "route", r.seen.route, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			re, err = nil, acme.Problemf(acme.ServerInternal, "Chancery could not answer this request; its operator finds the reason in the log.")
		}
	}()
	return h(r)
}

// maxUserAgent bounds what the log keeps of a User-Agent, in octets.
const maxUserAgent = 120

func (a *API) logRequest(r *request, took time.Duration) {
	if !a.log.Enabled(r.ctx(), slog.LevelInfo) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", printable(r.http.Method, 10)), slog.String("route", r.seen.route),
		slog.Int("status", r.seen.status), slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("addr", r.addr), slog.String("agent", printable(r.http.UserAgent(), maxUserAgent)),
	}
	if r.seen.account != "" {
		attrs = append(attrs, slog.String("account", r.seen.account))
	}
	if r.seen.problem != "" {
		attrs = append(attrs, slog.String("problem", r.seen.problem))
	}
	a.log.LogAttrs(r.ctx(), slog.LevelInfo, "request", attrs...)
}

// printable is the beginning of s without anything that a terminal obeys.
func printable(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

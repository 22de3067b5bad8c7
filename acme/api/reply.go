package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"chancery/acme"
)

// reply is an answer that is no problem.
type reply struct {
	status      int
	location    string
	links       []string // values of Link headers, beside rel="index"
	retryAfter  time.Duration
	contentType string // empty: application/json
	noStore     bool
	nonce       bool // bring a nonce even though this answers no POST
	body        any  // encoded as JSON, unless raw is set; nil: no body
	raw         []byte
}

func ok(body any) *reply { return &reply{status: http.StatusOK, body: body} }

func link(url, rel string) string { return "<" + url + `>;rel="` + rel + `"` }

// write is the one place that answers. Every answer to a POST brings a fresh
// nonce, also an error (RFC 8555 section 6.5); every answer but the directory
// points to the directory (section 7.1).
func (a *API) write(w http.ResponseWriter, r *request, re *reply, err error) {
	if err != nil {
		re = a.problem(r, err)
	}
	body := re.raw
	if body == nil && re.body != nil {
		var err error
		if body, err = json.Marshal(re.body); err != nil { // none of our types fails; say so rather than half an answer
			re = a.problem(r, err)
			body, _ = json.Marshal(re.body)
		}
	}
	h := w.Header()
	// Browsers may talk to an ACME server (section 6.1); there are no cookies
	// here that another site's page could ride on.
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Access-Control-Expose-Headers"] = exposed
	h["X-Content-Type-Options"] = noSniff
	if re.nonce || r.http.Method == http.MethodPost {
		h["Replay-Nonce"] = []string{a.nonces.New(r.now)}
	}
	if r.seen.route != directoryRoute {
		h["Link"] = a.indexLink
	}
	for _, l := range re.links {
		h.Add("Link", l)
	}
	if re.location != "" {
		h["Location"] = []string{re.location}
	}
	if re.retryAfter > 0 {
		h["Retry-After"] = []string{strconv.FormatInt(int64((re.retryAfter+time.Second-1)/time.Second), 10)}
	}
	if re.noStore {
		h["Cache-Control"] = noStore
	}
	if len(body) > 0 {
		h["Content-Type"] = []string{or(re.contentType, "application/json")}
	}
	if re.status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	r.seen.status = re.status
	w.WriteHeader(re.status)
	if r.http.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that left doesn't read it
	}
}

// Header values that never change.
var (
	anyOrigin = []string{"*"}
	exposed   = []string{"Link, Location, Replay-Nonce, Retry-After"}
	noSniff   = []string{"nosniff"}
	noStore   = []string{"no-store"}
)

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// problem makes the answer to an error. What is no problem for a client is
// logged here, once, and the client learns that it happened (invariant 9).
func (a *API) problem(r *request, err error) *reply {
	p := acme.AsProblem(err)
	if p == nil {
		a.log.ErrorContext(r.ctx(), "internal error", "route", r.seen.route, "error", err)
		p = acme.Problemf(acme.ServerInternal, "Chancery could not answer this request. Try again, and tell its operator if it happens again.")
	}
	r.seen.problem = p.Kind.String()
	re := &reply{
		status: p.HTTPStatus(), body: p, contentType: "application/problem+json",
		retryAfter: time.Duration(p.RetryAfter) * time.Second,
	}
	if p.Location != "" {
		re.location = a.url(accountRoute, p.Location)
	}
	if p.Kind == acme.UserActionRequired && p.Instance != "" {
		re.links = append(re.links, link(p.Instance, "terms-of-service")) // RFC 8555 section 7.3.3
	}
	return re
}

// notFound answers for paths that are no resource.
func notFound() error {
	return &acme.Problem{Kind: acme.Malformed, Status: http.StatusNotFound, Detail: "There is no such resource; begin at the directory."}
}

// wrongMethod answers 405 (RFC 8555 section 6.3) and says what is allowed.
func wrongMethod(w http.ResponseWriter, allowed []string) error {
	list := strings.Join(allowed, ", ")
	w.Header()["Allow"] = []string{list}
	return &acme.Problem{Kind: acme.Malformed, Status: http.StatusMethodNotAllowed, Detail: "This resource takes only " + list + "; what is not public is read by POST-as-GET (RFC 8555 section 6.3)."}
}

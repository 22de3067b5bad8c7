package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"chancery/ca"
)

// route is one row of the table of routes.
type route struct {
	name    string
	method  string
	path    string
	handler func(r *request) (*reply, error)
}

// The forms that IDs in paths have; anything else has no route.
const (
	serialPattern = "{serial:[0-9a-f]{32}}"
	idPattern     = "{id:[A-Za-z0-9_-]{22}}"
	spkiPattern   = "{spki:[0-9a-f]{64}}"
)

// table is every route but the three raw ones of router. What stands under
// /api/ needs the token (refuse sees to it, before routing), and nothing that
// changes anything stands elsewhere; TestNoDoorWithoutToken walks it.
func (a *Admin) table() []route {
	return []route{
		{"proof", "GET", "/proof", a.prove},
		{"certificates", "GET", "/api/v1/certificates", a.certificates},
		{"certificate", "GET", "/api/v1/certificates/" + serialPattern, a.certificate},
		{"certificate chain", "GET", "/api/v1/certificates/" + serialPattern + "/chain", a.certificateChain},
		{"certificate revoke", "POST", "/api/v1/certificates/" + serialPattern + "/revoke", a.revokeCertificate},
		{"accounts", "GET", "/api/v1/accounts", a.accounts},
		{"account", "GET", "/api/v1/accounts/" + idPattern, a.account},
		{"account deactivate", "POST", "/api/v1/accounts/" + idPattern + "/deactivate", a.deactivateAccount},
		{"account limits", "GET", "/api/v1/accounts/" + idPattern + "/limits", a.accountLimits},
		{"account unpause", "POST", "/api/v1/accounts/" + idPattern + "/unpause", a.unpauseAccount},
		{"orders", "GET", "/api/v1/orders", a.orders},
		{"order", "GET", "/api/v1/orders/" + idPattern, a.order},
		{"external keys", "GET", "/api/v1/external-keys", a.externalKeys},
		{"external key create", "POST", "/api/v1/external-keys", a.createExternalKey},
		{"external key revoke", "POST", "/api/v1/external-keys/" + idPattern + "/revoke", a.revokeExternalKey},
		{"blocked keys", "GET", "/api/v1/blocked-keys", a.blockedKeys},
		{"key block", "POST", "/api/v1/blocked-keys", a.blockKey},
		{"key unblock", "POST", "/api/v1/blocked-keys/" + spkiPattern + "/unblock", a.unblockKey},
		{"audit", "GET", "/api/v1/audit", a.audit},
	}
}

// router matches the path as it was sent: no cleaning, no redirect, no
// decoding (I85).
func (a *Admin) router() *mux.Router {
	m := mux.NewRouter().SkipClean(true).UseEncodedPath()
	m.NotFoundHandler = a.serve("none", func(*request) (*reply, error) {
		return nil, problemf(http.StatusNotFound, "There is nothing at this path.")
	})
	m.MethodNotAllowedHandler = a.serve("none", func(r *request) (*reply, error) {
		return nil, problemf(http.StatusMethodNotAllowed, "Method %.20q is not served at this path.", r.http.Method)
	})
	for _, r := range a.table() {
		m.Path(r.path).Methods(r.method).Name(r.name).Handler(a.serve(r.name, r.handler))
	}
	m.Path("/healthz").Methods("GET", "HEAD").HandlerFunc(a.health.alive)
	m.Path("/readyz").Methods("GET", "HEAD").HandlerFunc(a.health.ready)
	m.Path("/metrics").Methods("GET").Handler(a.config.Metrics.Handler())
	return m
}

// request is what a handler gets: who, when, what.
type request struct {
	http  *http.Request
	ctx   context.Context
	by    ca.Actor
	now   time.Time
	vars  map[string]string
	query query
}

// reply is what a handler returns; writing is not its business.
type reply struct {
	status int
	body   any    // JSON, unless raw is there
	raw    []byte // PEM
}

func ok(body any) *reply { return &reply{status: http.StatusOK, body: body} }

// serve turns a handler into HTTP: bounds, clock, actor, and the one place
// that writes.
func (a *Admin) serve(name string, h func(r *request) (*reply, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rep, err := a.answer(w, r, h)
		if err != nil {
			p := a.problem(r.Context(), name, err)
			a.config.Metrics.admin(name, p.Status)
			writeProblem(w, p)
			return
		}
		a.config.Metrics.admin(name, rep.status)
		if rep.raw != nil {
			w.Header().Set("Content-Type", "application/pem-certificate-chain")
			w.WriteHeader(rep.status)
			_, _ = w.Write(rep.raw) // a client that went away is no error of ours
			return
		}
		writeJSON(w, rep.status, rep.body)
	})
}

func (a *Admin) answer(w http.ResponseWriter, r *http.Request, h func(r *request) (*reply, error)) (*reply, error) {
	select {
	case a.working <- struct{}{}:
		defer func() { <-a.working }()
	default:
		return nil, problemf(http.StatusServiceUnavailable, "%d requests are being worked on already; try again in a moment.", maxWorking)
	}
	values, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	return h(&request{
		http: r, ctx: ctx, by: actor(r), vars: mux.Vars(r), query: query{values: values},
		now: a.config.Now().UTC().Truncate(time.Millisecond),
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil { // our own types: can't be, and must not pass for an answer
		status, text = http.StatusInternalServerError, []byte(`{"status":500,"title":"Internal Server Error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that went away is no error of ours
}

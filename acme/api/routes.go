package api

import (
	"net/http"
	"strings"
)

// handlers are the handlers of one row. Which of them are set says what a
// sender must prove: nothing (open), possession of a key that the request
// brings (key), or to be a valid account (account).
type handlers struct {
	open    func(a *API, r *request) (*reply, error)
	key     func(a *API, r *keyed) (*reply, error)
	account func(a *API, r *signed) (*reply, error)
}

// route is one row: a resource and a method. Rows of one path stand together.
type route struct {
	name   string
	method string
	path   string
	handlers
}

// Names of routes that others look for.
const (
	directoryRoute     = "directory"
	accountRoute       = "account"
	ordersRoute        = "orders"
	ordersPageRoute    = "orders-page"
	orderRoute         = "order"
	finalizeRoute      = "finalize"
	authorizationRoute = "authorization"
	challengeRoute     = "challenge"
	certificateRoute   = "certificate"
	alternateRoute     = "alternate-certificate"
	unknownRoute       = "unknown" // in logs and metrics: no row matched
)

// routes is the one table. URLs in directory, Location, Link and objects are
// made from the same rows. GET rows answer HEAD, too.
//
// A page of the orders list has its cursor in the path, not in a query: the
// url of a JWS is compared whole (RFC 8555 section 6.4), and a resource
// without query strings has one spelling only.
var routes = []route{
	{directoryRoute, "GET", "/acme/directory", handlers{open: (*API).directory}},
	{"new-nonce", "GET", "/acme/new-nonce", handlers{open: (*API).newNonce}},
	{"new-account", "POST", "/acme/new-account", handlers{key: (*API).newAccount}},
	{"new-order", "POST", "/acme/new-order", handlers{account: (*API).newOrder}},
	{"new-authz", "POST", "/acme/new-authz", handlers{account: (*API).newAuthorization}},
	{"revoke-cert", "POST", "/acme/revoke-cert", handlers{key: (*API).revokeByKey, account: (*API).revokeByAccount}},
	{"key-change", "POST", "/acme/key-change", handlers{account: (*API).keyChange}},
	{"renewal-info", "GET", "/acme/renewal-info/{certID}", handlers{open: (*API).renewalInfo}},
	{accountRoute, "POST", "/acme/account/{account}", handlers{account: (*API).accountResource}},
	{ordersRoute, "POST", "/acme/account/{account}/orders", handlers{account: asGet((*API).orders)}},
	{ordersPageRoute, "POST", "/acme/account/{account}/orders/{after}", handlers{account: asGet((*API).orders)}},
	{orderRoute, "POST", "/acme/order/{order}", handlers{account: asGet((*API).order)}},
	{finalizeRoute, "POST", "/acme/order/{order}/finalize", handlers{account: (*API).finalize}},
	{authorizationRoute, "POST", "/acme/authorization/{authorization}", handlers{account: (*API).authorization}},
	{challengeRoute, "POST", "/acme/challenge/{authorization}/{type}", handlers{account: (*API).challenge}},
	{certificateRoute, "POST", "/acme/certificate/{serial}", handlers{account: asGet((*API).certificate)}},
	{alternateRoute, "POST", "/acme/certificate/{serial}/{chain}", handlers{account: asGet((*API).certificate)}},
}

// asGet is a handler that takes POST-as-GET only (RFC 8555 section 6.3).
func asGet(h func(*API, *signed) (*reply, error)) func(*API, *signed) (*reply, error) {
	return func(a *API, r *signed) (*reply, error) {
		if !r.payload.isGet() {
			return nil, malformed("This resource is only read: the payload must be empty, \"\" and not {} (RFC 8555 section 6.3).")
		}
		return h(a, r)
	}
}

// template makes URLs of one path: the texts between its variables.
type template []string

func parseTemplate(base, path string) template {
	t := template{base}
	for path != "" {
		text, rest, found := strings.Cut(path, "{")
		t[len(t)-1] += text
		if !found {
			break
		}
		_, path, _ = strings.Cut(rest, "}")
		t = append(t, "")
	}
	return t
}

// url is the URL of a route, with its variables in the sequence of the path.
// Variables are IDs, serials and numbers: nothing that needs escaping.
func (a *API) url(name string, vars ...string) string {
	var b strings.Builder
	for i, text := range a.templates[name] {
		b.WriteString(text)
		if i < len(vars) {
			b.WriteString(vars[i])
		}
	}
	return b.String()
}

// serve is the handler of all rows of one path.
func (a *API) serve(rows []route) http.Handler {
	allowed := make([]string, 0, 3)
	for _, row := range rows {
		allowed = append(allowed, row.method)
		if row.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	allowed = append(allowed, http.MethodOptions)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, row := range rows {
			if r.Method == row.method || r.Method == http.MethodHead && row.method == http.MethodGet {
				a.answer(w, r, row.name, func(req *request) (*reply, error) { return a.dispatch(w, req, row.handlers) })
				return
			}
		}
		a.answer(w, r, rows[0].name, func(*request) (*reply, error) {
			if r.Method == http.MethodOptions {
				return preflight(w, allowed), nil
			}
			return nil, wrongMethod(w, allowed)
		})
	})
}

func (a *API) dispatch(w http.ResponseWriter, r *request, h handlers) (*reply, error) {
	if r.http.URL.Host != "" {
		return nil, malformed("The request names a whole URL as its target; name the path.")
	}
	if h.open != nil {
		return h.open(a, r)
	}
	if r.http.URL.RawQuery != "" || r.http.URL.ForceQuery {
		return nil, malformed("The URL has a query string; no resource here has one.")
	}
	return a.authenticate(w, r, h)
}

// preflight answers a browser that asks whether a page may make the request
// (RFC 8555 section 6.1): application/jose+json is no type that it may send
// without asking.
func preflight(w http.ResponseWriter, allowed []string) *reply {
	list := strings.Join(allowed, ", ")
	h := w.Header()
	h["Allow"] = []string{list}
	h["Access-Control-Allow-Methods"] = []string{list}
	h["Access-Control-Allow-Headers"] = []string{"Content-Type"}
	h["Access-Control-Max-Age"] = []string{"86400"}
	return &reply{status: http.StatusNoContent}
}

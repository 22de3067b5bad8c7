package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"chancery/acme"
	"chancery/acme/strict"
)

// Bounds of a request.
const (
	// maxBody: a finalize with a CSR for 100 names and an RSA-8192 key has
	// some 20 KiB in base64 twice.
	maxBody = 64 << 10
	// bodyTime bounds how long a body may take to arrive, whatever the
	// server's own timeouts are.
	bodyTime = 10 * time.Second
	// maxKid bounds the account URL in a request; ours are the base URL and
	// some forty characters.
	maxKid = 1024
)

// request is a request whose route matched. Nothing about its sender is proven.
type request struct {
	http *http.Request
	vars map[string]string
	url  string // its own URL, as the client must have named it
	addr string // client's IP address
	now  time.Time
	seen *seen
}

func (r *request) ctx() context.Context { return r.http.Context() }

// seen is what the log line and the metrics say of a request.
type seen struct {
	route, account, problem string
	status                  int
}

// keyed is a request whose signature verified with the key that it brought.
type keyed struct {
	*request
	key     acme.Key
	payload payload
}

// signed is a request of a valid account, whose signature verified with the
// account's key.
type signed struct {
	*request
	account *acme.Account
	payload payload
}

// caller is the account and address as the engine wants them.
func (r *signed) caller() acme.Caller { return acme.Caller{Account: r.account, Addr: r.addr} }

// payload is the payload of a request whose signature verified.
type payload string

// isGet says whether the request is a POST-as-GET (RFC 8555 section 6.3):
// exactly zero octets, not "{}".
func (p payload) isGet() bool { return p == "" }

// object reads the payload of a POST that is no POST-as-GET.
func (p payload) object() (*strict.Value, error) {
	if p.isGet() {
		return nil, malformed("The payload is empty, which makes this a POST-as-GET; a JSON object is needed here (RFC 8555 section 6.3).")
	}
	v, err := strict.ParseObject(string(p))
	if err != nil {
		return nil, malformed("The payload is not usable: %v.", err)
	}
	return &v, nil
}

// authenticate proves who sent a POST and hands it to the handler of the kind
// of signer that the route takes. The sequence matters: what costs nothing
// comes first; the signature before the nonce, so that only verified requests
// use nonces up and move the window; the account's state last, so that only
// the holder of its key learns it. A nonce is used up also if the request
// fails later (RFC 8555 section 6.5).
func (a *API) authenticate(w http.ResponseWriter, r *request, h handlers) (*reply, error) {
	body, err := readBody(w, r.http)
	if err != nil {
		return nil, err
	}
	v, err := strict.Parse(body)
	if err != nil {
		return nil, malformed("The body is not usable: %v.", err)
	}
	m, err := readJWS(&v)
	if err != nil {
		return nil, err
	}
	if err := checkAlgorithm(m.header.alg); err != nil {
		return nil, err
	}
	if m.header.url != r.url {
		p := acme.Problemf(acme.Unauthorized, "The url in the protected header is %.200q, this resource is %.200q; they must be the same (RFC 8555 section 6.4).", m.header.url, r.url)
		p.Status = http.StatusUnauthorized
		return nil, p
	}
	if m.header.kid != "" {
		return a.byAccount(r, m, h)
	}
	return a.byKey(r, m, h)
}

func (a *API) byAccount(r *request, m *jws, h handlers) (*reply, error) {
	if h.account == nil {
		return nil, malformed("This resource wants the public key as \"jwk\" in the protected header, not \"kid\" (RFC 8555 section 6.2).")
	}
	id, err := a.accountID(m.header.kid)
	if err != nil {
		return nil, err
	}
	account, err := a.service.Authenticate(r.ctx(), id)
	if err != nil {
		return nil, err
	}
	if err := m.verify(account.Key.Public()); err != nil {
		return nil, err
	}
	r.seen.account = account.ID
	if err := a.useNonce(r, m); err != nil {
		return nil, err
	}
	if err := account.Usable(); err != nil {
		return nil, err
	}
	return h.account(a, &signed{request: r, account: account, payload: payload(m.payload)})
}

func (a *API) byKey(r *request, m *jws, h handlers) (*reply, error) {
	if h.key == nil {
		return nil, malformed("This resource wants the account's URL as \"kid\" in the protected header, not \"jwk\" (RFC 8555 section 6.2).")
	}
	key, err := acme.ParseKey([]byte(m.header.jwk))
	if err != nil {
		return nil, err
	}
	if err := m.verify(key.Public()); err != nil {
		return nil, err
	}
	if err := a.useNonce(r, m); err != nil {
		return nil, err
	}
	return h.key(a, &keyed{request: r, key: key, payload: payload(m.payload)})
}

// useNonce uses up the request's nonce (RFC 8555 section 6.5.2). The answer
// brings a fresh one, as every answer to a POST does.
func (a *API) useNonce(r *request, m *jws) error {
	if !m.header.hasNonce {
		return acme.Problemf(acme.BadNonce, "The protected header has no nonce; use the one in this answer's Replay-Nonce.")
	}
	ok, err := a.nonces.Use(r.ctx(), m.header.nonce, r.now)
	if err != nil {
		return err
	}
	if !ok {
		return acme.Problemf(acme.BadNonce, "The nonce was used before, is too old, or is not from here; use the one in this answer's Replay-Nonce.")
	}
	return nil
}

// accountID finds the account that a kid names. What could never be a URL of
// an account is malformed; one of another server, or of nobody, is an account
// that does not exist, which tells clients to register.
func (a *API) accountID(kid string) (string, error) {
	if len(kid) > maxKid {
		return "", malformed("The kid has %d characters; the account's URL is the Location of the answer to newAccount.", len(kid))
	}
	id, ok := strings.CutPrefix(kid, a.accountPrefix)
	if !ok {
		return "", acme.Problemf(acme.AccountDoesNotExist, "The kid %.200q is no account of this server; its accounts are at %s…", kid, a.accountPrefix)
	}
	if !validID(id) {
		return "", malformed("The kid %.200q is not the URL of an account; it is the Location of the answer to newAccount.", kid)
	}
	return id, nil
}

// validID says whether s could be an ID, before it reaches the engine.
func validID(s string) bool {
	_, err := strict.Base64URL(s)
	return err == nil && acme.ValidID(s)
}

// readBody reads a JWS's text, of the one content type (RFC 8555 section 6.2).
// Parameters, a second Content-Type or a Content-Encoding make it another
// type: nothing is ever inflated.
func readBody(w http.ResponseWriter, r *http.Request) (string, error) {
	types := r.Header["Content-Type"]
	if len(types) != 1 || types[0] != "application/jose+json" || len(r.Header["Content-Encoding"]) != 0 {
		p := acme.Problemf(acme.Malformed, "The Content-Type must be exactly application/jose+json, without parameters or a Content-Encoding; it is %.100q.", strings.Join(types, ", "))
		p.Status = http.StatusUnsupportedMediaType
		return "", p
	}
	if r.ContentLength > maxBody {
		return "", tooLarge(w)
	}
	control := http.NewResponseController(w)
	// The socket's clock is the system's, whatever the API's is. Not every
	// writer supports deadlines.
	began := time.Now()
	limited := control.SetReadDeadline(began.Add(bodyTime)) == nil
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		if limited {
			// Cleared again: the server goes on reading, to notice a client that leaves.
			_ = control.SetReadDeadline(time.Time{})
		}
		return string(body), nil
	}
	// The deadline stays, so that the server does not wait for what is left of
	// the body either before it closes the connection.
	w.Header().Set("Connection", "close")
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", tooLarge(w)
	}
	p := acme.Problemf(acme.Malformed, "The body could not be read to its end.")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p = acme.Problemf(acme.Malformed, "The body did not arrive within %v.", bodyTime)
		p.Status = http.StatusRequestTimeout
	}
	return "", p
}

func tooLarge(w http.ResponseWriter) error {
	w.Header().Set("Connection", "close")
	p := acme.Problemf(acme.Malformed, "The body is larger than %d octets.", maxBody)
	p.Status = http.StatusRequestEntityTooLarge
	return p
}

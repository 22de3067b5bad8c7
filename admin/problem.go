package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"chancery/acme"
	"chancery/ca"
)

// Problem is an error answer of the API (RFC 9457). Detail says what was
// found and what to do.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

func problemf(status int, format string, args ...any) *Problem {
	return &Problem{Status: status, Title: http.StatusText(status), Detail: fmt.Sprintf(format, args...)}
}

// outcomes is the table of errors that stores and the signing core return.
var outcomes = []struct {
	err    error
	status int
	detail string
}{
	{ca.ErrNotFound, http.StatusNotFound, "There is no such object here."},
	{ca.ErrAlreadyRevoked, http.StatusConflict, "The certificate is revoked already."},
	{ca.ErrConflict, http.StatusConflict, "Something else changed it at the same moment; look again."},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "The store did not answer in time; try again, or ask for less."},
	{context.Canceled, http.StatusServiceUnavailable, "The request was cut short."},
}

// problem finds the answer to an error. What is internal goes to the log only
// (invariant 9).
func (a *Admin) problem(ctx context.Context, route string, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if p := acme.AsProblem(err); p != nil {
		status := p.HTTPStatus()
		if status == http.StatusUnauthorized || p.Kind == acme.AlreadyRevoked { // there 401 means an account's state, here it would mean the token
			status = http.StatusConflict
		}
		return problemf(status, "%s", p.Detail)
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return problemf(o.status, "%s", o.detail)
		}
	}
	a.config.Log.ErrorContext(ctx, "internal error at the operator's door", "route", route, "error", err)
	return problemf(http.StatusInternalServerError, "Something failed inside; Chancery's log says what.")
}

// retryAfter is what clients are told to wait, in seconds, when too much is
// going on.
const retryAfter = 2

func writeProblem(w http.ResponseWriter, p *Problem) {
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	text, err := json.Marshal(p)
	if err != nil {
		text = []byte("{}") // three plain fields: can't be
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(text, '\n')) // a client that went away is no error of ours
}

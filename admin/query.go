package admin

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"chancery/acme"
	"chancery/acme/strict"
	"chancery/ca"
)

// Page is one page of a listing. Next, when it is not empty, is the cursor
// that asks for the page behind it.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// defaultLimit is the length of a page for which no limit was asked.
const defaultLimit = 100

func parseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "The query can't be read: %.200s.", err)
	}
	return values, nil
}

// query reads parameters, remembers the first mistake and which names were
// asked for, so that done refuses all others: a filter that is spelled wrong
// must not list everything.
type query struct {
	values url.Values
	asked  []string
	err    error
}

func (q *query) fail(name, format string, args ...any) {
	if q.err == nil {
		q.err = problemf(http.StatusBadRequest, "Parameter %s "+format+".", append([]any{name}, args...)...)
	}
}

func (q *query) text(name string) string {
	q.asked = append(q.asked, name)
	switch list := q.values[name]; {
	case len(list) == 0:
		return ""
	case len(list) > 1:
		q.fail(name, "stands there %d times", len(list))
		return ""
	case list[0] == "":
		q.fail(name, "is empty")
		return ""
	default:
		return list[0]
	}
}

func (q *query) limit() int {
	s := q.text("limit")
	if s == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > ca.MaxSearch {
		q.fail("limit", "is %.20q, it must be 1 to %d", s, ca.MaxSearch)
		return defaultLimit
	}
	return n
}

func (q *query) time(name string) time.Time {
	s := q.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		q.fail(name, "is %.40q, it must be a time as RFC 3339 writes it (2026-11-22T10:00:00Z)", s)
	}
	return t.UTC()
}

func (q *query) id(name string) string {
	s := q.text(name)
	if s != "" && !acme.ValidID(s) {
		q.fail(name, "is %.40q, which is no ID", s)
		return ""
	}
	return s
}

func (q *query) serial(name string) ca.Serial {
	s := q.text(name)
	if s == "" {
		return ca.Serial{}
	}
	serial, err := ca.ParseSerial(s)
	if err != nil {
		q.fail(name, "is %.40q, which is no serial number of 32 hexadecimal digits", s)
	}
	return serial
}

// seq is the cursor of the audit trail.
func (q *query) seq(name string) int64 {
	s := q.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		q.fail(name, "is %.40q, it must be the `next` of the page before", s)
	}
	return n
}

// word is a text of few characters: an action, an issuer, a profile.
func (q *query) word(name string) string {
	s := q.text(name)
	if len(s) > maxWord || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		q.fail(name, "is %.40q, it must be at most %d printable ASCII characters without spaces", s, maxWord)
		return ""
	}
	return s
}

const maxWord = 128

func (q *query) oneOf(name string, allowed ...string) string {
	s := q.text(name)
	if s != "" && !slices.Contains(allowed, s) {
		q.fail(name, "is %.40q, it must be one of %s", s, strings.Join(allowed, ", "))
		return ""
	}
	return s
}

// name is a DNS name or an IP address.
func (q *query) name(name string) ca.Identifier {
	s := q.text(name)
	if s == "" {
		return ca.Identifier{}
	}
	typ := "dns"
	if _, err := netip.ParseAddr(s); err == nil {
		typ = "ip"
	}
	id, err := ca.ParseIdentifier(typ, s)
	if err != nil {
		q.fail(name, "is %.100q, which is no name: %s", s, err)
	}
	return id
}

// done is the first mistake, if there was any.
func (q *query) done() error {
	if q.err != nil {
		return q.err
	}
	for name := range q.values {
		if !slices.Contains(q.asked, name) {
			return problemf(http.StatusBadRequest, "Parameter %.40q is not known here; known are %s.", name, strings.Join(q.asked, ", "))
		}
	}
	return nil
}

// body reads a JSON object that has none but the allowed members (I23). An
// empty body is an object without any.
func (r *request) body(allowed ...string) (strict.Value, error) {
	if err := r.query.done(); err != nil { // no change takes parameters
		return strict.Value{}, err
	}
	text, err := io.ReadAll(r.http.Body)
	if err != nil {
		return strict.Value{}, problemf(http.StatusRequestEntityTooLarge, "The body can't be read, or has more than %d octets.", maxBody)
	}
	if len(text) == 0 {
		text = []byte("{}")
	} else if media, _, err := mime.ParseMediaType(r.http.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return strict.Value{}, problemf(http.StatusUnsupportedMediaType, "The body must be application/json, not %.80q.", r.http.Header.Get("Content-Type"))
	}
	v, err := strict.ParseObject(string(text))
	if err != nil {
		return v, problemf(http.StatusBadRequest, "The body can't be taken: %s.", err)
	}
	known := 0
	for _, name := range allowed {
		if v.Member(name) != nil {
			known++
		}
	}
	if v.Len() != known {
		return v, problemf(http.StatusBadRequest, "The body has a member that is not known here; %s.", knownMembers(allowed))
	}
	return v, nil
}

func knownMembers(allowed []string) string {
	if len(allowed) == 0 {
		return "it must have none"
	}
	return fmt.Sprintf("known are %s", strings.Join(allowed, ", "))
}

// page answers with a list. A full page has a cursor, though nothing may
// stand behind it: then the next page is empty.
func page[S, T any](list []S, limit int, show func(S) T, cursor func(S) string) *reply {
	p := Page[T]{Items: make([]T, 0, len(list))}
	for _, s := range list {
		p.Items = append(p.Items, show(s))
	}
	if len(list) > 0 && len(list) >= limit {
		p.Next = cursor(list[len(list)-1])
	}
	return ok(p)
}

package validate

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"chancery/acme"
	"chancery/acme/strict"
	"chancery/ca"
)

// What CA and remote perspective say to each other: one JSON object there, one
// back, over HTTP/1.1 in TLS 1.3.

// PerspectivePath is where a perspective is asked.
const PerspectivePath = "/perspective/v1"

// Bounds of the two messages (invariant 8).
const (
	maxRemoteQuestion = 64 << 10  // the longest honest one: 100 CAA identities of 253 bytes, an account URL, a key authorization
	maxRemoteAnswer   = 256 << 10 // maxSteps steps of four strings of maxWords bytes, and what was asked about CAA
	remoteSteps       = 24        // steps of a remote's that are kept; an honest attempt has about five
	remoteWords       = 200       // bytes of each
	remoteListed      = 100       // entries of a list
)

// What a perspective can be asked for.
const (
	askChallenge = "challenge"
	askCAA       = "caa"
)

// remoteQuestion asks for one attempt, or one look at CAA records. Its ID is
// random; ID and the SHA-256 of the whole text come back in the answer, which
// so fits no other question (SAFETY A12, F50).
type remoteQuestion struct {
	ID        string // of this question to this remote
	Attempt   string // the same for all perspectives of one attempt
	Ask       string
	Timeout   time.Duration // what is left for the answer
	Setting   PerspectiveSetting
	Challenge acme.Attempt     // askChallenge
	CAA       acme.CAAQuestion // askCAA
}

// PerspectiveSetting is what primary and remote must have in common, or they
// don't ask the same thing. A remote keeps its own and compares: who has taken
// the CA over can't send it to other ports.
type PerspectiveSetting struct {
	HTTPPort      int      // 0: 80
	TLSPort       int      // 0: 443
	CAAIdentities []string // in lower case
}

// wireQuestion is the JSON of a remoteQuestion.
type wireQuestion struct {
	ID               string             `json:"id"`
	Attempt          string             `json:"attempt"`
	Ask              string             `json:"ask"`
	TimeoutMillis    int64              `json:"timeout_ms"`
	HTTPPort         int                `json:"http_port"`
	TLSPort          int                `json:"tls_port"`
	CAAIdentities    []string           `json:"caa_identities"`
	Identifier       ca.Identifier      `json:"identifier"`
	Wildcard         bool               `json:"wildcard,omitempty"`
	Type             acme.ChallengeType `json:"type"`
	Token            string             `json:"token,omitempty"`
	KeyAuthorization string             `json:"key_authorization,omitempty"`
	AccountURL       string             `json:"account_url,omitempty"`
	CAA              ca.CAAMode         `json:"caa,omitempty"`
	Require          []string           `json:"require,omitempty"`
}

// randomID has 256 bits.
func randomID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func isRandomID(s string) bool {
	b, err := strict.Base64URL(s)
	return err == nil && len(b) == 32
}

// encode writes the question.
func (q *remoteQuestion) encode() ([]byte, error) {
	w := wireQuestion{
		ID: q.ID, Attempt: q.Attempt, Ask: q.Ask, TimeoutMillis: q.Timeout.Milliseconds(),
		HTTPPort: or(q.Setting.HTTPPort, 80), TLSPort: or(q.Setting.TLSPort, 443), CAAIdentities: q.Setting.CAAIdentities,
	}
	if q.Ask == askCAA {
		w.Identifier, w.Type, w.AccountURL, w.Require = q.CAA.Name, q.CAA.Method, q.CAA.AccountURL, q.CAA.Require
		return json.Marshal(w)
	}
	a := q.Challenge
	w.Identifier, w.Type, w.AccountURL, w.CAA = a.Identifier, a.Type, a.AccountURL, a.CAA
	w.Token, w.KeyAuthorization, w.Wildcard = a.Token, a.KeyAuthorization, a.Wildcard
	return json.Marshal(w)
}

// parseRemoteQuestion reads what a CA sent. Whether token and key authorization
// are ones, and the method fits the name, the validation itself looks at.
func parseRemoteQuestion(text string) (*remoteQuestion, error) {
	if len(text) > maxRemoteQuestion {
		return nil, fmt.Errorf("longer than %d bytes", maxRemoteQuestion)
	}
	v, err := strict.ParseObject(text)
	if err != nil {
		return nil, err
	}
	r := fields{v: &v}
	q := &remoteQuestion{ID: r.text("id"), Attempt: r.text("attempt"), Ask: r.text("ask")}
	q.Timeout = time.Duration(r.number("timeout_ms", 1, maxTimeout.Milliseconds())) * time.Millisecond
	q.Setting = PerspectiveSetting{
		HTTPPort: int(r.number("http_port", 1, 65535)), TLSPort: int(r.number("tls_port", 1, 65535)),
		CAAIdentities: r.list("caa_identities"),
	}
	id := r.identifier("identifier")
	method, account, mode := acme.ChallengeType(r.text("type")), r.text("account_url"), ca.CAAMode(r.text("caa"))
	switch q.Ask {
	case askChallenge:
		q.Challenge = acme.Attempt{
			Type: method, Identifier: id, Wildcard: r.flag("wildcard"), AccountURL: account, CAA: mode,
			Token: r.text("token"), KeyAuthorization: r.text("key_authorization"),
		}
		r.demand(!id.IsWildcard(), "identifier", "must be the base name of a wildcard")
		r.demand(mode == "" || mode == ca.CAAOff || mode == ca.CAAReport || mode == ca.CAAEnforce, "caa", "is none of the modes")
	case askCAA:
		q.CAA = acme.CAAQuestion{Name: id, Method: method, AccountURL: account, Require: r.list("require")}
	default:
		r.demand(false, "ask", "is neither challenge nor caa")
	}
	_, known := methods[method]
	r.demand(known, "type", "is no challenge type that is served")
	r.demand(isRandomID(q.ID), "id", "is not 32 octets in base64url")
	r.demand(isRandomID(q.Attempt), "attempt", "is not 32 octets in base64url")
	return q, r.err
}

// remoteAnswer is what a perspective made of a question.
type remoteAnswer struct {
	ID      string          `json:"id"`
	Digest  string          `json:"digest"` // SHA-256 of the question's text, hexadecimal
	Outcome ca.Outcome      `json:"outcome"`
	Problem string          `json:"problem,omitempty"` // ACME error type, when the outcome is fail
	Why     string          `json:"why,omitempty"`
	Millis  int64           `json:"millis"`
	Steps   []acme.Step     `json:"steps,omitempty"`
	CAA     *ca.CAAEvidence `json:"caa,omitempty"`
}

func textDigest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

var (
	errOtherAnswer = errors.New("its answer belongs to another question")
	errNoAnswer    = errors.New("its answer is none")
)

// parseRemoteAnswer reads the answer to the question with this ID and digest.
// All its words are bounded and escaped again: a perspective that was taken
// over must not write into logs and pages.
func parseRemoteAnswer(text, id, digest string) (*remoteAnswer, error) {
	if len(text) > maxRemoteAnswer {
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxRemoteAnswer)
	}
	v, err := strict.ParseObject(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	r := fields{v: &v}
	a := &remoteAnswer{ID: r.text("id"), Digest: r.text("digest"), Outcome: ca.Outcome(r.text("outcome"))}
	if r.err == nil && (a.ID != id || a.Digest != digest) {
		return nil, errOtherAnswer
	}
	a.Problem, a.Why = r.text("problem"), kept(r.text("why"))
	a.Millis = r.number("millis", 0, maxTimeout.Milliseconds()*2)
	a.Steps, a.CAA = r.steps(), r.caa()
	_, named := problemKinds[a.Problem]
	switch a.Outcome {
	case ca.OutcomePass:
		r.demand(a.Problem == "" && a.Why == "", "outcome", "is a pass, and there is a problem")
	case ca.OutcomeFail:
		r.demand(named, "problem", "is no error type of a validation")
	case ca.OutcomeError:
	default:
		r.demand(false, "outcome", "is none of pass, fail and error")
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, r.err)
	}
	return a, nil
}

// problemKinds are the ways in which an attempt fails on account of the name.
var problemKinds = func() map[string]acme.Kind {
	m := make(map[string]acme.Kind)
	for _, k := range []acme.Kind{acme.CAA, acme.Connection, acme.DNS, acme.IncorrectResponse, acme.Malformed, acme.RejectedIdentifier, acme.TLS, acme.Unauthorized} {
		m[k.String()] = k
	}
	return m
}()

// kept makes a remote's words fit to be kept.
func kept(s string) string { return cut(words(s), remoteWords) }

// fields reads the members of an object; the first mistake stays.
type fields struct {
	v   *strict.Value
	err error
}

func (r *fields) demand(ok bool, name, reason string) {
	if !ok && r.err == nil {
		r.err = fmt.Errorf("member %q %s", name, reason)
	}
}

func (r *fields) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *fields) text(name string) string {
	s, err := r.v.OptionalString(name)
	r.note(err)
	return s
}

func (r *fields) flag(name string) bool {
	b, err := r.v.OptionalBool(name)
	r.note(err)
	return b
}

func (r *fields) number(name string, low, high int64) int64 {
	n, err := r.v.OptionalInt(name)
	r.note(err)
	if n == nil || *n < low || *n > high {
		r.demand(false, name, fmt.Sprintf("is not from %d to %d", low, high))
		return low
	}
	return *n
}

func (r *fields) list(name string) []string {
	l, err := r.v.OptionalStrings(name)
	r.note(err)
	r.demand(len(l) <= remoteListed, name, fmt.Sprintf("has more than %d entries", remoteListed))
	return l
}

func (r *fields) object(name string) *fields {
	o, err := r.v.OptionalObject(name)
	r.note(err)
	if o == nil {
		return nil
	}
	return &fields{v: o}
}

func (r *fields) identifier(name string) ca.Identifier {
	o := r.object(name)
	if o == nil {
		r.demand(false, name, "is missing")
		return ca.Identifier{}
	}
	typ, value := o.text("type"), o.text("value")
	r.note(o.err)
	id, err := ca.ParseIdentifier(typ, value)
	r.note(err)
	return id
}

// steps reads what a remote did. Of more than remoteSteps, the last is kept
// still, because it is the verdict.
func (r *fields) steps() []acme.Step {
	array, err := r.v.OptionalArray("steps")
	r.note(err)
	if array == nil {
		return nil
	}
	items := array.Items()
	r.demand(len(items) <= maxSteps, "steps", fmt.Sprintf("has more than %d entries", maxSteps))
	var out []acme.Step
	for i := range items {
		if items[i].Kind() != strict.Object {
			r.demand(false, "steps", "holds something else than objects")
			return nil
		}
		if i >= remoteSteps-1 && i < len(items)-1 {
			continue
		}
		in := fields{v: &items[i]}
		out = append(out, acme.Step{Do: kept(in.text("do")), What: kept(in.text("what")), From: kept(in.text("from")), Got: kept(in.text("got"))})
		r.note(in.err)
	}
	return out
}

// caa reads what a remote saw of CAA records. When it looked is not taken from
// it: its clock is not ours.
func (r *fields) caa() *ca.CAAEvidence {
	o := r.object("caa")
	if o == nil {
		return nil
	}
	allowed := o.flag("allowed")
	e := &ca.CAAEvidence{
		Allowed: allowed, Found: kept(o.text("found")), Problem: kept(o.text("problem")), Why: kept(o.text("why")),
	}
	for i, s := range o.list("asked") {
		if i < maxAsked {
			e.Asked = append(e.Asked, kept(s))
		}
	}
	for _, s := range o.list("require") {
		e.Require = append(e.Require, kept(s))
	}
	o.demand(!allowed || e.Why == "", "allowed", "is true, and there is a reason why not")
	r.note(o.err)
	return e
}

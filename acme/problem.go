package acme

import (
	"errors"
	"fmt"

	"chancery/ca"
)

// Kind is an error type of RFC 8555 section 6.7 (and RFC 9773 section 7.4,
// and the profiles extension).
type Kind int

// The kinds of problems.
const (
	AccountDoesNotExist Kind = iota
	AlreadyReplaced
	AlreadyRevoked
	BadCSR
	BadNonce
	BadPublicKey
	BadRevocationReason
	BadSignatureAlgorithm
	CAA
	Compound
	Connection
	DNS
	ExternalAccountRequired
	IncorrectResponse
	InvalidContact
	InvalidProfile
	Malformed
	OrderNotReady
	RateLimited
	RejectedIdentifier
	ServerInternal
	TLS
	Unauthorized
	UnsupportedContact
	UnsupportedIdentifier
	UserActionRequired

	kinds // how many
)

// problemTypes is the one table of error types. Status is the HTTP status
// when the problem is the answer to a request and says no other.
var problemTypes = [...]struct {
	kind   Kind
	name   string
	status int
}{
	{AccountDoesNotExist, "accountDoesNotExist", 400},
	{AlreadyReplaced, "alreadyReplaced", 409},
	{AlreadyRevoked, "alreadyRevoked", 400},
	{BadCSR, "badCSR", 400},
	{BadNonce, "badNonce", 400},
	{BadPublicKey, "badPublicKey", 400},
	{BadRevocationReason, "badRevocationReason", 400},
	{BadSignatureAlgorithm, "badSignatureAlgorithm", 400},
	{CAA, "caa", 403},
	{Compound, "compound", 400},
	{Connection, "connection", 400},
	{DNS, "dns", 400},
	{ExternalAccountRequired, "externalAccountRequired", 403},
	{IncorrectResponse, "incorrectResponse", 403},
	{InvalidContact, "invalidContact", 400},
	{InvalidProfile, "invalidProfile", 400},
	{Malformed, "malformed", 400},
	{OrderNotReady, "orderNotReady", 403},
	{RateLimited, "rateLimited", 429},
	{RejectedIdentifier, "rejectedIdentifier", 400},
	{ServerInternal, "serverInternal", 500},
	{TLS, "tls", 400},
	{Unauthorized, "unauthorized", 403},
	{UnsupportedContact, "unsupportedContact", 400},
	{UnsupportedIdentifier, "unsupportedIdentifier", 400},
	{UserActionRequired, "userActionRequired", 403},
}

// URN is the type as it stands in a problem document.
func (k Kind) URN() string { return "urn:ietf:params:acme:error:" + problemTypes[k].name }

func (k Kind) String() string { return problemTypes[k].name }

// Problem is a problem document (RFC 7807, RFC 8555 section 6.7), also stored
// with the order or authorization that it ended. Detail is for the client's
// owner: what was looked up, what was found, what to do; never internals.
type Problem struct {
	Kind        Kind
	Detail      string
	Status      int            // HTTP status, 0: the kind's
	Identifier  *ca.Identifier // in a subproblem: the name it is about
	Subproblems []*Problem

	Algorithms []string // badSignatureAlgorithm: what would do (RFC 8555 section 6.2)
	Location   string   // account ID, when the answer points to one (RFC 8555 section 7.3.5)
	RetryAfter int      // seconds, 0: none
	Instance   string   // URL, userActionRequired (RFC 8555 section 7.3.3)
}

func (p *Problem) Error() string { return p.Kind.String() + ": " + p.Detail }

// HTTPStatus is the status to answer with.
func (p *Problem) HTTPStatus() int {
	if p.Status != 0 {
		return p.Status
	}
	return problemTypes[p.Kind].status
}

// Problemf makes a problem.
func Problemf(k Kind, format string, args ...any) *Problem {
	return &Problem{Kind: k, Detail: fmt.Sprintf(format, args...)}
}

// Errors of stores, beside those of package ca.
var (
	ErrExternalKeyUsed = errors.New("external account key is not usable")
	ErrAlreadyReplaced = errors.New("already replaced by another order")
)

// KeyInUse says that a key belongs to another account.
type KeyInUse struct{ Account string }

func (e *KeyInUse) Error() string { return "key belongs to account " + e.Account }

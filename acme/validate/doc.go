// Package validate proves control of a name over the network: http-01 and
// dns-01 (RFC 8555 section 8), tls-alpn-01 (RFC 8737), for dns and for ip
// identifiers (RFC 8738).
//
// [Validator.Validate] takes a slot (so many validations run at once), starts
// one clock for the whole attempt, and runs the method that [methods] names.
// Names are looked up by our own resolver, which asks the configured servers
// and nobody else. Of the addresses found, [policy] lets through at most one
// IPv6 and one IPv4 address; only what it let through (a target) can be
// dialed, and exactly that address is, again at each redirect. Whatever a
// peer sends is bounded before it is read, and read under the deadline. A
// trace keeps a step for each query, connection, redirect and verdict.
package validate

// Package acme is the state machine of RFC 8555 and its rules, without HTTP,
// SQL or network.
//
// [Service] is the engine. It owns the interfaces of what it needs: a [Store]
// that keeps accounts, orders and authorizations, a [Validator] that proves
// control of a name, and an [Issuer] that signs. Statuses are derived from
// facts ([Order.StatusAt], [Authorization.StatusAt]), never stored.
//
// Work that outlives a request (a validation, an issuance) is claimed by a
// compare-and-swap that also takes a lease. The request waits a bounded
// moment for the outcome. Should the process die, the lease runs out and
// [Service.Run], here or in another replica, takes the work over.
package acme

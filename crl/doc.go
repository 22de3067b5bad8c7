// Package crl builds, publishes and serves certificate revocation lists
// (RFC 5280 section 5).
//
// A revocation marks its shard due, in its own transaction. [Publisher.Run]
// looks for due shards several times a second, and [Publisher.Kick] wakes it:
//
//	Begin    a claim and the next CRL number, both durable
//	Revoked  what the list has to say, after the claim
//	encode   the to-be-signed bytes, signed by the issuer
//	check    parsed anew and compared with the list before; nothing that is
//	         wrong, or that left the list too early, is ever published
//	Put      the list is durable; then it is served from memory
//
// Every replica serves what any replica published, within a second. When
// making a list fails, the one before is served on, and it is tried again.
package crl

// Package ca is the signing core: it knows names, keys, profiles, CSRs and
// serial numbers, and it is the only code that signs.
//
// Outside bytes become values of types that only their parser can make
// ([ParseIdentifier], [ParseCSR]). [Authority.Issue] is the one way to a
// certificate, and its steps can't be reordered, because each takes what the
// one before returned:
//
//	prepare  profile, template, to-be-signed bytes, lint   -> ticket
//	reserve  serial and intent are durable in the Ledger
//	sign     takes a ticket, once; signs its bytes, verifies the signature
//	put      the certificate is durable before anybody sees it
//
// What is turned down comes back as a [*Refusal], whose code the ACME side
// translates to an error type of RFC 8555 section 6.7.
package ca

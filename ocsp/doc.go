// Package ocsp answers whether one certificate is good (RFC 6960, in the
// profile of RFC 5019, with nonces by RFC 9654).
//
//	parse    bytes from anybody become a [Request], or are malformed
//	find     the issuer by its hashes, the certificate in the store: always
//	         in the store, so that a revocation shows in the next answer
//	answer   a signed response; one whose facts have not changed since is
//	         taken from a bounded memory instead of being signed again
//
// A certificate is good from the moment its serial number was reserved, since
// from then on a signature may exist. What was never reserved is "unknown",
// never good. Issuers that are not served here are unauthorized(6).
package ocsp

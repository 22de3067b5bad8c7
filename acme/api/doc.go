// Package api speaks RFC 8555 over HTTP: JWS, nonces, JSON, links and problem
// documents. What a request means is the engine's business (package acme).
//
// A request goes one way. routes.go has one row for each resource: name,
// method, path, and the handler, whose type says what must have been proven
// ([request]: nothing, [keyed]: possession of a key, [signed]: an account).
// authenticate.go proves it: content type, size, JWS (jws.go), algorithm, url,
// key, signature, nonce (nonce.go), account. The handler reads the payload with
// package strict, asks the engine, and returns a reply or an error; it never
// holds the ResponseWriter. reply.go is the one place that writes.
//
// The Host header is never read: URLs are made from the configured base and
// the rows of routes.go.
package api

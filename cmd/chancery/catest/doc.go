// Package catest starts a whole Chancery on loopback beside a pretend
// Internet, for tests.
//
// [NewInternet] is the Internet: a DNS server with a programmable zone, a web
// server that answers http-01 and a TLS server that answers tls-alpn-01, each
// on a random loopback port. [Start] runs Chancery in the test's own process
// against it, [StartProcess] runs the built binary, so that it can be killed
// and so that real ACME clients can use it.
//
// Nothing is mocked: a test drives the public doors and then calls [CA.Check],
// the oracle, which re-reads the whole store and asks CRL and OCSP over HTTP
// whether they say the same.
package catest

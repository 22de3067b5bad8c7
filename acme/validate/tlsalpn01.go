package validate

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"

	"chancery/acme"
	"chancery/ca"

	"github.com/miekg/dns"
)

// alpnProtocol is the one protocol that is offered and must be chosen
// (RFC 8737 section 6.2).
const alpnProtocol = "acme-tls/1"

// tlsALPN01 validates as RFC 8737 section 3 says, and RFC 8738 section 6 for
// addresses.
func (v *Validator) tlsALPN01(ctx context.Context, t *trace, a acme.Attempt) error {
	sni := a.Identifier.Value()
	if a.Identifier.Type() == ca.IP {
		sni = reverseName(a.Identifier.Addr())
	}
	what := alpnProtocol + " " + a.Identifier.Value()
	targets, err := v.targets(ctx, t, a.Identifier)
	if err != nil {
		return err
	}
	conn, at, err := v.connect(ctx, t, what, targets, v.tlsPort)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	defer follow(ctx, conn)()
	state, err := shake(ctx, conn, sni)
	if err != nil {
		t.step("tls", what+" (SNI "+sni+")", at.String(), explain(err))
		return acme.Problemf(handshakeKind(err), "%s: %s %s (SNI %s, ALPN %s offered); make the client answer there and try again", what, at, explain(err), sni, alpnProtocol)
	}
	err = checkChallenge(state, a.Identifier, sha256.Sum256([]byte(a.KeyAuthorization)))
	if err != nil {
		t.step("tls", what+" (SNI "+sni+")", at.String(), err.Error())
		return acme.Problemf(acme.Unauthorized, "%s: %s %v; make the client which ordered answer there and try again", what, at, err)
	}
	t.step("tls", what+" (SNI "+sni+")", at.String(), tls.VersionName(state.Version)+", challenge certificate as wanted")
	return nil
}

// reverseName is the SNI for an address: its name below in-addr.arpa or
// ip6.arpa, without the final dot (RFC 8738 section 6).
func reverseName(addr netip.Addr) string {
	name, err := dns.ReverseAddr(addr.String())
	if err != nil {
		return "" // no address at all: there is none that is an identifier
	}
	return strings.TrimSuffix(name, ".")
}

// shake does the handshake and no more: RFC 8737 section 3 has no data after
// it. There is no session cache, so nothing is ever resumed, and an asked-for
// client certificate is answered with none. crypto/tls bounds RSA keys (8192
// bits) and messages, metered all of it.
func shake(ctx context.Context, conn net.Conn, sni string) (tls.ConnectionState, error) {
	c := tls.Client(conn, &tls.Config{
		MinVersion:         tls.VersionTLS12, // RFC 8737 section 4; SAFETY I3
		NextProtos:         []string{alpnProtocol},
		ServerName:         sni,
		InsecureSkipVerify: true, // #nosec G402 -- the certificate is the answer to the challenge, see checkChallenge
	})
	err := c.HandshakeContext(ctx)
	return c.ConnectionState(), err
}

// handshakeKind tells a connection that broke from a handshake that failed,
// and both from a certificate that is no answer at all.
func handshakeKind(err error) acme.Kind {
	var timeout net.Error
	var op *net.OpError
	switch {
	case strings.Contains(err.Error(), "failed to parse certificate"): // e.g. an extension that is there twice
		return acme.Unauthorized
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // alerts, crypto/tls calls them so
		return acme.TLS
	case errors.As(err, &timeout), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded):
		return acme.Connection
	}
	return acme.TLS
}

package app

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// Welcome is what `serve` prints once it listens: where everything is, and a
// line that obtains a first certificate as it is pasted. asRoot says whether
// the reader is root already.
func (a *App) Welcome(asRoot bool) string {
	var b strings.Builder
	if a.founded {
		fmt.Fprintf(&b, "Founded a new CA in %s.\n%s\n", a.parts.config.Dir, keepNote)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ACME directory\t%s\n", a.DirectoryURL())
	fmt.Fprintf(w, "Root certificate\t%s (also %s/%s)\n", a.RootPath(), a.PublishURL(), rootFile)
	fmt.Fprintf(w, "Root fingerprint\tSHA-256 %s\n", fingerprint(a.parts.root.Raw))
	fmt.Fprintf(w, "CRL and OCSP\t%s\n", a.PublishURL())
	fmt.Fprintf(w, "Operator\t%s (/metrics, /readyz)\n", a.AdminURL())
	_ = w.Flush() // into memory
	fmt.Fprintf(&b, "\nA first certificate, on this machine:\n\n  %s\n\n", a.certbotLine(asRoot))
	return b.String()
}

const keepNote = "Keep a copy of its `passphrase` file: without it the keys can't be opened.\n" +
	"Move keys/root.pem to an offline place: Chancery runs on without it.\n"

// certbotLine obtains a certificate for a name below localhost, which every
// machine resolves to itself (RFC 6761 section 6.3), with certbot as its own
// web server.
func (a *App) certbotLine(asRoot bool) string {
	line := "REQUESTS_CA_BUNDLE=" + shellWord(a.RootPath()) +
		" certbot certonly --standalone --non-interactive --agree-tos --register-unsafely-without-email" +
		" --server " + shellWord(a.DirectoryURL()) + " -d my-first.localhost"
	if port := a.parts.config.Validation.HTTPPort; port != 80 {
		line += fmt.Sprintf(" --http-01-port %d", port)
	}
	if !asRoot { // certbot writes to /etc/letsencrypt and listens on port 80
		line = "sudo env " + line
	}
	return line
}

// shellWord quotes a word for a POSIX shell if it needs it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@%+=,[]", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) || r == '[' || r == ']' }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// fingerprint is SHA-256 in the form that openssl and browsers show.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(strings.ToUpper(fmt.Sprintf("% x", sum)), " ", ":")
}

// InitNote is what `init` prints: what was founded, and what to do with it.
func InitNote(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	root, err := readRoot(abs)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Founded %q in %s.\nRoot fingerprint  SHA-256 %s\n%s\nNext:  chancery serve --dir %s\n",
		root.Subject.CommonName, abs, fingerprint(root.Raw), keepNote, shellWord(dir)), nil
}

// Reach is the address by which this machine reaches the operator's door: the
// one it listens on, with loopback in the place of "all addresses".
func (a AdminConfig) Reach() string {
	host, port, err := net.SplitHostPort(a.Listen)
	if err != nil {
		return a.Listen // checked when it was read
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// KeyReference lists every key of the configuration with its meaning.
func KeyReference() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\n", k.name, k.doc)
	}
	for _, k := range profileKeys {
		fmt.Fprintf(w, "profiles.NAME.%s\t%s\n", k.name, k.doc)
	}
	_ = w.Flush() // into memory
	return b.String()
}

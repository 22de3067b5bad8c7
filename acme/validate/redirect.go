package validate

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"chancery/ca"
)

// maxURL bounds a redirect's URL, as given and as resolved (SAFETY row 189).
const maxURL = 2000

// nextHop reads a Location header and decides whether it may be followed. Its
// errors continue "answered 302 Found to ..., ". Where the host leads is for
// the resolver and the policy to say, as it was for the first hop.
func (v *Validator) nextHop(from hop, location []string) (hop, error) {
	u, err := parseLocation(from.url, location)
	if err != nil {
		return hop{}, err
	}
	usual, port := uint16(80), v.httpPort
	if u.Scheme == "https" {
		usual, port = 443, v.tlsPort
	}
	host, err := parseHost(u.Hostname())
	if err != nil {
		return hop{}, err
	}
	if given := u.Port(); given != "" {
		if port, err = v.parsePort(given); err != nil {
			return hop{}, err
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return hop{}, errors.New("which has a colon but no port; take it out")
	}
	u.Host = authority(host, port, usual)
	if u.Path == "" {
		u.Path = "/"
	}
	if len(u.String()) > maxURL {
		return hop{}, fmt.Errorf("a URL of more than %d bytes; shorten it", maxURL)
	}
	return hop{url: u, host: host, port: port}, nil
}

// parseLocation resolves the Location header against the URL it came from
// (RFC 9110 section 10.2.2), and refuses what programs read in different ways.
func parseLocation(from *url.URL, location []string) (*url.URL, error) {
	if len(location) != 1 || location[0] == "" {
		return nil, errors.New("want exactly one Location")
	}
	raw := location[0]
	switch {
	case len(raw) > maxURL:
		return nil, fmt.Errorf("a URL of more than %d bytes; shorten it", maxURL)
	case !printable(raw) || strings.ContainsAny(raw, ` \`): // a URL has none (RFC 3986 section 2)
		return nil, errors.New("which holds characters that no URL may hold; escape them")
	}
	u, err := from.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("which is no URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("which is neither http nor https")
	case u.Opaque != "":
		return nil, errors.New("which has no //; name the host")
	case u.User != nil:
		return nil, errors.New("which holds a user name; take it out")
	}
	u.Fragment, u.RawFragment = "", "" // never sent (RFC 9110 section 4.2.5)
	return u, nil
}

// parsePort takes the two configured ports and no other (BR 1.6.1, Authorized
// Ports; SAFETY row 187).
func (v *Validator) parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || uint16(n) != v.httpPort && uint16(n) != v.tlsPort {
		return 0, fmt.Errorf("to a port other than %d and %d; redirect to one of these", v.httpPort, v.tlsPort)
	}
	return uint16(n), nil
}

// parseHost makes an identifier of a URL's host.
func parseHost(host string) (ca.Identifier, error) {
	switch {
	case host == "":
		return ca.Identifier{}, errors.New("which names no host")
	case strings.HasSuffix(host, ".well-known"):
		return ca.Identifier{}, errors.New("where a slash is missing between host and path")
	case strings.Contains(host, "%"):
		return ca.Identifier{}, errors.New("whose host has a zone or an escape; take it out")
	}
	typ, value := "dns", strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil {
		typ, value = "ip", addr.Unmap().String()
	} else if endsInNumber(value) {
		// 127.1, 2130706433, 0x7f.1, 0177.0.0.1: some programs take these for
		// addresses, so they can't be names either (SAFETY row 188).
		return ca.Identifier{}, errors.New("whose host is a number in an unusual form; write the address in full")
	}
	id, err := ca.ParseIdentifier(typ, value)
	if err != nil || id.IsWildcard() {
		return ca.Identifier{}, errors.New("whose host is no name and no address")
	}
	return id, nil
}

// endsInNumber says whether the last label is decimal, octal or hexadecimal.
func endsInNumber(host string) bool {
	last := strings.TrimSuffix(host, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

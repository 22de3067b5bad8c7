package strict

import (
	"encoding/base64"
	"errors"
	"strings"
)

var errBase64URL = errors.New("not base64url without padding (RFC 7515 section 2) in its one canonical form")

// Base64URL decodes base64url without padding. Each octet string has exactly
// one text that is taken: no padding, no other alphabet, no line breaks
// (which encoding/base64 skips), and no bits set behind the last octet
// (RFC 4648 section 3.5). Otherwise one signature would have many spellings.
func Base64URL(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errBase64URL
	}
	b, err := strictURL.DecodeString(s)
	if err != nil {
		return nil, errBase64URL
	}
	return b, nil
}

var strictURL = base64.RawURLEncoding.Strict()

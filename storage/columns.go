package storage

import (
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// stamp is an instant in a column: Unix milliseconds, and NULL for the zero time.
type stamp time.Time

// Value implements driver.Valuer.
func (s stamp) Value() (driver.Value, error) {
	t := time.Time(s)
	if t.IsZero() {
		return nil, nil
	}
	return t.UnixMilli(), nil
}

// Scan implements sql.Scanner.
func (s *stamp) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*s = stamp{}
	case int64:
		*s = stamp(time.UnixMilli(v).UTC())
	default:
		return fmt.Errorf("an instant is stored as %T, not as an integer", src)
	}
	return nil
}

func (s stamp) time() time.Time { return time.Time(s) }

// rowID is the 16 octets of an ID or of a serial number in a column; all zero is NULL.
type rowID [16]byte

// Value implements driver.Valuer.
func (x rowID) Value() (driver.Value, error) {
	if x == (rowID{}) {
		return nil, nil
	}
	return x[:], nil
}

// Scan implements sql.Scanner.
func (x *rowID) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*x = rowID{}
	case []byte:
		if len(v) != len(x) {
			return fmt.Errorf("an ID is stored with %d octets, not %d", len(v), len(x))
		}
		*x = rowID(v)
	default:
		return fmt.Errorf("an ID is stored as %T, not as octets", src)
	}
	return nil
}

// text is the ID as it stands in URLs; empty for none.
func (x rowID) text() string {
	if x == (rowID{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(x[:])
}

// idLength is the length of 16 octets in base64url without padding.
const idLength = 22

// parseID reads the ID of an object. Only one spelling is accepted, so that no
// object has two names. What is no ID names nothing: ca.ErrNotFound.
func parseID(what, text string) (rowID, error) {
	var x rowID
	if len(text) == idLength {
		n, err := base64.RawURLEncoding.Strict().Decode(x[:], []byte(text))
		if err == nil && n == len(x) && x != (rowID{}) {
			return x, nil
		}
	}
	return rowID{}, fmt.Errorf("%s ID %.40q is not 16 octets in base64url: %w", what, text, ca.ErrNotFound)
}

// parseOptionalID is parseID for a reference that may be empty.
func parseOptionalID(what, text string) (rowID, error) {
	if text == "" {
		return rowID{}, nil
	}
	return parseID(what, text)
}

// digest is a SHA-256 in a column.
type digest [32]byte

// Value implements driver.Valuer.
func (h digest) Value() (driver.Value, error) { return h[:], nil }

// Scan implements sql.Scanner.
func (h *digest) Scan(src any) error {
	v, ok := src.([]byte)
	if !ok || len(v) != len(h) {
		return fmt.Errorf("32 octets are stored as %T of %d", src, len(v))
	}
	*h = digest(v)
	return nil
}

// optional is a string in a column where empty is NULL.
type optional string

// Value implements driver.Valuer.
func (t optional) Value() (driver.Value, error) {
	if t == "" {
		return nil, nil
	}
	return string(t), nil
}

// Scan implements sql.Scanner.
func (t *optional) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t = ""
	case string:
		*t = optional(v)
	case []byte:
		*t = optional(v)
	default:
		return fmt.Errorf("a text is stored as %T", src)
	}
	return nil
}

// flag is a truth in a column: 0 or 1, since the databases share no other form.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// nameList are identifiers in a column: a JSON array of "type:value".
type nameList []ca.Identifier

// Value implements driver.Valuer.
func (n nameList) Value() (driver.Value, error) {
	list := make([]string, len(n))
	for i, name := range n {
		list[i] = name.String()
	}
	b, err := json.Marshal(list)
	return string(b), err
}

// Scan implements sql.Scanner.
func (n *nameList) Scan(src any) error {
	var list []string
	if err := scanJSON(src, &list); err != nil {
		return fmt.Errorf("identifiers: %w", err)
	}
	*n = make(nameList, len(list))
	for i, s := range list {
		name, err := parseName(s)
		if err != nil {
			return err
		}
		(*n)[i] = name
	}
	return nil
}

// parseName reads what Identifier.String wrote, through the one parser, which
// must find it in its normal form.
func parseName(s string) (ca.Identifier, error) {
	typ, value, _ := strings.Cut(s, ":")
	name, err := ca.ParseIdentifier(typ, value)
	if err != nil {
		return ca.Identifier{}, fmt.Errorf("stored identifier %.300q: %w", s, err)
	}
	if name.String() != s {
		return ca.Identifier{}, fmt.Errorf("stored identifier %.300q is not in its normal form %q", s, name)
	}
	return name, nil
}

// problemDoc is a problem document in a column, NULL for nil.
type problemDoc struct{ *acme.Problem }

// Value implements driver.Valuer.
func (p problemDoc) Value() (driver.Value, error) {
	if p.Problem == nil {
		return nil, nil
	}
	b, err := json.Marshal(p.Problem)
	return string(b), err
}

// Scan implements sql.Scanner.
func (p *problemDoc) Scan(src any) error {
	p.Problem = nil
	if src == nil {
		return nil
	}
	var read acme.Problem
	if err := scanJSON(src, &read); err != nil {
		return fmt.Errorf("problem document: %w", err)
	}
	p.Problem = &read
	return nil
}

// contactList are contact URLs in a column: a JSON array.
type contactList []string

// Value implements driver.Valuer.
func (c contactList) Value() (driver.Value, error) {
	if c == nil {
		return "[]", nil
	}
	b, err := json.Marshal([]string(c))
	return string(b), err
}

// Scan implements sql.Scanner. No contact is nil.
func (c *contactList) Scan(src any) error {
	var list []string
	if err := scanJSON(src, &list); err != nil {
		return fmt.Errorf("contacts: %w", err)
	}
	*c = nil
	if len(list) > 0 {
		*c = list
	}
	return nil
}

// typeList are challenge types in a column, separated by a space.
type typeList []acme.ChallengeType

// Value implements driver.Valuer.
func (c typeList) Value() (driver.Value, error) {
	list := make([]string, len(c))
	for i, t := range c {
		list[i] = string(t)
	}
	return strings.Join(list, " "), nil
}

// Scan implements sql.Scanner.
func (c *typeList) Scan(src any) error {
	var joined optional
	if err := joined.Scan(src); err != nil {
		return err
	}
	*c = nil
	for _, t := range strings.Fields(string(joined)) {
		*c = append(*c, acme.ChallengeType(t))
	}
	return nil
}

// idList is several IDs in one column, one behind the other.
type idList []rowID

// Value implements driver.Valuer.
func (l idList) Value() (driver.Value, error) {
	b := make([]byte, 0, len(l)*len(rowID{}))
	for _, x := range l {
		b = append(b, x[:]...)
	}
	return b, nil
}

// Scan implements sql.Scanner.
func (l *idList) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b)%len(rowID{}) != 0 {
		return fmt.Errorf("a list of IDs is stored as %T of %d octets", src, len(b))
	}
	*l = make(idList, 0, len(b)/len(rowID{}))
	for ; len(b) > 0; b = b[len(rowID{}):] {
		*l = append(*l, rowID(b[:len(rowID{})]))
	}
	return nil
}

func scanJSON(src, into any) error {
	switch v := src.(type) {
	case string:
		return json.Unmarshal([]byte(v), into)
	case []byte:
		return json.Unmarshal(v, into)
	}
	return fmt.Errorf("stored as %T, not as JSON", src)
}

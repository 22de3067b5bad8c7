package api

import (
	"fmt"
	"time"

	"chancery/acme/strict"
)

// optionalTime is a member that holds a time of RFC 3339 and may be absent:
// zero then. Fractions of a second can't be certified (RFC 5280 section
// 4.1.2.5) and what was asked for must not be altered (RFC 8555 section 7.4),
// so they are refused. Years before 1970 are, because the year 1 is Go's zero.
func optionalTime(v *strict.Value, name string) (time.Time, error) {
	text, err := v.OptionalString(name)
	if err != nil || v.Member(name) == nil || v.Member(name).Kind() == strict.Null {
		return time.Time{}, err
	}
	var t time.Time
	// UnmarshalText, because Parse also takes what RFC 3339 does not.
	if err := t.UnmarshalText([]byte(text)); err != nil || t.Year() < 1970 || t.Nanosecond() != 0 {
		return time.Time{}, fmt.Errorf("member %q is %.60q; it must be a time of RFC 3339 in whole seconds, such as 2030-01-31T00:00:00Z", name, text)
	}
	return t.UTC(), nil
}

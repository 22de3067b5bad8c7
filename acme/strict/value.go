package strict

import (
	"fmt"
	"strconv"
)

// Kind is the type of a JSON value.
type Kind uint8

// The kinds of JSON values (RFC 8259 section 3).
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

var kindNames = [...]string{"null", "a boolean", "a number", "a string", "an array", "an object"}

func (k Kind) String() string { return kindNames[k] }

// Value is a JSON value that Parse took. The zero Value is null.
type Value struct {
	kind    Kind
	raw     string // as it stood in the text
	text    string // of a string: what it means
	items   []Value
	members []member
}

type member struct {
	name  string
	value Value
}

// Kind is the value's type.
func (v *Value) Kind() Kind { return v.kind }

// Raw is the value as it stood in the text, without space around it.
func (v *Value) Raw() string { return v.raw }

// Text is the meaning of a string, and empty for every other kind.
func (v *Value) Text() string { return v.text }

// Items are the elements of an array, and nil for every other kind.
func (v *Value) Items() []Value { return v.items }

// Len is how many members an object has.
func (v *Value) Len() int { return len(v.members) }

// Member finds an object's member by its exact name, nil when there is none.
func (v *Value) Member(name string) *Value {
	for i := range v.members {
		if v.members[i].name == name {
			return &v.members[i].value
		}
	}
	return nil
}

// has finds a member that is not null. Clients in use send null for members
// that they leave out, so that null and absent are one thing for optional ones.
func (v *Value) has(name string, want Kind) (*Value, error) {
	m := v.Member(name)
	if m == nil || m.kind == Null {
		return nil, nil
	}
	if m.kind != want {
		return nil, fmt.Errorf("member %q must be %s, it is %s", name, want, m.kind)
	}
	return m, nil
}

// StringOf is the text of a member that must be there and be a string.
func (v *Value) StringOf(name string) (string, error) {
	m := v.Member(name)
	if m == nil {
		return "", fmt.Errorf("member %q is missing", name)
	}
	if m.kind != String {
		return "", fmt.Errorf("member %q must be a string, it is %s", name, m.kind)
	}
	return m.text, nil
}

// OptionalString is the text of a member that may be absent or null: empty then.
func (v *Value) OptionalString(name string) (string, error) {
	m, err := v.has(name, String)
	if m == nil {
		return "", err
	}
	return m.text, nil
}

// OptionalBool is a member that may be absent or null: false then.
func (v *Value) OptionalBool(name string) (bool, error) {
	m, err := v.has(name, Bool)
	return m != nil && m.raw == "true", err
}

// OptionalInt is an integer member that may be absent or null: nil then. It
// takes plain decimal integers of 64 bits only: a fraction, an exponent or -0
// would mean the same to some readers and not to others.
func (v *Value) OptionalInt(name string) (*int64, error) {
	m, err := v.has(name, Number)
	if m == nil {
		return nil, err
	}
	n, err := strconv.ParseInt(m.raw, 10, 64)
	if err != nil || m.raw == "-0" {
		return nil, fmt.Errorf("member %q must be a plain 64-bit integer", name)
	}
	return &n, nil
}

// OptionalStrings is an array of strings that may be absent or null: nil then,
// and not nil when it is there and empty.
func (v *Value) OptionalStrings(name string) ([]string, error) {
	m, err := v.has(name, Array)
	if m == nil {
		return nil, err
	}
	list := make([]string, 0, len(m.items))
	for i := range m.items {
		if m.items[i].kind != String {
			return nil, fmt.Errorf("member %q must hold strings only, element %d is %s", name, i, m.items[i].kind)
		}
		list = append(list, m.items[i].text)
	}
	return list, nil
}

// OptionalObject is a member that may be absent or null: nil then.
func (v *Value) OptionalObject(name string) (*Value, error) { return v.has(name, Object) }

// OptionalArray is a member that may be absent or null: nil then.
func (v *Value) OptionalArray(name string) (*Value, error) { return v.has(name, Array) }

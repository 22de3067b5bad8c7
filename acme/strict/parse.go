package strict

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds on one text. Nothing in RFC 8555 or its companions comes near them.
const (
	// MaxDepth of nesting: a newAccount with its external binding has 2, an
	// inner JWK 3.
	MaxDepth = 8
	// MaxMembers of one object: duplicates are looked for by walking the
	// members, so that this also bounds the time (64 KiB of two-letter
	// members would be fifty million compares).
	MaxMembers = 64
	// MaxValues in one text, all levels together: a value takes some ninety
	// octets of memory and may stand for two of text ("0,"), before anybody
	// proved anything. An order of 1,000 names has 3,003.
	MaxValues = 4096
)

// Parse reads a text that is one JSON value.
func Parse(text string) (Value, error) {
	p := parser{text: text}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.at != len(p.text) {
		return Value{}, p.errorf("something stands behind the value")
	}
	return v, nil
}

// ParseObject reads a text that is one JSON object.
func ParseObject(text string) (Value, error) {
	v, err := Parse(text)
	if err != nil {
		return Value{}, err
	}
	if v.kind != Object {
		return Value{}, fmt.Errorf("JSON must be an object here, it is %s", v.kind)
	}
	return v, nil
}

type parser struct {
	text   string
	at     int
	values int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("not usable as JSON: "+format+" (at byte %d)", append(args, p.at)...)
}

// space skips what RFC 8259 section 2 calls ws, and nothing else.
func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end (0 itself is no part of JSON).
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) value(depth int) (Value, error) {
	if depth > MaxDepth {
		return Value{}, p.errorf("nested deeper than %d", MaxDepth)
	}
	if p.values++; p.values > MaxValues {
		return Value{}, p.errorf("more than %d values", MaxValues)
	}
	start := p.at
	var v Value
	var err error
	switch c := p.peek(); {
	case c == '{':
		v, err = p.object(depth)
	case c == '[':
		v, err = p.array(depth)
	case c == '"':
		v.kind = String
		v.text, err = p.string()
	case c == '-' || '0' <= c && c <= '9':
		v.kind = Number
		err = p.number()
	default:
		v.kind, err = p.word()
	}
	if err != nil {
		return Value{}, err
	}
	v.raw = p.text[start:p.at]
	return v, nil
}

func (p *parser) word() (Kind, error) {
	for _, w := range [...]struct {
		text string
		kind Kind
	}{{"null", Null}, {"true", Bool}, {"false", Bool}} {
		if strings.HasPrefix(p.text[p.at:], w.text) {
			p.at += len(w.text)
			return w.kind, nil
		}
	}
	return Null, p.errorf("no value")
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{kind: Object}
	p.at++ // '{'
	p.space()
	if p.peek() == '}' {
		p.at++
		return v, nil
	}
	for {
		m, err := p.member(depth)
		if err != nil {
			return v, err
		}
		if v.Member(m.name) != nil {
			// RFC 8259 section 4: readers differ in which one they take.
			return v, p.errorf("member %.40q occurs twice", m.name)
		}
		if len(v.members) == MaxMembers {
			return v, p.errorf("more than %d members in one object", MaxMembers)
		}
		v.members = append(v.members, m)
		p.space()
		switch p.peek() {
		case ',':
			p.at++
			p.space()
		case '}':
			p.at++
			return v, nil
		default:
			return v, p.errorf("expected , or }")
		}
	}
}

func (p *parser) member(depth int) (member, error) {
	if p.peek() != '"' {
		return member{}, p.errorf("expected a member name")
	}
	name, err := p.string()
	if err != nil {
		return member{}, err
	}
	p.space()
	if p.peek() != ':' {
		return member{}, p.errorf("expected :")
	}
	p.at++
	p.space()
	v, err := p.value(depth + 1)
	return member{name, v}, err
}

func (p *parser) array(depth int) (Value, error) {
	v := Value{kind: Array}
	p.at++ // '['
	p.space()
	if p.peek() == ']' {
		p.at++
		return v, nil
	}
	for {
		item, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, item)
		p.space()
		switch p.peek() {
		case ',':
			p.at++
			p.space()
		case ']':
			p.at++
			return v, nil
		default:
			return v, p.errorf("expected , or ]")
		}
	}
}

// number walks over a number (RFC 8259 section 6); its meaning is for
// OptionalInt, so that no float ever stands between.
func (p *parser) number() error {
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++ // no digit may follow: a leading zero is octal to some readers
	} else if p.digits() == 0 {
		return p.errorf("expected a digit")
	}
	if p.peek() == '.' {
		p.at++
		if p.digits() == 0 {
			return p.errorf("expected a digit behind the point")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return p.errorf("expected a digit of the exponent")
		}
	}
	return nil
}

func (p *parser) digits() int {
	start := p.at
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at - start
}

// string reads a string. Without an escape in it the result is a piece of the
// text, not a copy.
func (p *parser) string() (string, error) {
	p.at++ // '"'
	start := p.at
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[start:p.at]
			p.at++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.errorf("control character in a string")
		case c < utf8.RuneSelf:
			p.at++
		default:
			if err := p.rune(); err != nil {
				return "", err
			}
		}
	}
	return "", p.errorf("string without end")
}

// rune walks over one character of several bytes.
func (p *parser) rune() error {
	r, n := utf8.DecodeRuneInString(p.text[p.at:])
	if r == utf8.RuneError && n == 1 {
		return p.errorf("invalid UTF-8")
	}
	p.at += n
	return nil
}

// escaped reads on in a string that began at start and has its first escape here.
func (p *parser) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(p.text[start:p.at])
	for p.at < len(p.text) {
		from := p.at
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			continue
		case c < 0x20:
			return "", p.errorf("control character in a string")
		case c < utf8.RuneSelf:
			p.at++
		default:
			if err := p.rune(); err != nil {
				return "", err
			}
		}
		b.WriteString(p.text[from:p.at])
	}
	return "", p.errorf("string without end")
}

func (p *parser) escape() (rune, error) {
	p.at++ // '\'
	c := p.peek()
	p.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.unicode()
	}
	return 0, p.errorf("unknown escape in a string")
}

func (p *parser) unicode() (rune, error) {
	r, err := p.hex4()
	if err != nil {
		return 0, err
	}
	if r == 0 {
		return 0, p.errorf("U+0000 in a string") // ends the string for readers in C
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if !strings.HasPrefix(p.text[p.at:], `\u`) {
		return 0, p.errorf("lone surrogate in a string")
	}
	p.at += 2
	low, err := p.hex4()
	if err != nil {
		return 0, err
	}
	full := utf16.DecodeRune(r, low)
	if full == utf8.RuneError {
		return 0, p.errorf("lone surrogate in a string")
	}
	return full, nil
}

func (p *parser) hex4() (rune, error) {
	if len(p.text)-p.at < 4 {
		return 0, p.errorf("expected four hex digits")
	}
	var r rune
	for range 4 {
		c := p.text[p.at]
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, p.errorf("expected four hex digits")
		}
		p.at++
	}
	return r, nil
}

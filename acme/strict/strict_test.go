package strict_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"chancery/acme/strict"
)

func TestParseTakes(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `""`, `null`, `true`, `false`, `0`, `-0`, `-1.5e+10`, `1E2`, " \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
		`{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":1}}}}}}}}`, // depth 8
		`"\u00e9\ud83d\ude00é😀\"\\\/\b\f\n\r\t"`,
		`{"csr":1,"CSR":2,"Csr":3}`, // three names
	} {
		v, err := strict.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var want any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%s is no JSON to encoding/json: %v", text, err)
		}
		if !strings.Contains(text, "CSR") && !reflect.DeepEqual(plain(t, &v), want) {
			t.Errorf("%s: read as %v, encoding/json reads %v", text, plain(t, &v), want)
		}
		if v.Raw() != strings.Trim(text, " \t\r\n") {
			t.Errorf("%s: Raw is %s", text, v.Raw())
		}
	}
}

// plain is the value as encoding/json would decode it into an any.
func plain(t *testing.T, v *strict.Value) any {
	switch v.Kind() {
	case strict.String:
		return v.Text()
	case strict.Array:
		list := make([]any, 0, len(v.Items()))
		for i := range v.Items() {
			list = append(list, plain(t, &v.Items()[i]))
		}
		return list
	case strict.Object:
		// Members are not listed in the API: nobody needs to walk them. Read
		// the raw text, and see that each member that it has is found.
		var raw map[string]json.RawMessage
		if err := json.Unmarshal([]byte(v.Raw()), &raw); err != nil {
			t.Fatalf("Raw %q: %v", v.Raw(), err)
		}
		if len(raw) != v.Len() {
			t.Fatalf("%s: %d members, encoding/json finds %d", v.Raw(), v.Len(), len(raw))
		}
		m := make(map[string]any)
		for name := range raw {
			member := v.Member(name)
			if member == nil {
				t.Fatalf("%s: member %q is not found", v.Raw(), name)
			}
			m[name] = plain(t, member)
		}
		return m
	case strict.Null, strict.Bool, strict.Number:
	}
	var out any
	if err := json.Unmarshal([]byte(v.Raw()), &out); err != nil {
		t.Fatalf("Raw %q: %v", v.Raw(), err)
	}
	return out
}

// SAFETY 77 to 82.
func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":             ``,
		"space only":          " \n",
		"bom":                 "\ufeff{}",
		"second value":        `{} {}`,
		"garbage behind":      `{}x`,
		"NUL behind":          "{}\x00",
		"comma behind":        `{},`,
		"duplicate":           `{"a":1,"b":2,"a":1}`,
		"duplicate, escaped":  `{"a":1,"\u0061":2}`,
		"duplicate inside":    `{"x":{"a":1,"a":1}}`,
		"too deep":            strings.Repeat("[", strict.MaxDepth+2) + strings.Repeat("]", strict.MaxDepth+2),
		"open brackets":       strings.Repeat("[", 100_000),
		"open braces":         strings.Repeat(`{"a":`, 100_000),
		"too many members":    manyMembers(strict.MaxMembers + 1),
		"too many values":     "[" + strings.Repeat("0,", strict.MaxValues) + "0]",
		"invalid UTF-8":       "\"a\xff\"",
		"invalid, escaped":    "\"\\n\xc3\x28\"",
		"overlong UTF-8":      "\"\xc0\xaf\"",
		"surrogate in UTF-8":  "\"\xed\xa0\x80\"",
		"lone high":           `"\ud800"`,
		"lone high, then not": `"\ud800\u0041"`,
		"lone high, then x":   `"\ud800x"`,
		"lone high, escape":   `"\ud800\n"`,
		"lone low":            `"\udc00"`,
		"U+0000":              `"\u0000"`,
		"raw NUL":             "\"\x00\"",
		"raw newline":         "\"\n\"",
		"raw newline, later":  "\"\\t\n\"",
		"no end":              `"abc`,
		"no end, escaped":     `"abc\n`,
		"ends in escape":      `"abc\`,
		"short hex":           `"\u12`,
		"bad hex":             `"\u12x4"`,
		"unknown escape":      `"\x41"`,
		"single quotes":       `{'a':1}`,
		"bare name":           `{a:1}`,
		"no colon":            `{"a" 1}`,
		"no value":            `{"a":}`,
		"comma at the end":    `{"a":1,}`,
		"array comma":         `[1,]`,
		"array without comma": `[1 2]`,
		"comment":             `{}/**/`,
		"NaN":                 `NaN`,
		"+1":                  `+1`,
		"01":                  `01`,
		"-":                   `-`,
		"1.":                  `1.`,
		".1":                  `.1`,
		"1e":                  `1e`,
		"1e+":                 `1e+`,
		"TRUE":                `TRUE`,
		"vertical tab":        "{\v}",
		"no-break space":      "{\u00a0}",
	} {
		began := time.Now()
		if v, err := strict.Parse(text); err == nil {
			t.Errorf("%s: taken as %s", name, v.Kind())
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: the error repeats too much: %v", name, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	if _, err := strict.Parse(manyMembers(strict.MaxMembers)); err != nil {
		t.Errorf("%d members: %v", strict.MaxMembers, err)
	}
	if _, err := strict.Parse("[" + strings.Repeat("0,", strict.MaxValues-2) + "0]"); err != nil {
		t.Errorf("%d values: %v", strict.MaxValues, err)
	}
	if _, err := strict.ParseObject(`[]`); err == nil {
		t.Error("an array is taken as an object")
	}
}

func manyMembers(n int) string {
	m := make(map[string]int, n)
	for i := range n {
		m[strings.Repeat("x", i+1)] = i
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestMembers(t *testing.T) {
	v, err := strict.ParseObject(`{"s":"text","n":null,"i":7,"big":9007199254740993,"over":9223372036854775808,"f":1.0,"e":1e2,"z":-0,
		"t":true,"u":false,"l":["a","b"],"empty":[],"mixed":["a",1],"o":{"x":1},"S":"other"}`)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got any, err error, want any) {
		t.Helper()
		switch {
		case want == nil && err == nil:
			t.Errorf("%s: taken as %v", what, got)
		case want != nil && err != nil:
			t.Errorf("%s: %v", what, err)
		case want != nil && !reflect.DeepEqual(got, want):
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	for name, want := range map[string]any{"s": "text", "S": "other", "n": nil, "i": nil, "absent": nil, "o": nil} {
		got, err := v.StringOf(name)
		check("StringOf "+name, got, err, want)
	}
	for name, want := range map[string]any{"s": "text", "n": "", "absent": "", "i": nil, "l": nil} {
		got, err := v.OptionalString(name)
		check("OptionalString "+name, got, err, want)
	}
	for name, want := range map[string]any{"t": true, "u": false, "n": false, "absent": false, "s": nil, "i": nil} {
		got, err := v.OptionalBool(name)
		check("OptionalBool "+name, got, err, want)
	}
	for name, want := range map[string]any{"i": int64(7), "big": int64(9007199254740993), "over": nil, "f": nil, "e": nil, "z": nil, "s": nil} {
		got, err := v.OptionalInt(name)
		if err == nil && got == nil {
			err = errors.New("nil")
		}
		var n any
		if got != nil {
			n = *got
		}
		check("OptionalInt "+name, n, err, want)
	}
	for name, want := range map[string]any{"l": []string{"a", "b"}, "empty": []string{}, "n": []string(nil), "mixed": nil, "s": nil} {
		got, err := v.OptionalStrings(name)
		check("OptionalStrings "+name, got, err, want)
	}
	if o, err := v.OptionalObject("o"); err != nil || o == nil || o.Raw() != `{"x":1}` {
		t.Errorf("OptionalObject: %v %v", o, err)
	}
	if o, err := v.OptionalObject("l"); err == nil {
		t.Errorf("OptionalObject of an array: %v", o)
	}
	if l, err := v.OptionalArray("mixed"); err != nil || len(l.Items()) != 2 {
		t.Errorf("OptionalArray: %v %v", l, err)
	}
	if n, err := v.OptionalInt("absent"); n != nil || err != nil {
		t.Errorf("OptionalInt of nothing: %v %v", n, err)
	}
}

// SAFETY 59, 60: one text for each octet string.
func TestBase64URL(t *testing.T) {
	for _, b := range [][]byte{{}, {0}, {0, 1}, {0xff, 0xfe, 0xfd}, bytes.Repeat([]byte{0xa5}, 100)} {
		text := base64.RawURLEncoding.EncodeToString(b)
		if got, err := strict.Base64URL(text); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"AA==", "AA=", "+/+/", "A", "AB", "AAB", "A A", "AA\n", "\nAA", "AA\r\n", " AA", "AA ", "A\nA", "é", "AA\x00"} {
		if got, err := strict.Base64URL(text); err == nil {
			t.Errorf("%q is taken as %x", text, got)
		}
	}
}

// FuzzStrictJSON: what is taken is JSON to encoding/json too, means the same
// there, and what is read again from Raw is the same.
func FuzzStrictJSON(f *testing.F) {
	for _, seed := range []string{
		`{"protected":"e30","payload":"","signature":"AA"}`, `{"identifiers":[{"type":"dns","value":"a.example"}],"notAfter":null}`,
		`{"a":1,"a":2}`, `["\ud83d\ude00", "\ud800"]`, "\ufeff{}", `{"reason":1e400}`, `{"reason":-0}`, strings.Repeat("[", 20), `{"é":"\u0000"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := strict.Parse(text)
		if err != nil {
			return
		}
		var want any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			t.Fatalf("taken, but encoding/json says %v", err)
		}
		if _, number := want.(json.Number); v.Kind() == strict.Number && !number {
			t.Fatalf("kind %s, encoding/json reads %T", v.Kind(), want)
		}
		if s, ok := want.(string); ok && s != v.Text() {
			t.Fatalf("text %q, encoding/json reads %q", v.Text(), s)
		}
		again, err := strict.Parse(v.Raw())
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("Raw %q reads as another value: %v", v.Raw(), err)
		}
	})
}

func FuzzBase64URL(f *testing.F) {
	f.Add("AA")
	f.Add("AB\n")
	f.Fuzz(func(t *testing.T, text string) {
		if b, err := strict.Base64URL(text); err == nil && base64.RawURLEncoding.EncodeToString(b) != text {
			t.Fatalf("%q decodes to %x, which is spelled differently", text, b)
		}
	})
}

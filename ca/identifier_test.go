package ca

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseIdentifier(t *testing.T) {
	long := strings.Repeat("a", 63)
	name253 := strings.Join([]string{long, long, long, strings.Repeat("a", 61)}, ".")
	const bad = "\x00" // no normal form
	for _, c := range []struct {
		typ, value, normal string
		code               Code
	}{
		{"dns", "a.example", "a.example", 0},
		{"dns", "A.Example", "a.example", 0},
		{"dns", "*.A.example", "*.a.example", 0},
		{"dns", "localhost", "localhost", 0},
		{"dns", "*.localhost", "*.localhost", 0},
		{"dns", "1.a", "1.a", 0},
		{"dns", "a-b.c--d.example", "a-b.c--d.example", 0}, // hyphens at 2 and 3, not at 3 and 4
		{"dns", "xn--mnchen-3ya.example", "xn--mnchen-3ya.example", 0},
		{"dns", "XN--MNCHEN-3YA.example", "xn--mnchen-3ya.example", 0},
		{"dns", "xn--fiqs8s", "xn--fiqs8s", 0},
		{"dns", "xn--ls8h.example", "xn--ls8h.example", 0}, // a sign that IDNA 2008 leaves out and registries sell
		{"dns", name253, name253, 0},
		{"dns", long + ".example", long + ".example", 0},

		{"dns", "", bad, MalformedIdentifier},
		{"dns", ".", bad, MalformedIdentifier},
		{"dns", "a.example.", bad, MalformedIdentifier},
		{"dns", ".example", bad, MalformedIdentifier},
		{"dns", "a..example", bad, MalformedIdentifier},
		{"dns", name253 + "a", bad, MalformedIdentifier},
		{"dns", "a" + long + ".example", bad, MalformedIdentifier},
		{"dns", strings.Repeat("a.", 128) + "example", bad, MalformedIdentifier},
		{"dns", "-a.example", bad, MalformedIdentifier},
		{"dns", "a-.example", bad, MalformedIdentifier},
		{"dns", "a_b.example", bad, MalformedIdentifier},
		{"dns", "a b.example", bad, MalformedIdentifier},
		{"dns", "a/b.example", bad, MalformedIdentifier},
		{"dns", "a:80", bad, MalformedIdentifier},
		{"dns", "a\x00b.example", bad, MalformedIdentifier},
		{"dns", "a\n.example", bad, MalformedIdentifier},
		{"dns", "münchen.example", bad, MalformedIdentifier},
		{"dns", "a．example", bad, MalformedIdentifier},       // U+FF0E
		{"dns", "\u212Aa.example", bad, MalformedIdentifier}, // Kelvin sign
		{"dns", "a\u200d.example", bad, MalformedIdentifier},
		{"dns", "\xff.example", bad, MalformedIdentifier},
		{"dns", "*", bad, MalformedIdentifier},
		{"dns", "*.", bad, MalformedIdentifier},
		{"dns", "*.*.example", bad, MalformedIdentifier},
		{"dns", "a.*.example", bad, MalformedIdentifier},
		{"dns", "*a.example", bad, MalformedIdentifier},
		{"dns", "127.0.0.1", bad, MalformedIdentifier},
		{"dns", "a.1", bad, MalformedIdentifier},
		{"dns", "2130706433", bad, MalformedIdentifier},
		{"dns", "::1", bad, MalformedIdentifier},
		{"dns", "xn--example-.test", bad, MalformedIdentifier}, // I70, ends with a hyphen
		{"dns", "xn--a.example", bad, MalformedIdentifier},     // no punycode
		{"dns", "xn--.example", bad, MalformedIdentifier},
		{"dns", "xn--abc-.example", bad, MalformedIdentifier},
		{"dns", "xn--mnchen-3yA-.example", bad, MalformedIdentifier},
		{"dns", "xn--a-ecp.example", bad, MalformedIdentifier}, // upper case, not NFC
		{"dns", "xn--0.pt", bad, MalformedIdentifier},          // bad digit
		{"dns", "xn--" + long[:59], bad, MalformedIdentifier},  // overflow
		{"dns", "ab--cd.example", bad, RejectedIdentifier},     // R-LDH
		{"dns", "*.ab--cd.example", bad, RejectedIdentifier},   // behind a wildcard
		{"ip", "192.0.2.1", "192.0.2.1", 0},
		{"ip", "::1", "::1", 0},
		{"ip", "2001:db8::1", "2001:db8::1", 0},
		{"ip", "2001:DB8::1", bad, MalformedIdentifier},
		{"ip", "2001:db8:0:0:0:0:0:1", bad, MalformedIdentifier},
		{"ip", "::ffff:192.0.2.1", bad, MalformedIdentifier},
		{"ip", "::ffff:c000:201", bad, MalformedIdentifier},
		{"ip", "fe80::1%lo", bad, MalformedIdentifier},
		{"ip", "192.0.2.01", bad, MalformedIdentifier},
		{"ip", "192.0.2", bad, MalformedIdentifier},
		{"ip", "0x7f.1", bad, MalformedIdentifier},
		{"ip", "2130706433", bad, MalformedIdentifier},
		{"ip", "192.0.2.0/24", bad, MalformedIdentifier},
		{"ip", "[::1]", bad, MalformedIdentifier},
		{"ip", " ::1", bad, MalformedIdentifier},
		{"ip", "", bad, MalformedIdentifier},
		{"ip", strings.Repeat("0", 1000), bad, MalformedIdentifier},
		{"email", "a@b.example", bad, UnsupportedIdentifier},
		{"DNS", "a.example", bad, UnsupportedIdentifier},
		{"", "a.example", bad, UnsupportedIdentifier},
	} {
		id, err := ParseIdentifier(c.typ, c.value)
		if c.normal == bad {
			if err == nil {
				t.Errorf("%s %q was accepted as %q", c.typ, c.value, id.Value())
				continue
			}
			r := wantRefusal(t, err, c.code)
			if len(r.Detail) > 400 || !isASCII(r.Detail) || strings.ContainsAny(r.Detail, "\x00\n") {
				t.Errorf("%s %q: the detail %q is not bounded, escaped text", c.typ, c.value, r.Detail)
			}
			continue
		}
		if err != nil || id.Value() != c.normal || string(id.Type()) != c.typ {
			t.Errorf("%s %q: %v, %v", c.typ, c.value, id, err)
		}
	}
}

func TestIdentifierParts(t *testing.T) {
	all := ids(t, "*.a.example", "a.example", "192.0.2.1")
	wild, plain, ip := all[0], all[1], all[2]
	if !wild.IsWildcard() || wild.Base() != plain || plain.IsWildcard() || plain.Base() != plain || ip.IsWildcard() || ip.Base() != ip {
		t.Error("wildcard and base don't agree")
	}
	if ip.Addr().String() != "192.0.2.1" || plain.Addr().IsValid() {
		t.Error("addresses don't agree")
	}
	if wild.String() != "dns:*.a.example" {
		t.Errorf("String gives %q", wild)
	}
}

func TestIdentifierJSON(t *testing.T) {
	for _, id := range ids(t, "*.a.example", "192.0.2.1", "2001:db8::1") {
		b, err := json.Marshal(id)
		check(t, err)
		var back Identifier
		check(t, json.Unmarshal(b, &back))
		if back != id {
			t.Errorf("%s came back as %v", b, back)
		}
	}
	b, err := json.Marshal(ids(t, "a.example")[0])
	check(t, err)
	if string(b) != `{"type":"dns","value":"a.example"}` {
		t.Errorf("got %s", b)
	}
	for _, in := range []string{`{"type":"dns","value":"a_b"}`, `{"type":"dns"}`, `{}`, `[]`, `"a"`, `{"type":1,"value":"a"}`} {
		var id Identifier
		if json.Unmarshal([]byte(in), &id) == nil {
			t.Errorf("%s was accepted as %v", in, id)
		}
	}
}

func FuzzParseIdentifier(f *testing.F) {
	for _, seed := range []string{"a.example", "*.A.example", "xn--mnchen-3ya.de", "xn--example-", "ab--cd", "127.0.0.1", "2001:db8::1", "::ffff:1.2.3.4", "a..b", "münchen", "\x00"} {
		f.Add("dns", seed)
		f.Add("ip", seed)
	}
	f.Fuzz(func(t *testing.T, typ, value string) {
		id, err := ParseIdentifier(typ, value)
		if err != nil {
			if id != (Identifier{}) {
				t.Fatalf("%q: an error and the value %v", value, id)
			}
			return
		}
		// The normal form is stable, ASCII, lower-case, and fits a certificate.
		again, err := ParseIdentifier(string(id.Type()), id.Value())
		if err != nil || again != id {
			t.Fatalf("%q: normal form %q is not stable: %v, %v", value, id.Value(), again, err)
		}
		if !isASCII(id.Value()) || id.Value() != lowerASCII(id.Value()) || len(id.Value()) > maxNameLength {
			t.Fatalf("%q: normal form %q", value, id.Value())
		}
		if !strings.EqualFold(id.Value(), value) {
			t.Fatalf("%q became %q", value, id.Value())
		}
		if id.Type() == IP && !id.Addr().IsValid() {
			t.Fatalf("%q has no address", value)
		}
	})
}

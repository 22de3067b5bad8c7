package validate

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"chancery/acme"
)

func txtDigest() string {
	sum := sha256.Sum256([]byte(testKeyAuth))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// TestDNS01 is SAFETY rows 159 to 161.
func TestDNS01(t *testing.T) {
	want := txtDigest()
	sum := sha256.Sum256([]byte(testKeyAuth))
	other := sha256.Sum256([]byte(testToken + ".other"))
	txt := func(name string, strs ...string) string {
		for i, s := range strs {
			strs[i] = `"` + s + `"`
		}
		return "_acme-challenge." + name + ".example. TXT " + strings.Join(strs, " ")
	}
	z := startZone(t,
		txt("right", want),
		txt("split", want[:10], want[10:11], "", want[11:]),
		txt("letters", strings.Split(want, "")...),
		txt("space", want+" "), txt("before", " "+want), txt("padded", want+"="), txt("lower", strings.ToLower(want)),
		txt("quoted", `\"`+want+`\"`), txt("empty", ""), txt("keyauth", testKeyAuth),
		txt("std", base64.StdEncoding.EncodeToString(sum[:])), txt("hex", fmt.Sprintf("%x", sum)),
		txt("other", base64.RawURLEncoding.EncodeToString(other[:])),
		txt("two", want[:20]), txt("two", want[20:]), // records are not joined, only strings
		txt("long", slices.Repeat([]string{strings.Repeat("x", 255)}, 20)...),
		txt("hostile", `<script>\"\\\027\200`),
		"_acme-challenge.cname.example. CNAME elsewhere.example.", "elsewhere.example. TXT "+want,
		"_acme-challenge.dangling.example. CNAME gone.example.",
		"_acme-challenge.nodata.example. A 127.0.0.1",
		"base.example. TXT "+want,
		"below._acme-challenge.below.example. TXT "+want,
	)
	for i := range 100 {
		z.add(t, txt("many", fmt.Sprintf("wrong %d", i)))
	}
	z.add(t, txt("many", want))
	z.play(func(w dns.ResponseWriter, q *dns.Msg, network string) bool {
		m := z.reply(q)
		if network == "udp" {
			m.Truncate(1232)
		}
		_ = w.WriteMsg(m)
		return true
	})
	v := validator(t, Config{Resolvers: []string{z.addr}})
	wrong := refused(acme.IncorrectResponse, "want \""+want+"\"")
	for name, e := range map[string]expect{
		"right": proven(), "split": proven(), "letters": proven(), "many": proven(), "cname": proven(),
		"space": wrong, "before": wrong, "padded": wrong, "lower": wrong, "quoted": wrong, "empty": wrong, "keyauth": wrong,
		"std": wrong, "hex": wrong, "other": wrong, "two": wrong, "long": wrong, "hostile": wrong,
		"dangling": refused(acme.DNS, "_acme-challenge.dangling.example (CNAME to gone.example): resolver "+z.addr+" said NXDOMAIN"),
		"nodata":   refused(acme.Unauthorized, "there is no such record"),
		"base":     refused(acme.DNS, "NXDOMAIN"),
		"below":    refused(acme.DNS, "NXDOMAIN"),
		"gone":     refused(acme.DNS, "TXT _acme-challenge.gone.example: resolver "+z.addr+" said NXDOMAIN, the name does not exist; add the record"),
	} {
		t.Run(name, func(t *testing.T) {
			evidence := e.check(t, v, attemptAt(acme.DNS01, dnsName(t, name+".example")))
			if !strings.Contains(steps(evidence), "dns | TXT _acme-challenge."+name+".example | "+z.addr) {
				t.Errorf("evidence:\n%s", steps(evidence))
			}
		})
	}
}

// TestDNS01Question: the name that is asked for is a constant and the base
// name, wildcard or not (SAFETY I7, I8).
func TestDNS01Question(t *testing.T) {
	z := startZone(t, "_acme-challenge.a.example. TXT "+txtDigest())
	v := validator(t, Config{Resolvers: []string{z.addr}})
	a := attemptAt(acme.DNS01, dnsName(t, "a.example"))
	proven().check(t, v, a)
	a.Wildcard = true
	proven().check(t, v, a)
	if got := z.questions(); !slices.Equal(got, []string{"udp TXT _acme-challenge.a.example", "udp TXT _acme-challenge.a.example"}) {
		t.Errorf("asked %q", got)
	}
	long := strings.Repeat("a.", 120) + "example" // 247 characters, 263 with the label
	refused(acme.DNS, "longer than 253").check(t, v, attemptAt(acme.DNS01, dnsName(t, long)))
}

package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What an order may say (SAFETY groups H-J, H-I, as far as they are seen here).
func TestNewOrderPayloads(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	ids := identifiers("a.example")
	soon := w.now().Add(time.Hour).Format(time.RFC3339)
	for _, payload := range []string{
		`{` + ids + `}`, `{` + ids + `,"unknown":[{}],"status":"valid"}`, `{` + ids + `,"notAfter":"` + soon + `"}`,
		`{` + ids + `,"Identifiers":7}`, `{"identifiers":[{"type":"ip","value":"203.0.113.7"}]}`, `{"identifiers":[{"type":"dns","value":"a.example","more":1}]}`,
	} {
		c.post("/acme/new-order", payload).want(t, payload, 201, "")
	}
	for payload, kind := range map[string]string{
		``: "malformed", `{}`: "malformed", `[]`: "malformed", `null`: "malformed", `"x"`: "malformed",
		`{"Identifiers":[{"type":"dns","value":"a.example"}]}`:                                       "malformed", // 79
		`{` + ids + `,` + ids + `}`:                                                                  "malformed", // 78
		`{"identifiers":null}`:                                                                       "malformed",
		`{"identifiers":{}}`:                                                                         "malformed",
		`{"identifiers":"a.example"}`:                                                                "malformed",
		`{"identifiers":[]}`:                                                                         "malformed", // 110
		`{"identifiers":[null]}`:                                                                     "malformed",
		`{"identifiers":["a.example"]}`:                                                              "malformed",
		`{"identifiers":[[]]}`:                                                                       "malformed",
		`{"identifiers":[{}]}`:                                                                       "malformed",
		`{"identifiers":[{"type":"dns"}]}`:                                                           "malformed",
		`{"identifiers":[{"value":"a.example"}]}`:                                                    "malformed",
		`{"identifiers":[{"type":1,"value":"a.example"}]}`:                                           "malformed",
		`{"identifiers":[{"type":"dns","value":["a.example"]}]}`:                                     "malformed",
		`{"identifiers":[{"type":"dns","value":"a.example","value":"b.example"}]}`:                   "malformed",
		`{"identifiers":[{"type":"email","value":"a@a.example"}]}`:                                   "unsupportedIdentifier", // 113
		`{"identifiers":[{"type":"","value":"a.example"}]}`:                                          "unsupportedIdentifier",
		`{"identifiers":[{"type":"DNS","value":"a.example"}]}`:                                       "unsupportedIdentifier",
		`{` + identifiers("a b") + `}`:                                                               "malformed",
		`{` + identifiers("m\u00fcnchen.de") + `}`:                                                   "malformed", // 115
		`{` + identifiers(`a.example\u0000`) + `}`:                                                   "malformed",
		`{` + identifiers("a.*.example") + `}`:                                                       "malformed",
		`{` + ids + `,"notAfter":7}`:                                                                 "malformed",
		`{` + ids + `,"notAfter":""}`:                                                                "malformed",
		`{` + ids + `,"notAfter":"tomorrow"}`:                                                        "malformed",
		`{` + ids + `,"notAfter":"0001-01-01T00:00:00Z"}`:                                            "malformed", // 126
		`{` + ids + `,"notAfter":"10000-01-01T00:00:00Z"}`:                                           "malformed",
		`{` + ids + `,"notAfter":"2030-06-30T23:59:60Z"}`:                                            "malformed",
		`{` + ids + `,"notAfter":"2030-06-30T23:59:59.5Z"}`:                                          "malformed",
		`{` + ids + `,"notAfter":"2030-06-30 23:59:59Z"}`:                                            "malformed",
		`{` + ids + `,"notAfter":"2030-06-30T23:59:59,0Z"}`:                                          "malformed",
		`{` + ids + `,"notAfter":"2030-6-30T1:59:59Z"}`:                                              "malformed",
		`{` + ids + `,"notAfter":"2030-06-30T23:59:59"}`:                                             "malformed",
		`{` + ids + `,"notAfter":"2090-01-01T00:00:00Z"}`:                                            "malformed", // 127
		`{` + ids + `,"notBefore":"` + soon + `","notAfter":"` + w.now().Format(time.RFC3339) + `"}`: "malformed",
		`{` + ids + `,"profile":1}`:                                                                  "malformed",
		`{` + ids + `,"profile":"nope"}`:                                                             "invalidProfile", // 129
		`{` + ids + `,"replaces":1}`:                                                                 "malformed",
		`{` + ids + `,"replaces":"x"}`:                                                               "malformed",
		`{` + ids + `,"x":"\ud800"}`:                                                                 "malformed", // 81
		`{` + ids + `,"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`:                "malformed",
	} {
		c.post("/acme/new-order", payload).want(t, payload, 400, kind)
	}
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("a%d.example", i))
	}
	c.post("/acme/new-order", `{`+identifiers(many...)+`}`).want(t, "101 names", 400, "malformed") // 111
	c.post("/acme/new-order", `{`+identifiers(many[:100]...)+`}`).want(t, "100 names", 201, "")
}

// Every bad name is named, in one answer (RFC 8555 section 6.7.1).
func TestSubproblems(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	a := c.post("/acme/new-order", `{`+identifiers("a b", "good.example", "-x.example")+`}`)
	a.want(t, "two of three", 400, "malformed")
	if len(a.problem.Subproblems) != 2 || !strings.Contains(a.problem.Subproblems[0].Detail, `"a b"`) || !strings.Contains(a.problem.Subproblems[1].Detail, `"-x.example"`) {
		t.Errorf("%s", a.body)
	}
	a = c.post("/acme/new-order", `{"identifiers":[{"type":"dns","value":"a b"},{"type":"email","value":"a@a.example"}]}`)
	a.want(t, "of two kinds", 400, "compound")
	if len(a.problem.Subproblems) != 2 || !strings.HasSuffix(a.problem.Subproblems[1].Type, ":unsupportedIdentifier") {
		t.Errorf("%s", a.body)
	}
}

func TestFinalizePayloads(t *testing.T) { // SAFETY 134, 137, 143
	w := newWorld(t)
	c := w.registered()
	o := c.order("a.example")
	good := csr(t, ecKey(t), "a.example")
	c.at(o.Finalize, `{"csr":"`+good+`"}`).want(t, "pending", 403, "orderNotReady")
	c.fulfil(o)
	for what, payload := range map[string]string{
		"none": `{}`, "null": `{"csr":null}`, "number": `{"csr":1}`, "CSR": `{"CSR":"` + good + `"}`, "padding": `{"csr":"` + good + `="}`,
		"PEM": `{"csr":"-----BEGIN CERTIFICATE REQUEST-----"}`, "array": `["` + good + `"]`,
	} {
		c.at(o.Finalize, payload).want(t, what, 400, "malformed")
	}
	for what, text := range map[string]string{
		"empty": "", "garbage": b64s("garbage"), "trailing octets": good + "AAAA", "more names": csr(t, ecKey(t), "a.example", "b.example"),
		"other name": csr(t, ecKey(t), "b.example"), "no name": csr(t, ecKey(t)), "the account's key": csr(t, c.key, "a.example"),
	} {
		c.at(o.Finalize, `{"csr":"`+text+`"}`).want(t, what, 400, "badCSR")
	}
	c.at(o.url, "").into(t, o)
	if o.Status != "ready" {
		t.Fatalf("the order is %s after CSRs that could not be used", o.Status)
	}
	c.at(o.Finalize, `{"csr":"`+good+`"}`).into(t, o)
	if o.Status != "valid" {
		t.Errorf("order %+v", o)
	}
}

// An order that ran out is invalid, and so is its finalize.
func TestExpiredOrder(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	o := c.order("a.example")
	w.advance(8 * 24 * time.Hour)
	c.at(o.url, "").into(t, o)
	if o.Status != "invalid" {
		t.Errorf("order %+v", o)
	}
	c.at(o.Finalize, `{"csr":"`+csr(t, ecKey(t), "a.example")+`"}`).want(t, "finalize", 403, "orderNotReady")
	var z authorizationJSON
	c.at(o.Authorizations[0], "").into(t, &z)
	if z.Status != "invalid" {
		t.Errorf("authorization %+v", z)
	}
}

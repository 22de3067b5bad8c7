package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"chancery/ca"
)

func TestEveryKindHasOneRow(t *testing.T) {
	if len(problemTypes) != int(kinds) {
		t.Fatalf("%d rows for %d kinds", len(problemTypes), kinds)
	}
	names := map[string]bool{}
	for i, row := range problemTypes {
		if row.kind != Kind(i) {
			t.Errorf("row %d is for kind %d", i, row.kind)
		}
		if row.name == "" || names[row.name] {
			t.Errorf("row %d: name %q is empty or not the only one", i, row.name)
		}
		names[row.name] = true
		if row.status < 400 || row.status > 599 {
			t.Errorf("%s: status %d", row.name, row.status)
		}
		if kind, ok := parseKind(row.kind.URN()); !ok || kind != row.kind {
			t.Errorf("%s does not parse back", row.kind.URN())
		}
	}
}

func TestEveryRefusalHasOneKind(t *testing.T) {
	for code := ca.MalformedIdentifier; code <= ca.BadRevocationReason; code++ {
		if int(code) >= len(refusalKinds) || refusalKinds[code].code != code {
			t.Errorf("code %d has no row of its own", code)
		}
	}
	if len(refusalKinds) != int(ca.NotProven)+1 {
		t.Errorf("%d rows", len(refusalKinds))
	}
}

func TestProblemJSON(t *testing.T) {
	id, err := ca.ParseIdentifier("dns", "a.example")
	if err != nil {
		t.Fatal(err)
	}
	in := &Problem{
		Kind: RejectedIdentifier, Detail: "no", Status: 403,
		Subproblems: []*Problem{{Kind: CAA, Detail: "forbidden", Identifier: &id}},
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"no","status":403,"subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"forbidden","status":403,"identifier":{"type":"dns","value":"a.example"}}]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var out Problem
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if out.Kind != in.Kind || out.Status != 403 || out.Subproblems[0].Status != 0 || *out.Subproblems[0].Identifier != id {
		t.Errorf("read back %+v", out)
	}
	for _, bad := range []string{`{"type":"about:blank"}`, `{"type":"urn:ietf:params:acme:error:nope"}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &out); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestAsProblem(t *testing.T) {
	refusal := &ca.Refusal{Code: ca.RejectedIdentifier, Detail: "outer", Parts: []*ca.Refusal{{Code: ca.MalformedIdentifier, Detail: "inner"}}}
	p := AsProblem(fmt.Errorf("wrapped: %w", refusal))
	if p == nil || p.Kind != RejectedIdentifier || len(p.Subproblems) != 1 || p.Subproblems[0].Kind != Malformed {
		t.Errorf("got %+v", p)
	}
	if own := Problemf(CAA, "x"); AsProblem(fmt.Errorf("wrapped: %w", own)) != own {
		t.Error("a problem is not found in its wrapping")
	}
	if p := AsProblem(errors.New("disk on fire")); p != nil {
		t.Errorf("an internal error became %v", p)
	}
}

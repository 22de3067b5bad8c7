package main

import (
	"strings"
	"testing"
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name, in string
		ok       bool
		want     []string
		not      []string
	}{
		{"all well", `{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`, true, []string{"ok  \tp\t0.1s\n", "1 passed, 0 failed\n"}, []string{"quiet"}},
		{"a failure is shown whole", `{"Action":"output","Package":"p","Test":"TestA/x","Output":"a.go:1: broken\n"}
{"Action":"fail","Package":"p","Test":"TestA/x"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`, false, []string{"FAILED: p TestA\na.go:1: broken\n", "0 passed, 1 failed\n"}, nil},
		{"a skip is a failure", `{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`, false, []string{"SKIPPED", "0 passed, 1 failed\n"}, nil},
		{"a skipped subtest too", `{"Action":"skip","Package":"p","Test":"TestA/x"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`, false, []string{"SKIPPED", "1 passed, 1 failed\n"}, nil},
		{"a build failure", `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p"}
`, false, []string{"p.go:1: syntax error\n", "FAILED as a whole: p", "0 passed, 1 failed\n"}, nil},
		{"a crash", `{"Action":"output","Package":"p","Test":"TestA","Output":"last words\n"}
{"Action":"fail","Package":"p"}
`, false, []string{"UNFINISHED: p TestA\nlast words\n", "FAILED as a whole: p"}, nil},
		{"nothing", "go: cannot find main module\n", false, []string{"go: cannot find main module", "no package was tested"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(c.in), &out)
			if err != nil || ok != c.ok {
				t.Errorf("ok %v, err %v, want ok %v", ok, err, c.ok)
			}
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("misses %q in:\n%s", w, &out)
				}
			}
			for _, w := range c.not {
				if strings.Contains(out.String(), w) {
					t.Errorf("has %q in:\n%s", w, &out)
				}
			}
		})
	}
}

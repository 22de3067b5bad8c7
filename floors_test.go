// Package chancery_test holds the plan of the house: which room stands on
// which floor. Imports only go down; rooms on one floor don't know each other.
package chancery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "chancery"

// floors says on which floor each room stands. A package below a room's folder
// that has no entry of its own belongs to that room.
var floors = map[string]int{
	"ca/lint":     0,
	"ca/keystore": 0,
	"acme/limit":  0,
	"acme/strict": 0,

	"ca": 1,

	"ca/identity": 2,
	"crl":         2,
	"ocsp":        2,

	"acme": 3,

	"acme/api":      4,
	"acme/validate": 4,
	"storage":       4,
	"admin":         4,

	"cmd/chancery/app": 5,

	"cmd/chancery":        6,
	"cmd/chancery/catest": 6,
	"bench":               6,
}

// kept says which rooms may import what comes from outside, where that is not
// for everybody. The longest prefix counts; a prefix ends at a path element.
var kept = map[string][]string{
	"database/sql":                          {"storage"}, // SQL is written in one place
	"github.com/jmoiron/sqlx":               {"storage"},
	"github.com/mattn/go-sqlite3":           {"storage"},
	"github.com/jackc/pgx":                  {"storage"},
	"github.com/pressly/goose":              {"storage"},
	"github.com/zmap":                       {"ca/lint"},
	"github.com/gorilla/mux":                {"acme/api", "admin"},
	"github.com/miekg/dns":                  {"acme/validate", "cmd/chancery/catest", "bench"},
	"github.com/prometheus/client_golang":   {"admin"},
	"github.com/spf13/cobra":                {"cmd/chancery"},
	"github.com/go-acme/lego":               {"cmd/chancery", "cmd/chancery/app", "cmd/chancery/catest"}, // demo and tests
	"github.com/rogpeppe/go-internal":       {},                                                          // tests only
	"pgregory.net/rapid":                    {},
	"go.uber.org/goleak":                    {},
	"testing":                               {"cmd/chancery/catest"}, // and suites, see equipment
	"net/http/httptest":                     {"cmd/chancery/catest"},
	"github.com/go-jose/go-jose":            {}, // the JWS parser is our own; this one checks it in tests
	"golang.org/x/crypto/acme":              {},
	"golang.org/x/crypto/ocsp":              {"cmd/chancery", "cmd/chancery/app", "cmd/chancery/catest"}, // a relying party's view; answers are made by ocsp
	"github.com/golangci":                   {},
	"github.com/prometheus/client_model/go": {},
}

// blind rooms have rules without a network: RFC 8555 and the signing core.
var blind = map[string][]string{
	"ca":   {"net/http", "os"},
	"acme": {"net/http", "net", "os"},
	"crl":  {"database/sql"},
	"ocsp": {"database/sql"},
}

// nameless are names that say nothing about what is inside.
var nameless = []string{"common", "util", "utils", "core", "helper", "helpers", "misc", "shared", "lib"}

// equipment says whether a package is there for tests only, by its name:
// crltest is the suite that every store of package crl has to pass.
func equipment(path string) bool { return strings.HasSuffix(path, "test") }

// pkg is a package with what it imports. The plan is for Imports, those of
// its non-test files; tests may look at any room, because they use a real
// store instead of a mock.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// room finds the room that a package of this module belongs to, by its path
// without the module's name; false if there is none.
func room(path string) (string, bool) {
	for p := path; p != ""; p = parent(p) {
		if _, ok := floors[p]; ok {
			return p, true
		}
	}
	return "", false
}

func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)]
}

// within says whether path is prefix or lies below it. A major version behind
// the prefix ("/v5") counts as below.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// violations lists what breaks the plan, one sentence each.
func violations(pkgs []pkg) []string {
	var out []string
	for _, p := range pkgs {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if path == "" {
			continue // this test
		}
		for element := range strings.SplitSeq(path, "/") {
			if slices.Contains(nameless, element) {
				out = append(out, fmt.Sprintf("%s: %q is no name for a room; name it after what it does", path, element))
			}
		}
		from, ok := room(path)
		if !ok {
			out = append(out, fmt.Sprintf("%s stands on no floor; give it one in floors_test.go", path))
			continue
		}
		for _, imported := range p.Imports {
			out = append(out, judge(path, from, imported)...)
		}
	}
	return out
}

// judge looks at one import of a package in the room `from`.
func judge(path, from, imported string) (out []string) {
	if below, ok := strings.CutPrefix(imported, module+"/"); ok {
		to, ok := room(below)
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s imports %s, which stands on no floor", path, below))
		case to == from:
		case floors[to] > floors[from]:
			out = append(out, fmt.Sprintf("%s (floor %d) imports %s (floor %d): imports only go down", path, floors[from], to, floors[to]))
		case floors[to] == floors[from]:
			out = append(out, fmt.Sprintf("%s imports %s: rooms on floor %d don't know each other", path, to, floors[to]))
		}
		return out
	}
	for _, b := range blind[from] {
		if imported == b {
			out = append(out, fmt.Sprintf("%s imports %s, but %s works without it", path, imported, from))
		}
	}
	longest := ""
	for prefix := range kept {
		if within(imported, prefix) && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	if longest != "" && !equipment(path) && !slices.Contains(kept[longest], from) {
		out = append(out, fmt.Sprintf("%s imports %s, which is kept to %v", path, imported, kept[longest]))
	}
	return out
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImportsOnlyGoDown(t *testing.T) {
	pkgs := packages(t)
	if len(pkgs) < 2 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
}

// TestViolationsAreFound: a check that can't fail holds nothing.
func TestViolationsAreFound(t *testing.T) {
	for _, c := range []struct {
		from, imports string
		want          string // part of the one violation; empty: allowed
	}{
		{"acme", "chancery/ca", ""},
		{"cmd/chancery/app", "chancery/storage", ""},
		{"storage", "chancery/crl", ""},
		{"acme/api", "chancery/acme", ""},
		{"ca/keystore/keystoretest", "testing", ""},
		{"ca/keystore", "testing", "is kept to"},
		{"storage", "github.com/jackc/pgx/v5/stdlib", ""},
		{"acme", "net/netip", ""},
		{"ca", "chancery/acme", "imports only go down"},
		{"acme", "chancery/storage", "imports only go down"},
		{"acme/api", "chancery/storage", "don't know each other"},
		{"acme/validate/dnswire", "chancery/admin", "don't know each other"},
		{"crl", "chancery/ocsp", "don't know each other"},
		{"cmd/chancery", "chancery/cmd/chancery/catest", "don't know each other"},
		{"attic", "fmt", "stands on no floor"},
		{"acme", "chancery/attic", "stands on no floor"},
		{"storage/util", "fmt", "is no name for a room"},
		{"acme", "net/http", "works without it"},
		{"acme", "database/sql", "is kept to"},
		{"admin", "github.com/jmoiron/sqlx", "is kept to"},
		{"acme/api", "net/http/httptest", "is kept to"},
	} {
		got := violations([]pkg{{ImportPath: module + "/" + c.from, Imports: []string{c.imports}}})
		switch {
		case c.want == "" && len(got) != 0:
			t.Errorf("%s importing %s: %q, want none", c.from, c.imports, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
			t.Errorf("%s importing %s: %q, want one with %q", c.from, c.imports, got, c.want)
		}
	}
}

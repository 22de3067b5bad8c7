package catest_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostileRow is one row of the catalogue.
type hostileRow struct {
	row    int
	input  string
	answer string
	tests  []string // "package.Test"
	note   string
}

// lastRow of the catalogue.
const lastRow = 206

// repository is the root of the source from here.
const repository = "../../.."

// checkIndex: each row has cases here, or a test elsewhere that is there, and
// the document says the same.
func (h *hostile) checkIndex() {
	h.t.Helper()
	seen := map[int]bool{}
	for _, r := range hostileRows {
		if seen[r.row] {
			h.t.Errorf("row %d is there twice", r.row)
		}
		seen[r.row] = true
		if h.rows[r.row] == 0 && len(r.tests) == 0 {
			h.t.Errorf("row %d (%s) has no case and no test", r.row, r.input)
		}
		delete(h.rows, r.row)
	}
	for row := 1; row <= lastRow; row++ {
		if !seen[row] {
			h.t.Errorf("row %d is not in the index", row)
		}
	}
	for row := range h.rows {
		h.t.Errorf("there are cases for a row %d, which is none", row)
	}
}

// TestHostileIndex: the tests that the index names are there, and
// docs/hostile-input.md is the index.
func TestHostileIndex(t *testing.T) {
	packages := map[string]map[string]bool{}
	for _, r := range hostileRows {
		for _, name := range r.tests {
			i := strings.LastIndexByte(name, '.')
			if packages[name[:i]] == nil {
				packages[name[:i]] = testsOf(t, name[:i])
			}
			if !packages[name[:i]][name[i+1:]] {
				t.Errorf("row %d: there is no test %s", r.row, name)
			}
		}
	}
	path := filepath.Join(repository, "docs/hostile-input.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "| row | what is sent | what is answered | tests beside `TestHostile` |\n|---|---|---|---|\n", "\n<!-- end of the index -->"
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatal("docs/hostile-input.md has no index")
	}
	want := head + begin + strings.TrimSuffix(hostileTable(), "\n") + end + tail
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Fatal("docs/hostile-input.md is not the index of hostile_rows_test.go: run this test with UPDATE_DOCS=1")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func hostileTable() string {
	var b strings.Builder
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, r := range hostileRows {
		tests := make([]string, 0, len(r.tests))
		for _, name := range r.tests {
			tests = append(tests, "`"+name+"`")
		}
		last := strings.Join(tests, ", ")
		if r.note != "" {
			last = strings.TrimPrefix(last+"; "+r.note, "; ")
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", r.row, cell(r.input), cell(r.answer), last)
	}
	return b.String()
}

// testsOf are the names of a package's tests.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := fs.Glob(os.DirFS(filepath.Join(repository, dir)), "*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repository, dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

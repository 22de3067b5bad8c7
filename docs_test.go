package chancery_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func document(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDependenciesAreExplained: docs/dependencies.md has a line for each
// module that is imported, and for no other.
func TestDependenciesAreExplained(t *testing.T) {
	text, _, _ := strings.Cut(document(t, "docs/dependencies.md"), "## Tools")
	listed := map[string]bool{} // module to whether it is imported
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z.]+/[^ ]+) \|`).FindAllStringSubmatch(text, -1) {
		listed[m[1]] = false
	}
	for _, p := range packages(t) {
	imports:
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			domain, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(domain, ".") {
				continue // the standard library, or a room of ours
			}
			for m := range listed {
				if within(imported, m) {
					listed[m] = true
					continue imports
				}
			}
			t.Errorf("%s imports %s, which docs/dependencies.md does not explain", p.ImportPath, imported)
		}
	}
	for m, used := range listed {
		if !used {
			t.Errorf("docs/dependencies.md explains %s, which nothing imports", m)
		}
	}
}

// testNames are the names of all tests and fuzz targets.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range declared.FindAllStringSubmatch(document(t, path), -1) {
			names[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestNamedTestsExist: a test that the documentation names is there.
func TestNamedTestsExist(t *testing.T) {
	names := testNames(t)
	for _, path := range documents(t) {
		for _, m := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(document(t, path), -1) {
			if !names[m] {
				t.Errorf("%s names %s, which does not exist", path, m)
			}
		}
	}
}

// TestLinksLeadSomewhere: files that the documentation links to are there.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, path := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(document(t, path), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 3 {
		t.Fatalf("found only %q", all)
	}
	return all
}

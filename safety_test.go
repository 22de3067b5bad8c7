package chancery_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// safetyRow is a row of the tables of docs/safety.md: an incident, a rule or a
// part that is attacked, where it is enforced, and the tests that show it.
type safetyRow struct {
	kind   byte // 'I', 'R' or 'A'
	number int
	where  string
	shown  string
}

var safetyLine = regexp.MustCompile(`(?m)^\| ([IRA])(\d+) \|([^\n]*)\|$`)

func safetyRows(text string) []safetyRow {
	var rows []safetyRow
	for _, m := range safetyLine.FindAllStringSubmatch(text, -1) {
		cells := strings.Split(m[3], " | ")
		n, err := strconv.Atoi(m[2])
		row := safetyRow{kind: m[1][0], number: n}
		if err == nil && len(cells) == 3 {
			row.where, row.shown = strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
		}
		rows = append(rows, row)
	}
	return rows
}

// Why a row has no test. The reason has to be a sentence.
var noTest = regexp.MustCompile(`(Does not apply|Not built): [^|]{20,}`)

var (
	namedTest     = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	incidentOf    = regexp.MustCompile(`^TestIncident_I0*(\d+)(?:_\w+)?$`)
	anyIncident   = regexp.MustCompile(`^TestIncident_`)
	safetyNumbers = map[byte][]int{'I': span(1, 100), 'A': span(1, 32), 'R': slices.Concat(span(1, 17), span(20, 35), span(40, 45), span(50, 72))}
)

func span(from, to int) (all []int) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

// safetyFaults says what is wrong with the tables, given the tests that exist.
func safetyFaults(text string, exists map[string]bool) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	seen := map[byte]map[int]bool{'I': {}, 'R': {}, 'A': {}}
	for _, r := range safetyRows(text) {
		row := fmt.Sprintf("%c%d", r.kind, r.number)
		if seen[r.kind][r.number] || !slices.Contains(safetyNumbers[r.kind], r.number) {
			fault("%s stands there twice, or there is no such row", row)
		}
		seen[r.kind][r.number] = true
		named := namedTest.FindAllString(r.shown, -1)
		for _, name := range named {
			if !exists[name] {
				fault("%s names %s, which does not exist", row, name)
			}
		}
		own := slices.ContainsFunc(named, func(name string) bool {
			m := incidentOf.FindStringSubmatch(name)
			return r.kind != 'I' || m != nil && m[1] == strconv.Itoa(r.number)
		})
		if r.where == "" || !own && !noTest.MatchString(r.where+" "+r.shown) {
			fault("%s says neither where it is enforced and which test shows it, nor why there is none", row)
		}
	}
	for kind, numbers := range safetyNumbers {
		for _, n := range numbers {
			if !seen[kind][n] {
				fault("row %c%d is missing", kind, n)
			}
		}
	}
	for name := range exists {
		if anyIncident.MatchString(name) && (incidentOf.FindString(name) == "" || !regexp.MustCompile(`\b`+name+`\b`).MatchString(text)) {
			fault("%s does not stand in the row of its incident", name)
		}
	}
	slices.Sort(faults)
	return faults
}

// TestSafetyTable holds docs/safety.md against the tests: each row names one
// that exists or says why there is none, and no test of an incident is missing.
func TestSafetyTable(t *testing.T) {
	for _, f := range safetyFaults(document(t, "docs/safety.md"), testNames(t)) {
		t.Error(f)
	}
}

// TestSafetyTableFaultsAreFound: the check above can fail, for each reason.
func TestSafetyTableFaultsAreFound(t *testing.T) {
	text, names := document(t, "docs/safety.md"), testNames(t)
	replaced := func(old, by string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("docs/safety.md has no %q", old)
		}
		return strings.ReplaceAll(text, old, by)
	}
	more := map[string]bool{"TestIncident_I07_More": true}
	for name := range names {
		more[name] = true
	}
	for what, c := range map[string]struct {
		text  string
		names map[string]bool
		want  string
	}{
		"a test that is gone":  {replaced("TestIncident_I07", "TestIncident_I07_Gone"), names, "I7 names TestIncident_I07_Gone"},
		"a row that is gone":   {replaced("| I7 |", "| X7 |"), names, "row I7 is missing"},
		"a row twice":          {replaced("| I7 |", "| I8 |"), names, "I8 stands there twice"},
		"no test":              {replaced("TestIncident_I07", "nothing"), names, "I7 says neither"},
		"another row's test":   {replaced("TestIncident_I07", "TestIncident_I08"), names, "I7 says neither"},
		"a test without a row": {text, more, "TestIncident_I07_More does not stand"},
		"no rules":             {replaced("| R", "| X"), names, "row R1 is missing"},
	} {
		if faults := strings.Join(safetyFaults(c.text, c.names), "\n"); !strings.Contains(faults, c.want) {
			t.Errorf("%s: found %q, want %q in it", what, faults, c.want)
		}
	}
}

// TestIncident_I96: the joints between policy and code came apart. What
// docs/safety.md promises of each rule is held against the tests by
// TestSafetyTable, what docs/policy.md says against the tables by
// TestIncident_I11; and the linters that the rows lean on are switched on.
func TestIncident_I96(t *testing.T) {
	config := document(t, ".golangci.yml")
	for _, linter := range []string{"errcheck", "exhaustive", "errorlint", "gosec", "govet", "ineffassign", "staticcheck", "copyloopvar", "bodyclose", "rowserrcheck", "sqlclosecheck", "nolintlint"} {
		if !regexp.MustCompile(`(?m)^    - ` + linter + `$`).MatchString(config) {
			t.Errorf("the linter %s is not switched on", linter)
		}
	}
	rules := 0
	for _, r := range safetyRows(document(t, "docs/safety.md")) {
		if r.kind == 'R' && namedTest.MatchString(r.shown) {
			rules++
		}
	}
	if rules < 40 {
		t.Errorf("only %d rules have a test", rules)
	}
	for _, page := range []string{"docs/policy.md", "docs/safety.md"} {
		if strings.Contains(document(t, page), "TO"+"DO") {
			t.Errorf("%s is not finished", page)
		}
	}
}

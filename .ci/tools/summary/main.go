// Summary reads the output of `go test -json` and prints what a person wants
// of it: the line of each package, the whole output of what failed, and at
// the end "N passed, N failed", counting top-level tests.
//
// A skipped test counts as failed: a test that did not run shows nothing.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of test2json, with those fields of cmd/go's build events
// that share the stream.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// summary is the state of one run.
type summary struct {
	out            io.Writer
	output         map[string][]string // of a package, or of a package's top-level test, until its end
	passed, failed int
	broken         []string // packages that failed without a failed test, or did not build
	packages       int
	failedIn       map[string]int
}

func (s *summary) add(e event) {
	top, _, sub := strings.Cut(e.Test, "/")
	key := e.Package + " " + top
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		if e.Test != "" {
			s.output[key] = append(s.output[key], e.Output)
		} else if strings.HasPrefix(e.Output, "ok ") || strings.HasPrefix(e.Output, "FAIL") || strings.HasPrefix(e.Output, "panic:") {
			fmt.Fprint(s.out, e.Output)
		} else if !noise(e.Output) {
			s.output[e.Package] = append(s.output[e.Package], e.Output)
		}
	case "pass", "fail", "skip":
		if !sub {
			s.end(e, key)
		} else if e.Action == "skip" {
			s.count(e, key, "SKIPPED, which counts as failed: ")
		}
	}
}

// end notes the end of a top-level test, or of a package.
func (s *summary) end(e event, key string) {
	switch {
	case e.Test == "":
		s.packages++
		if e.Action == "fail" {
			if s.failedIn[e.Package] == 0 {
				s.broken = append(s.broken, e.Package)
			}
			fmt.Fprint(s.out, strings.Join(s.output[e.Package], ""))
		}
		delete(s.output, e.Package)
	case e.Action == "pass":
		s.passed++
		delete(s.output, key)
	case e.Action == "skip":
		s.count(e, key, "SKIPPED, which counts as failed: ")
	default:
		s.count(e, key, "FAILED: ")
	}
}

func (s *summary) count(e event, key, word string) {
	s.failed++
	s.failedIn[e.Package]++
	fmt.Fprintf(s.out, "%s%s %s\n%s", word, e.Package, e.Test, strings.Join(s.output[key], ""))
	delete(s.output, key)
}

func noise(line string) bool {
	return line == "PASS\n" || strings.HasPrefix(line, "-test.shuffle ") || strings.HasPrefix(line, "testing: warning: no tests to run") ||
		strings.HasSuffix(line, "[no test files]\n")
}

// finish prints the verdict and says whether all is well.
func (s *summary) finish() bool {
	// Output of a test that never ended, for example by a crash or a time-out.
	for key, lines := range s.output {
		if strings.Contains(key, " ") && len(s.broken) > 0 {
			fmt.Fprintf(s.out, "UNFINISHED: %s\n%s", key, strings.Join(lines, ""))
		}
	}
	for _, p := range s.broken {
		fmt.Fprintf(s.out, "FAILED as a whole: %s\n", p)
	}
	if s.packages == 0 {
		fmt.Fprintln(s.out, "no package was tested")
	}
	fmt.Fprintf(s.out, "%d passed, %d failed\n", s.passed, s.failed+len(s.broken))
	return s.failed == 0 && len(s.broken) == 0 && s.packages > 0
}

func run(in io.Reader, out io.Writer) (bool, error) {
	s := &summary{out: out, output: map[string][]string{}, failedIn: map[string]int{}}
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(out, "%s", line) // go itself, or a program that wrote past test2json
			} else {
				s.add(e)
			}
		}
		if err == io.EOF {
			return s.finish(), nil
		}
		if err != nil {
			return false, err
		}
	}
}

func main() {
	ok, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

package app

import (
	"fmt"
	"slices"
	"strings"
)

// place says where a value was written, for messages.
type place struct {
	source string // "chancery.yaml", "--set", "environment"; empty: a default
	line   int    // in a file, from 1; 0: no line
	order  int    // sorts flags and environment in the sequence they were read
}

func (p place) String() string {
	switch {
	case p.source == "":
		return "default"
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.source, p.line)
	}
	return p.source
}

// mistake is one thing that is wrong with the configuration.
type mistake struct {
	at     place
	key    string
	reason string
}

// Mistakes is everything that is wrong with a configuration, in the sequence
// of the file, so that nobody has to start Chancery once for each of them.
type Mistakes struct{ list []mistake }

// Error has one line for each mistake: place, key, reason.
func (m *Mistakes) Error() string {
	lines := make([]string, 0, len(m.list)+1)
	if len(m.list) == 1 {
		lines = append(lines, "the configuration has a mistake:")
	} else {
		lines = append(lines, fmt.Sprintf("the configuration has %d mistakes:", len(m.list)))
	}
	for _, x := range m.list {
		if x.key == "" {
			lines = append(lines, fmt.Sprintf("  %s: %s", x.at, x.reason))
			continue
		}
		lines = append(lines, fmt.Sprintf("  %s: %s: %s", x.at, x.key, x.reason))
	}
	return strings.Join(lines, "\n")
}

// Len is how many mistakes there are.
func (m *Mistakes) Len() int { return len(m.list) }

func (m *Mistakes) add(at place, key, format string, args ...any) {
	m.list = append(m.list, mistake{at: at, key: key, reason: fmt.Sprintf(format, args...)})
}

// err is nil when there are none.
func (m *Mistakes) err() error {
	if len(m.list) == 0 {
		return nil
	}
	slices.SortStableFunc(m.list, func(a, b mistake) int {
		if a.at.source != b.at.source {
			return rank(a.at.source) - rank(b.at.source)
		}
		if a.at.line != b.at.line {
			return a.at.line - b.at.line
		}
		return a.at.order - b.at.order
	})
	return m
}

// rank sorts the file first, then environment, flags, defaults.
func rank(source string) int {
	switch source {
	case sourceEnv:
		return 1
	case sourceFlag:
		return 2
	case "":
		return 3
	}
	return 0
}

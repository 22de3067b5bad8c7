package storage

import (
	"strings"

	"chancery/ca"
)

// where collects the conditions of a search. Which there are is fixed by the
// code, so there are few texts of statements; values are always arguments.
type where struct {
	conditions []string
	args       []any
}

func (w *where) and(condition string, args ...any) {
	w.conditions = append(w.conditions, condition)
	w.args = append(w.args, args...)
}

// text adds a condition unless the value is empty.
func (w *where) text(condition, value string) {
	if value != "" {
		w.and(condition, value)
	}
}

func (w *where) sql() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// pageSize is a search's limit inside its bounds.
func pageSize(limit int) int { return min(max(limit, 1), ca.MaxSearch) }

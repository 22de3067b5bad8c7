package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
)

// listing is what all list commands have in common.
type listing struct {
	json  bool
	limit int
}

// tableLimit is how much of a listing a person is shown who asked for no
// particular number.
const tableLimit = 100

func (l *listing) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&l.json, "json", false, "one JSON object a line")
	cmd.Flags().IntVar(&l.limit, "limit", -1, "at most `N` lines, 0 for all (default 100 as a table, all with --json)")
}

// column is one column of a table of Ts.
type column[T any] struct {
	title string
	cell  func(t T) string
}

// show writes a listing: JSON as it comes, a table when it is whole.
func show[T any](cmd *cobra.Command, l listing, path string, q url.Values, columns []column[T]) error {
	limit := l.limit
	if limit < 0 {
		limit = tableLimit
		if l.json {
			limit = 0
		}
	}
	return withDoor(cmd, func(d *door) error {
		if l.json {
			_, err := d.each(cmd.Context(), path, q, limit, func(item json.RawMessage) error {
				return writeLine(cmd.OutOrStdout(), item)
			})
			return err
		}
		t := newTable()
		header := table.Row{}
		for _, c := range columns {
			header = append(header, c.title)
		}
		t.AppendHeader(header)
		more, err := d.each(cmd.Context(), path, q, limit, func(item json.RawMessage) error {
			var v T
			if err := json.Unmarshal(item, &v); err != nil {
				return fmt.Errorf("reading Chancery's answer: %w", err)
			}
			row := table.Row{}
			for _, c := range columns {
				row = append(row, printable(c.cell(v)))
			}
			t.AppendRow(row)
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), t.Render()); err != nil {
			return err
		}
		if more {
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), "There may be more: --limit 0 shows all.")
		}
		return err
	})
}

func newTable() table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	t.SetStyle(style)
	return t
}

// writeJSONLine writes an answer as one line.
func writeJSONLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeLine(w, text)
}

func writeLine(w io.Writer, text []byte) error {
	_, err := w.Write(append(text[:len(text):len(text)], '\n'))
	return err
}

// sheet writes facts about one thing, a line each; a fact without a value is
// left out.
type sheet struct {
	w   io.Writer
	err error
}

func (s *sheet) fact(name, value string) {
	if value != "" {
		s.line("%-14s %s", name+":", printable(value))
	}
}

func (s *sheet) line(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format+"\n", args...)
	}
}

// printable keeps what others chose (names, labels, contacts, answers from the
// network) from moving the cursor or passing for another line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// stamp writes a time for people; the zero time is empty.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// shownNames is how many names of a certificate a table shows.
const shownNames = 3

func nameList(names []string) string {
	if len(names) > shownNames {
		return fmt.Sprintf("%s +%d more", strings.Join(names[:shownNames], " "), len(names)-shownNames)
	}
	return strings.Join(names, " ")
}

// parseSpan reads a length of time: as Go writes it, or days and weeks ("30d", "2w").
func parseSpan(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(s, "d"):
		unit = day
	case strings.HasSuffix(s, "w"):
		unit = 7 * day
	}
	if unit == 0 {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q is no length of time; write 36h, 30d or 2w", s)
		}
		return d, nil
	}
	n, err := strconv.Atoi(s[:len(s)-1])
	if err != nil || n < 0 || n > maxSpanDays {
		return 0, fmt.Errorf("%q is no length of time; write 36h, 30d or 2w", s)
	}
	return time.Duration(n) * unit, nil
}

// maxSpanDays keeps a number of weeks inside a time.Duration.
const maxSpanDays = 10000

// moment reads a time: RFC 3339, or a length of time before or after now.
func moment(s string, now time.Time, sign time.Duration) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w, or a time like 2026-11-22T10:00:00Z", err)
	}
	return now.Add(sign * d), nil
}

// filters collects the filters that were given.
func filters(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

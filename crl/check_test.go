package crl

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/ca"
)

func signed(t *testing.T, w *world, number int64, this time.Time, entries []ca.Revoked) *List {
	t.Helper()
	h := w.head(number)
	h.thisUpdate, h.nextUpdate = this, this.Add(24*time.Hour)
	tbs, err := encode(h, entries)
	if err != nil {
		t.Fatal(err)
	}
	der, err := w.issuer.SignCRL(tbs)
	if err != nil {
		t.Fatal(err)
	}
	return &List{Number: number, ThisUpdate: h.thisUpdate, NextUpdate: h.nextUpdate, Entries: len(entries), DER: der}
}

// Each thing that could be wrong with a list is seen before it is published.
func TestCheckRefuses(t *testing.T) {
	w, other := newWorld(t, "ec256"), newWorld(t, "ec256")
	entries := someEntries(5)
	if err := check(w.issuer.Certificate(), signed(t, w, 7, start, entries), entries); err != nil {
		t.Fatalf("a list with nothing wrong: %v", err)
	}
	for name, c := range map[string]struct {
		l       *List
		entries []ca.Revoked
		change  func(l *List)
		want    string
	}{
		"an entry missing":    {signed(t, w, 7, start, entries[1:]), entries, nil, "4 entries, not 5"},
		"an entry too many":   {signed(t, w, 7, start, entries), entries[1:], nil, "5 entries, not 4"},
		"another entry":       {signed(t, w, 7, start, entries[1:]), entries[:4], nil, "is of"},
		"another reason":      {signed(t, w, 7, start, entries), changed(entries, func(e *ca.Revoked) { e.Reason = ca.CACompromise }), nil, "for reason"},
		"another date":        {signed(t, w, 7, start, entries), changed(entries, func(e *ca.Revoked) { e.At = e.At.Add(time.Second) }), nil, "revoked at"},
		"an entry twice":      {signed(t, w, 7, start, append(entries[:1:1], entries[0])), append(entries[:1:1], entries[0]), nil, "twice"},
		"wrong sequence":      {signed(t, w, 7, start, backwards(entries)), backwards(entries), nil, "not in its place"},
		"another number":      {signed(t, w, 7, start, entries), entries, func(l *List) { l.Number = 8 }, "number 7, not 8"},
		"another thisUpdate":  {signed(t, w, 7, start, entries), entries, func(l *List) { l.ThisUpdate = start.Add(1) }, "it is for"},
		"another nextUpdate":  {signed(t, w, 7, start, entries), entries, func(l *List) { l.NextUpdate = start }, "it is for"},
		"cut off":             {signed(t, w, 7, start, entries), entries, func(l *List) { l.DER = l.DER[:len(l.DER)-1] }, "parsed"},
		"octets behind":       {signed(t, w, 7, start, entries), entries, func(l *List) { l.DER = append(l.DER, 0) }, "1 octets stand behind"},
		"a flipped bit":       {signed(t, w, 7, start, entries), entries, func(l *List) { l.DER[len(l.DER)/2] ^= 1 }, ""},
		"of another issuer":   {signed(t, other, 7, start, entries), entries, nil, "signature"},
		"nothing":             {&List{Number: 7}, nil, nil, "parsed"},
		"a certificate's DER": {&List{Number: 7, DER: w.root.Raw}, nil, nil, ""},
	} {
		if c.change != nil {
			c.change(c.l)
		}
		if c.l.Entries != len(c.entries) && name != "an entry missing" && name != "an entry too many" {
			c.l.Entries = len(c.entries)
		}
		if err := check(w.issuer.Certificate(), c.l, c.entries); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
}

func changed(entries []ca.Revoked, change func(*ca.Revoked)) []ca.Revoked {
	out := slices.Clone(entries)
	change(&out[3])
	return out
}

func backwards(entries []ca.Revoked) []ca.Revoked {
	out := slices.Clone(entries)
	slices.Reverse(out)
	return out
}

// expiries answers for certificates by their expiry.
type expiries map[ca.Serial]time.Time

func (e expiries) Certificate(_ context.Context, serial ca.Serial) (*ca.Certificate, error) {
	at, ok := e[serial]
	if !ok {
		return nil, ca.ErrNotFound
	}
	return &ca.Certificate{Serial: serial, NotAfter: at}, nil
}

func TestCheckLeft(t *testing.T) {
	w := newWorld(t, "ec256")
	entries := someEntries(9)
	last := signed(t, w, 7, start, entries)
	later := start.Add(time.Hour)
	expired := start.Add(-time.Second)
	for name, c := range map[string]struct {
		next  *List
		known expiries
		want  string // empty: passes
	}{
		"the same":                 {signed(t, w, 8, later, entries), nil, ""},
		"one more in the middle":   {signed(t, w, 8, later, someEntries(10)), nil, ""},
		"first left, expired":      {signed(t, w, 8, later, entries[1:]), expiries{entries[0].Serial: expired}, ""},
		"last left, expired":       {signed(t, w, 8, later, entries[:8]), expiries{entries[8].Serial: expired}, ""},
		"all left, one not":        {signed(t, w, 8, later, nil), expiries{entries[0].Serial: expired, entries[1].Serial: start}, "expires only at"},
		"one left, not expired":    {signed(t, w, 8, later, entries[1:]), expiries{entries[0].Serial: later}, "expires only at"},
		"one left, not known":      {signed(t, w, 8, later, entries[1:]), nil, "not known"},
		"the same number":          {signed(t, w, 7, later, entries), nil, "number 7 is published"},
		"a lower number":           {signed(t, w, 6, later, entries), nil, "number 7 is published"},
		"the same date":            {signed(t, w, 8, start, entries), nil, "is published"},
		"the new list is not one":  {&List{Number: 8, ThisUpdate: later, DER: []byte{0x30, 0}}, nil, errNotList.Error()},
		"the sequence is reversed": {signed(t, w, 8, later, backwards(entries)), nil, errNotList.Error()},
	} {
		err := checkLeft(context.Background(), c.known, last, c.next, start)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
	if err := checkLeft(context.Background(), expiries{}, &List{DER: []byte("x")}, signed(t, w, 8, later, nil), start); !errors.Is(err, errNotList) {
		t.Errorf("a last list that is none: %v", err)
	}
}

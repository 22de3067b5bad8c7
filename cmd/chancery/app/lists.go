package app

import (
	"errors"
	"fmt"
	"io/fs"

	"chancery/ca"
)

// maxListSize bounds a file with a list: five million fingerprints of weak
// keys have 105 MB.
const maxListSize = 128 << 20

// readLists reads the files of policy. A file that is not there, is empty, or
// has one line that can't be read is a mistake: going on without it would
// certify what it is there to prevent (SAFETY I27, I84).
func (c *Config) readLists(m *Mistakes) {
	for _, path := range c.Policy.WeakKeys {
		if c.Policy.weak == nil {
			c.Policy.weak = &ca.WeakKeys{}
		}
		c.readList(m, "policy.weak_keys", path, c.Policy.weak.Add)
	}
	var names []ca.NamePattern
	for _, path := range c.Policy.DeniedNames {
		c.readList(m, "policy.denied_names", path, func(list []byte) error {
			more, err := ca.ParseNameList(list)
			names = append(names, more...)
			return err
		})
	}
	if len(names) > 0 {
		c.Policy.denied = ca.NewNameList(names)
	}
}

func (c *Config) readList(m *Mistakes, key, path string, take func([]byte) error) {
	list, err := readBounded(path, maxListSize)
	if err == nil {
		err = take(list)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.add(c.places[key], key, "there is no file %s", path)
	case err != nil:
		m.add(c.places[key], key, "%s: %s", path, err)
	}
}

// parseNames takes patterns of names.
func parseNames(v value) (*ca.NameList, error) {
	in, err := v.many()
	if err != nil {
		return nil, err
	}
	patterns := make([]ca.NamePattern, 0, len(in))
	for i, s := range in {
		p, err := ca.ParseNamePattern(s)
		if err != nil {
			return nil, fmt.Errorf("entry %d, %w", i+1, err)
		}
		patterns = append(patterns, p)
	}
	return ca.NewNameList(patterns), nil
}

// parseAllowed is parseNames for a list that must not be empty: that would
// either allow all or nothing, and readers disagree which (SAFETY A24).
func parseAllowed(v value) (*ca.NameList, error) {
	l, err := parseNames(v)
	if err == nil && len(l.Patterns()) == 0 {
		return nil, errors.New("is empty; name what is allowed, or leave the key out to allow what the rule set does")
	}
	return l, err
}

package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Bounds of a configuration file. It is the operator's own, but a wrong path
// (a database, a device) must end in a message and not in memory.
const (
	maxConfigSize  = 256 << 10
	maxConfigDepth = 8 // the deepest key has 4 levels
)

// value is a piece of configuration with its place: a scalar, a list or a
// map. Only what the keys need of YAML is let through: anchors, aliases, tags
// and merge keys are refused, because they make a file say what it doesn't show.
type value struct {
	at     place
	kind   valueKind
	text   string // of a scalar
	quoted bool   // the scalar stood in quotes, or came from a flag or the environment
	list   []value
	fields []field
}

type field struct {
	name string
	at   place
	value
}

type valueKind int

const (
	nothing valueKind = iota // null, or a key without a value
	scalar
	list
	mapping
	refused // and reported already
)

func (k valueKind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a map", "nothing"}[k]
}

// readYAML reads a configuration file into fields. Mistakes of form go to m.
func readYAML(source string, src []byte, m *Mistakes) []field {
	if len(src) >= 3 && string(src[:3]) == "\xef\xbb\xbf" {
		src = src[3:] // a byte order mark, as some editors write it
	}
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, reason := syntaxError(source, err)
		m.add(at, "", "not YAML: %s", reason)
		return nil
	}
	y := yamlReader{source: source, mistakes: m}
	var fields []field
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		v := y.read(doc.Body, "", 1)
		switch {
		case i > 0:
			m.add(v.at, "", "a second YAML document; put everything in one")
		case v.kind == mapping:
			fields = v.fields
		case v.kind != nothing && v.kind != refused:
			m.add(v.at, "", "the file must be a map of keys, this is %s", v.kind)
		}
	}
	return fields
}

// syntaxError takes the line and a one-line reason out of a parser's error.
func syntaxError(source string, err error) (place, string) {
	var located yaml.Error
	if errors.As(err, &located) {
		at := place{source: source}
		if tk := located.GetToken(); tk != nil && tk.Position != nil {
			at.line = tk.Position.Line
		}
		return at, located.GetMessage()
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return place{source: source}, first
}

type yamlReader struct {
	source   string
	mistakes *Mistakes
}

func (y *yamlReader) place(n ast.Node) place {
	at := place{source: y.source}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		at.line = tk.Position.Line
	}
	return at
}

// read turns a node into a value; what it can't, it reports and leaves empty.
func (y *yamlReader) read(n ast.Node, path string, depth int) value {
	at := y.place(n)
	if depth > maxConfigDepth {
		y.mistakes.add(at, path, "nested deeper than %d levels", maxConfigDepth)
		return value{at: at, kind: refused}
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return y.mapping(at, n.Values, path, depth)
	case *ast.MappingValueNode:
		return y.mapping(at, []*ast.MappingValueNode{n}, path, depth)
	case *ast.SequenceNode:
		v := value{at: at, kind: list}
		for i, item := range n.Values {
			v.list = append(v.list, y.read(item, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return v
	case *ast.NullNode:
		return value{at: at}
	case *ast.LiteralNode:
		return value{at: at, kind: scalar, text: n.Value.Value, quoted: true}
	case *ast.StringNode:
		src := strings.TrimSpace(n.GetToken().Origin)
		return value{at: at, kind: scalar, text: n.Value, quoted: strings.HasPrefix(src, `"`) || strings.HasPrefix(src, "'")}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return value{at: at, kind: scalar, text: n.GetToken().Value}
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		y.mistakes.add(at, path, "YAML anchors, aliases, merge keys and tags are not taken; write the value out")
	default:
		y.mistakes.add(at, path, "%s is not a value that a key can have", n.Type())
	}
	return value{at: at, kind: refused}
}

func (y *yamlReader) mapping(at place, entries []*ast.MappingValueNode, path string, depth int) value {
	v := value{at: at, kind: mapping}
	seen := make(map[string]place, len(entries))
	for _, e := range entries {
		keyAt := y.place(e.Key)
		name, ok := e.Key.(*ast.StringNode)
		if !ok {
			y.mistakes.add(keyAt, path, "a key must be a plain word, this is %s", e.Key.GetToken().Value)
			continue
		}
		below := join(path, name.Value)
		if first, twice := seen[name.Value]; twice {
			y.mistakes.add(keyAt, below, "stands here a second time; the first is at line %d", first.line)
			continue
		}
		seen[name.Value] = keyAt
		v.fields = append(v.fields, field{name: name.Value, at: keyAt, value: y.read(e.Value, below, depth+1)})
	}
	return v
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// readBounded reads a regular file of at most limit bytes. Anything else (a
// directory, a pipe, a device) is refused before it is read.
func readBounded(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}

// Package jsonfield takes single fields out of JSON events, strictly and without
// rounding numbers.
//
// # Paths
//
// A path is a dotted name: a.b is the member b of the object in member a of the
// event. There is no escape: a member whose own name contains a dot cannot be
// named, and arrays cannot be entered.
//
// # Strictness
//
// A payload is exactly one JSON object (RFC 8259, I-JSON where it is stricter):
// duplicate names, invalid UTF-8, lone surrogates, malformed numbers and
// trailing bytes are errors wherever in the payload they are, and so is nesting
// deeper than [MaxDepth]. That makes every value a function of the payload's
// bytes, on which all JSON parsers agree.
package jsonfield

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how many objects and arrays may be nested in each other, the
// payload itself included.
const MaxDepth = 1000

var (
	errNotObject = errors.New("not a JSON object")
	errTooDeep   = fmt.Errorf("nested deeper than %d levels", MaxDepth)
	errTrailing  = errors.New("more follows the JSON object")
)

// Path is a parsed dotted name.
type Path struct{ parts []string }

// ParsePath reads a dotted name. An empty part is an error.
func ParsePath(s string) (Path, error) {
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if p == "" {
			return Path{}, fmt.Errorf("field %q: a name between dots is empty", s)
		}
	}
	return Path{parts}, nil
}

// String returns the dotted name.
func (p Path) String() string { return strings.Join(p.parts, ".") }

// Kind is what a value is.
type Kind byte

// The kinds there are. Absent is the zero value: the payload has no such field.
const (
	Absent Kind = iota
	Null
	String
	Number
	Bool
	Object
	Array
)

var kinds = map[jsontext.Kind]Kind{
	'n': Null, '"': String, '0': Number, 't': Bool, 'f': Bool, '{': Object, '[': Array,
}

// Value is one extracted field.
type Value struct {
	Kind Kind
	Raw  []byte // the field's bytes in the payload, whose memory it shares
}

// Text returns a string's text; for all other kinds the bytes as they stand in
// the payload.
func (v Value) Text() string {
	if v.Kind != String {
		return string(v.Raw)
	}
	if bytes.IndexByte(v.Raw, '\\') < 0 {
		return string(v.Raw[1 : len(v.Raw)-1])
	}
	b, _ := jsontext.AppendUnquote(nil, v.Raw) // cannot fail: Raw was decoded strictly
	return string(b)
}

// Extractor takes a fixed list of fields out of payloads. It may be used by
// several goroutines at once.
type Extractor struct {
	root *node
	n    int
}

// node is a name on the way to a field, or a field, or both.
type node struct {
	children map[string]*node
	out      []int // where values of this very field go
}

// New returns an Extractor of the given paths.
func New(paths ...Path) *Extractor {
	x := &Extractor{root: &node{}, n: len(paths)}
	for i, p := range paths {
		at := x.root
		for _, part := range p.parts {
			at = at.child(part)
		}
		at.out = append(at.out, i)
	}
	return x
}

func (n *node) child(name string) *node {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	c := n.children[name]
	if c == nil {
		c = &node{}
		n.children[name] = c
	}
	return c
}

// Extract sets out[i] to the value of the i-th path; out has one element a path.
// The values share the payload's memory. An error means that the payload is not
// one strict JSON object; out is of no use then.
func (x *Extractor) Extract(payload []byte, out []Value) error {
	if len(out) != x.n {
		return fmt.Errorf("extract %d fields into %d values", x.n, len(out))
	}
	clear(out)
	w := walks.Get().(*walk)
	defer w.release()
	w.begin(payload, out)
	if w.dec.PeekKind() != '{' {
		// Whatever else is wrong with it, the decoder says better.
		if err := w.dec.SkipValue(); err != nil {
			return err
		}
		return errNotObject
	}
	if err := w.object(x.root); err != nil {
		return err
	}
	if _, err := w.dec.ReadToken(); err != io.EOF {
		return errTrailing
	}
	return nil
}

// walk is the state of one extraction.
type walk struct {
	dec     jsontext.Decoder
	in      bytes.Buffer
	payload []byte
	out     []Value
}

var walks = sync.Pool{New: func() any { return new(walk) }}

func (w *walk) begin(payload []byte, out []Value) {
	w.payload, w.out = payload, out
	w.in = *bytes.NewBuffer(payload) // of which the decoder reads without copying
	w.dec.Reset(&w.in)
}

func (w *walk) release() {
	w.payload, w.out, w.in = nil, nil, bytes.Buffer{}
	w.dec.Reset(&w.in)
	walks.Put(w)
}

// object reads an object of which at least one member is wanted.
func (w *walk) object(n *node) error {
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	for w.dec.PeekKind() != '}' {
		name, err := w.dec.ReadValue()
		if err != nil {
			return err
		}
		if err := w.member(n.named(name)); err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

// named returns the child with a name as it stands in the payload, or nil.
func (n *node) named(quoted []byte) *node {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return n.children[string(quoted[1:len(quoted)-1])]
	}
	name, _ := jsontext.AppendUnquote(nil, quoted)
	return n.children[string(name)]
}

// member reads a member's value and keeps it if it is wanted.
func (w *walk) member(n *node) error {
	kind := w.dec.PeekKind()
	start := int(w.dec.InputOffset())
	if n != nil && n.children != nil && kind == '{' {
		if err := w.object(n); err != nil {
			return err
		}
	} else if v, err := w.dec.ReadValue(); err != nil {
		return err
	} else if w.dec.StackDepth()+depth(v) > MaxDepth {
		return errTooDeep
	}
	if n == nil {
		return nil
	}
	raw := bytes.TrimLeft(w.payload[start:w.dec.InputOffset()], " \t\r\n:")
	for _, i := range n.out {
		w.out[i] = Value{kinds[kind], raw}
	}
	return nil
}

// depth returns how many objects and arrays of a valid value lie in each other,
// or something below the limit if it is certainly within it.
func depth(v []byte) int {
	if v[0] != '{' && v[0] != '[' {
		return 0
	}
	if bytes.Count(v, []byte{'{'})+bytes.Count(v, []byte{'['}) < MaxDepth/2 {
		return 1
	}
	return nesting(v)
}

func nesting(v []byte) (deepest int) {
	now, quoted := 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

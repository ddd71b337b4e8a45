package model

import (
	"fmt"
	"strings"
)

// label describes a step. It is a format and its arguments, because a description
// is read only of the few steps of a trace: %d is a number, %r a set of rows, %e
// one of events, %l one of lanes.
type label struct {
	text string
	args [4]uint8
}

func newLabel(text string, args []uint8) label {
	l := label{text: text}
	copy(l.args[:], args)
	return l
}

func (l label) String() string {
	var b strings.Builder
	args := l.args[:]
	for i := 0; i < len(l.text); i++ {
		if l.text[i] != '%' {
			b.WriteByte(l.text[i])
			continue
		}
		i++
		if verb := l.text[i]; verb == 'd' {
			fmt.Fprint(&b, args[0])
		} else {
			b.WriteString(set(args[0]).names(verb))
		}
		args = args[1:]
	}
	return b.String()
}

// names lists a set's members after the letter of their kind.
func (m set) names(kind byte) string {
	var names []string
	for i := range uint8(8) {
		if m.has(i) {
			names = append(names, fmt.Sprintf("%c%d", kind, i))
		}
	}
	if names == nil {
		return "nothing"
	}
	return strings.Join(names, " ")
}

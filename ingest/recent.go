package ingest

import "github.com/afterhours/afterhours"

// recent is a map that forgets. What was put is there for one span of time at
// least and for two at most, unless more is put in that time than there is room
// for. Its users are right, if slower, when it forgets. One goroutine uses it.
type recent[K comparable, V any] struct {
	span afterhours.Micros
	room int // entries of each of the two maps

	turned     afterhours.Micros // when young began
	young, old map[K]V
}

func newRecent[K comparable, V any](span afterhours.Micros, room int) *recent[K, V] {
	return &recent[K, V]{span: span, room: max(1, room), young: map[K]V{}}
}

func (r *recent[K, V]) get(k K, at afterhours.Micros) (V, bool) {
	r.forget(at)
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	return v, ok
}

func (r *recent[K, V]) put(k K, v V, at afterhours.Micros) {
	r.forget(at)
	if len(r.young) >= r.room {
		r.turn(at)
	}
	r.young[k] = v
}

// forget drops what is too old.
func (r *recent[K, V]) forget(at afterhours.Micros) {
	age := at - r.turned
	if age >= 2*r.span {
		r.young = map[K]V{}
	}
	if age >= r.span {
		r.turn(at)
	}
}

func (r *recent[K, V]) turn(at afterhours.Micros) {
	r.old, r.young, r.turned = r.young, map[K]V{}, at
}

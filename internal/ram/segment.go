package ram

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
)

// segmentSize is small enough that a Table gives back memory after many tokens are removed,
// and large enough that the garbage collector has little to visit.
const segmentSize = 128

// segment holds neighboring tokens. A reader that holds the mutex of a record finds the text
// and the full tokens that belong to the record.
type segment[T any] struct {
	records atomic.Pointer[[segmentSize]record] // nil: the segment is not needed
	text    atomic.Pointer[string]              // of all records
	full    atomic.Pointer[[segmentSize]*T]     // nil: no token has a Full; the mutex of a record guards its element
}

// writer is the part of a segment that readers do not need.
type writer struct {
	text strings.Builder
	dead int                // bytes of text that no token uses
	room int                // the number of records without a token
	free [segmentSize]uint8 // the first of them are those records
}

func (t *Table[T]) segment(n uint32) *segment[T] { return &(*t.segments.Load())[n/segmentSize] }

func (t *Table[T]) writer(n uint32) *writer { return t.writers[n/segmentSize] }

// record returns the record of a number, or nil if its segment is gone.
func (t *Table[T]) record(n uint32) *record {
	if records := t.segment(n).records.Load(); records != nil {
		return &records[n%segmentSize]
	}
	return nil
}

// vacancy returns the number of a record without a token.
func (t *Table[T]) vacancy() uint32 {
	if len(t.open) == 0 {
		t.grow()
	}
	i := t.open[len(t.open)-1]
	w := t.writers[i]
	if w.room--; w.room == 0 {
		t.open = t.open[:len(t.open)-1]
	}
	return i*segmentSize + uint32(w.free[w.room])
}

// vacate makes a record vacant. It drops a segment without tokens if another one has room.
func (t *Table[T]) vacate(n uint32) {
	i, w := n/segmentSize, t.writer(n)
	w.free[w.room] = uint8(n % segmentSize)
	w.room++
	switch w.room {
	case 1:
		t.open = append(t.open, i)
	case segmentSize:
		if len(t.open) > 1 {
			t.drop(i)
		}
	}
}

// drop drops a segment without tokens.
func (t *Table[T]) drop(i uint32) {
	at := slices.Index(t.open, i)
	t.open = slices.Delete(t.open, at, at+1)
	t.absent = append(t.absent, i)
	t.writers[i] = nil
	s := &(*t.segments.Load())[i]
	s.records.Store(nil)
	s.text.Store(nil)
	s.full.Store(nil)
}

// grow adds a segment.
func (t *Table[T]) grow() {
	if len(t.absent) == 0 {
		t.extend()
	}
	last := len(t.absent) - 1
	i := t.absent[last]
	t.absent = t.absent[:last]
	w := &writer{room: segmentSize}
	for place := range w.free {
		w.free[place] = uint8(segmentSize - 1 - place)
	}
	t.writers[i] = w
	s := &(*t.segments.Load())[i]
	s.text.Store(new(string))
	s.records.Store(new([segmentSize]record))
	t.open = append(t.open, i)
}

// extend doubles the number of segments that the Table can have. A reader that still has the old
// list loads the new one under the mutex of a record.
func (t *Table[T]) extend() {
	var old []segment[T]
	if list := t.segments.Load(); list != nil {
		old = *list
	}
	segments := make([]segment[T], max(1, 2*len(old)))
	for i := range old {
		segments[i].records.Store(old[i].records.Load())
		segments[i].text.Store(old[i].text.Load())
		segments[i].full.Store(old[i].full.Load())
	}
	for i := len(segments) - 1; i >= len(old); i-- {
		t.absent = append(t.absent, uint32(i))
	}
	t.writers = slices.Grow(t.writers, len(segments)-len(old))[:len(segments)]
	t.segments.Store(&segments)
}

// setFull stores the Full of a token. The caller holds the mutex of its record.
func (t *Table[T]) setFull(n uint32, token *T) {
	s := t.segment(n)
	full := s.full.Load()
	switch {
	case full == nil && token == nil:
		return
	case full == nil:
		full = new([segmentSize]*T)
		s.full.Store(full)
	}
	full[n%segmentSize] = token
}

// write appends to the text of a segment, and returns where.
func (t *Table[T]) write(n uint32, text Text) (at uint32) {
	t.trim(n)
	w := t.writer(n)
	if uint64(w.text.Len()+len(text)) > math.MaxUint32 {
		t.compact(n)
	}
	at = uint32(w.text.Len())
	w.text.WriteString(string(text))
	t.publish(n)
	return at
}

// publish shows readers the text. The builder never changes bytes that it has returned.
func (t *Table[T]) publish(n uint32) {
	text := t.writer(n).text.String()
	t.segment(n).text.Store(&text)
}

// discard counts the text of a record as unused.
func (t *Table[T]) discard(r *record, n uint32) { t.writer(n).dead += int(r.textSize) }

// trim compacts the text of a segment if tokens use less than half of it.
func (t *Table[T]) trim(n uint32) {
	if w := t.writer(n); w.dead > max(1<<10, w.text.Len()/2) {
		t.compact(n)
	}
}

// compact drops the text that no token uses.
func (t *Table[T]) compact(n uint32) {
	records, w := t.segment(n).records.Load(), t.writer(n)
	for i := range records {
		records[i].mu.Lock()
		defer records[i].mu.Unlock()
	}
	old := w.text.String()
	w.text = strings.Builder{}
	w.text.Grow(len(old) - w.dead)
	for i := range records {
		r := &records[i]
		at := w.text.Len()
		w.text.WriteString(old[r.textAt : r.textAt+r.textSize])
		r.textAt = uint32(at)
	}
	w.dead = 0
	t.publish(n)
}

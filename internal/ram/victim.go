package ram

// The bounds of Victim.
const (
	maxUses    = 3
	candidates = 16
)

// Victim returns the number of a token that is used little. The hand of a clock goes round
// the tokens, and takes a use from each that it passes (as PostgreSQL evicts its buffers). It
// passes few tokens at a time, so that the caller does not wait. The Table is not empty.
func (t *Table[T]) Victim() (victim uint32) {
	least := uint8(maxUses + 1)
	for seen := 0; seen < candidates && least > 0; {
		n := t.hand
		t.hand++
		r := t.record(n)
		if r == nil {
			t.hand = (n/segmentSize + 1) * segmentSize // the next segment
		}
		if int(t.hand/segmentSize) >= len(*t.segments.Load()) {
			t.hand = 0
		}
		if r == nil {
			continue
		}
		uses, ok := r.pass()
		if !ok {
			continue
		}
		if seen++; uses < least {
			least, victim = uses, n
		}
	}
	return victim
}

// pass takes a use from a token, and returns how many there were. It returns false if there is
// no token.
func (r *record) pass() (uses uint8, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	uses = r.uses
	r.uses = max(uses, 1) - 1
	return uses, r.state != 0
}

package httpkey

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Entry is a token in the memory of its store, shared with the Guards that ask
// for it: an answer costs neither a copy nor an allocation. See [EntryStore].
//
// An Entry is immutable but for LastUsed, so a request goes on with the token
// as it was let in. It is safe for concurrent use. Make one with [NewEntry] or [NewCopy].
type Entry struct {
	// Two cache lines, of which the first is all that a search looks at.
	digest    Digest
	lastUsed  atomic.Int64 // Unix microseconds, null, or replaced
	expiredAt int64        // Unix microseconds, or null
	slot      Slot
	rare      *rare // nil if there is none of it

	// The strings stand in one, where each would take two words: half of what a
	// token takes, and one object for the garbage collector to visit instead of seven.
	text      string
	ends      [lastText]uint32
	state     entryState
	createdAt int64

	// latest is set before lastUsed is replaced. All that a token was and is share it:
	// an Entry that somebody still has must not keep those between in memory.
	latest *atomic.Pointer[Entry]
}

// rare is what few tokens have.
type rare struct {
	limit  Limit
	scopes []string
}

// entryState is what of a token fits into a bit.
type entryState uint8

const (
	stateActive  entryState = 1 << iota
	stateService            // its Kind is ServiceToken
	stateCopy               // of a token that its store keeps elsewhere
)

// The strings of an Entry, in their order; the last needs no end.
const (
	textID = iota
	textHint
	textKind
	textLabel
	textUser
	textWorkspace
	textRotatedFrom
	textDescription
	lastText = textDescription
)

const (
	null     = math.MinInt64 // stands for the zero [time.Time], and lies before all others
	replaced = math.MaxInt64 // what is meant is with the latest
)

// NewEntry returns an Entry of t, whose times it keeps to the microsecond. It
// shares no memory with t. The strings of t must not exceed 4 GB together.
func NewEntry(t Token) *Entry {
	e := new(Entry)
	e.Init(t)
	return e
}

// Init makes e what [NewEntry] returns, for a store that keeps more of a token beside
// its Entry. e must be new.
func (e *Entry) Init(t Token) {
	e.digest = t.Digest
	e.lastUsed.Store(toMicros(t.LastUsed))
	e.expiredAt = toMicros(t.ExpiredAt)
	e.createdAt = toMicros(t.CreatedAt)
	if t.Limit != (Limit{}) || t.Scopes != nil {
		e.rare = &rare{t.Limit, slices.Clone(t.Scopes)}
	}
	if t.IsActive {
		e.state |= stateActive
	}
	if t.Kind == ServiceToken {
		e.state |= stateService
	}
	e.text = t.ID + t.Hint + string(t.Kind) + t.Label + t.User + t.Workspace + t.RotatedFrom + t.Description
	end := 0
	for i, s := range [lastText]string{t.ID, t.Hint, string(t.Kind), t.Label, t.User, t.Workspace, t.RotatedFrom} {
		end += len(s)
		e.ends[i] = uint32(end)
	}
}

// NewCopy is [NewEntry] for a cache: the token is kept elsewhere, and its uses are
// written there by [TokenStore.Touch].
func NewCopy(t Token) *Entry {
	e := NewEntry(t)
	e.state |= stateCopy
	return e
}

// IsCopy reports whether [NewCopy] made e.
func (e *Entry) IsCopy() bool { return e.state&stateCopy != 0 }

// Token returns a copy of the token, as it is now.
func (e *Entry) Token() Token {
	return Token{
		ID:          e.string(textID),
		Digest:      e.digest,
		Hint:        e.string(textHint),
		Kind:        Kind(e.string(textKind)),
		Label:       e.string(textLabel),
		Description: e.string(textDescription),
		User:        e.string(textUser),
		Workspace:   e.string(textWorkspace),
		Scopes:      slices.Clone(e.scopes()),
		Limit:       e.limit(),
		IsActive:    e.isActive(),
		ExpiredAt:   fromMicros(e.expiredAt),
		LastUsed:    fromMicros(e.latestUse()),
		CreatedAt:   fromMicros(e.createdAt),
		RotatedFrom: e.string(textRotatedFrom),
	}
}

// ID returns the token's ID.
func (e *Entry) ID() string { return e.string(textID) }

// Digest returns the token's digest.
func (e *Entry) Digest() Digest { return e.digest }

// Cursor returns the token's place in a list, as [Token.Cursor] does.
func (e *Entry) Cursor() Cursor { return Cursor{CreatedAt: fromMicros(e.createdAt), ID: e.ID()} }

// Touch moves LastUsed on to at, unless it is there or later already.
func (e *Entry) Touch(at time.Time) { e.touch(toMicros(at)) }

// Slot returns the place for the token's bucket. A store may put there what its
// limiter understands, before it shows e to anybody.
func (e *Entry) Slot() *Slot { return &e.slot }

// Replace makes next, which must be new, an Entry of t, for a store to put in place
// of e. Digest and LastUsed are those of e; a use that a request notes in e from now
// on, because it found e before it was replaced, shows in next too. Replace an Entry once.
func (e *Entry) Replace(next *Entry, t Token) {
	t.Digest, t.LastUsed = e.digest, time.Time{}
	next.Init(t)
	if e.latest == nil {
		e.latest = new(atomic.Pointer[Entry])
	}
	next.latest = e.latest
	e.latest.Store(next)
	for last := e.lastUsed.Load(); ; last = e.lastUsed.Load() {
		next.touch(last)
		if e.lastUsed.CompareAndSwap(last, replaced) {
			return
		}
	}
}

// Format prints the token, the digest redacted.
func (e *Entry) Format(f fmt.State, verb rune) { e.Token().Format(f, verb) }

func (e *Entry) touch(micros int64) {
	for last := e.lastUsed.Load(); last < micros; last = e.lastUsed.Load() {
		if e.lastUsed.CompareAndSwap(last, micros) {
			return
		}
	}
	if e.lastUsed.Load() == replaced {
		e.latest.Load().touch(micros)
	}
}

// touchCoarsely is touch that leaves a LastUsed be that is less than a millisecond
// old: CPUs that all serve one key would take the cache line from each other, and
// with it the digest that they compare.
func (e *Entry) touchCoarsely(micros int64) {
	if last := e.lastUsed.Load(); last <= micros-1000 || last == replaced {
		e.touch(micros)
	}
}

func (e *Entry) latestUse() int64 {
	last := e.lastUsed.Load()
	if last == replaced {
		return e.latest.Load().latestUse()
	}
	return last
}

func (e *Entry) string(i int) string {
	start, end := 0, len(e.text)
	if i > 0 {
		start = int(e.ends[i-1])
	}
	if i < lastText {
		end = int(e.ends[i])
	}
	return e.text[start:end]
}

func (e *Entry) limit() Limit {
	if e.rare == nil {
		return Limit{}
	}
	return e.rare.limit
}

func (e *Entry) scopes() []string {
	if e.rare == nil {
		return nil
	}
	return e.rare.scopes
}

func (e *Entry) isActive() bool { return e.state&stateActive != 0 }

// expired reports whether the token has expired at a Unix microsecond. Expiring
// exactly then is expired.
func (e *Entry) expired(micros int64) bool { return e.expiredAt != null && e.expiredAt <= micros }

func toMicros(t time.Time) int64 {
	if t.IsZero() {
		return null
	}
	return t.UnixMicro()
}

func fromMicros(micros int64) time.Time {
	if micros == null {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

package httpkey

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The errors that a [TokenStore] returns for a missing and for an existing token. Match
// them with [errors.Is], because a store may wrap them.
var (
	// ErrNotFound says that the store holds no such token.
	ErrNotFound = errors.New("httpkey: token not found")
	// ErrConflict says that the store already holds a token with that ID or that digest.
	ErrConflict = errors.New("httpkey: a token with this ID or digest exists already")
)

// TokenStore keeps tokens. It never sees a secret, only its [Digest].
//
// Every method is safe for concurrent use, through any number of handles on
// one backend, and each call sees all that earlier calls stored. Every method heeds
// the cancellation of its context where it waits. A store MUST NOT share memory with
// its callers: it copies tokens in and out; see [Token.Clone].
//
// A store compares strings and digests byte by byte: it MUST NOT fold case, trim blanks
// or normalize. Times MUST keep their microsecond; the location may change, and zero
// times stay zero. A store MUST return [Token.More] as it was stored, including the
// properties of a later version.
//
// The package storetest checks these rules for an implementation of your own.
// [LookupOnly] makes a TokenStore of a table that only looks keys up.
type TokenStore interface {
	// Create stores t and returns the stored token: a store may choose another ID. It
	// MUST return ErrConflict, and change nothing, if the ID or the digest exists. If
	// several calls race for one ID or digest, exactly one succeeds.
	Create(ctx context.Context, t Token) (Token, error)

	// Lookup returns the token with a digest, whatever its state, or ErrNotFound.
	// It is on the path of every request.
	Lookup(ctx context.Context, d Digest) (Token, error)

	// Get returns the token with an ID, whatever its state, or ErrNotFound.
	Get(ctx context.Context, id string) (Token, error)

	// List returns the tokens that f selects, newest first: by CreatedAt, then by ID,
	// both descending.
	List(ctx context.Context, f Filter) ([]Token, error)

	// Update changes the token with an ID and returns the stored token, or ErrNotFound:
	// it never creates one.
	//
	// It is a compare-and-set. The store reads the token, calls its [Token.Apply] with
	// change, and stores the result only if no other update came between. Otherwise it
	// begins again, so change may run several times. Concurrent updates all take effect.
	// Update returns an error of Apply as it is, and then changes nothing.
	Update(ctx context.Context, id string, change func(*Token) error) (Token, error)

	// Delete removes the token with an ID. A missing token is no error.
	Delete(ctx context.Context, id string) error

	// Touch sets LastUsed of many tokens, by ID. It MUST NOT move a LastUsed
	// backwards, MUST skip unknown IDs without an error, and MUST NOT keep the map.
	// A Guard passes at most 1,000 at a time, from a goroutine of its own, so a panic
	// in Touch ends the program.
	Touch(ctx context.Context, used map[string]time.Time) error
}

// LookupOnly is a TokenStore of one or two functions, for a table of keys that the
// program already has and manages by itself. Its other methods return an error that
// wraps [errors.ErrUnsupported].
type LookupOnly struct {
	// ByDigest implements Lookup: it returns the token with a digest, or ErrNotFound. A
	// token needs an ID, a Digest and IsActive; its Kind may be empty. It is required.
	ByDigest func(ctx context.Context, d Digest) (Token, error)
	// Used implements Touch. Nil: uses are not written.
	Used func(ctx context.Context, used map[string]time.Time) error
}

// Create returns an error that wraps [errors.ErrUnsupported].
func (LookupOnly) Create(context.Context, Token) (Token, error) {
	return Token{}, unsupported("Create")
}

// Lookup calls ByDigest.
func (s LookupOnly) Lookup(ctx context.Context, d Digest) (Token, error) { return s.ByDigest(ctx, d) }

// Get returns an error that wraps [errors.ErrUnsupported].
func (LookupOnly) Get(context.Context, string) (Token, error) { return Token{}, unsupported("Get") }

// List returns an error that wraps [errors.ErrUnsupported].
func (LookupOnly) List(context.Context, Filter) ([]Token, error) { return nil, unsupported("List") }

// Update returns an error that wraps [errors.ErrUnsupported].
func (LookupOnly) Update(context.Context, string, func(*Token) error) (Token, error) {
	return Token{}, unsupported("Update")
}

// Delete returns an error that wraps [errors.ErrUnsupported].
func (LookupOnly) Delete(context.Context, string) error { return unsupported("Delete") }

// Touch calls Used, if it is set.
func (s LookupOnly) Touch(ctx context.Context, used map[string]time.Time) error {
	if s.Used == nil {
		return nil
	}
	return s.Used(ctx, used)
}

func unsupported(method string) error {
	return fmt.Errorf("httpkey: this store only looks keys up, and has no %s: %w", method, errors.ErrUnsupported)
}

// ChangeFeed reports changes, so that a cache can drop outdated tokens. A [TokenStore]
// that several processes share may also implement it.
type ChangeFeed interface {
	// Changes calls changed with the digest of every token that any process, including
	// this one, creates, updates or deletes. A Touch is no change. Changes calls ready
	// once it listens. It reports every change that is acknowledged after that, soon and
	// at least once. It does not report earlier changes, so a cache drops its contents
	// when ready is called. Neither function runs concurrently with itself or the other,
	// and neither must block.
	//
	// Changes returns the reason when ctx ends or the feed breaks. Call it again after a
	// pause.
	Changes(ctx context.Context, ready func(), changed func(Digest)) error
}

// Filter selects tokens for [TokenStore.List]. A token must match every field that is
// set; the zero Filter selects all tokens.
type Filter struct {
	User        string // whose tokens
	Workspace   string // where they are valid
	Kind        Kind   // of which kind
	RotatedFrom string // the ID of a token: its direct successors

	After Cursor // where the previous page ended; zero starts with the newest
	Limit int    // how many at most; 0 means 100, more than 1,000 means 1,000
}

// Cursor is the place just after a token in the order of [TokenStore.List]. It stays
// valid when tokens are created or deleted, even if that token is deleted.
type Cursor struct {
	CreatedAt time.Time // that of the token
	ID        string    // that of the token
}

// Cursor returns the place after t. With the Cursor of a page's last token,
// [Filter.After] selects the next page.
func (t Token) Cursor() Cursor { return Cursor{CreatedAt: t.CreatedAt, ID: t.ID} }

// Compare orders places as [TokenStore.List] does, newest first: it is negative
// if c comes before d, positive if after, and 0 if they are the same.
func (c Cursor) Compare(d Cursor) int {
	if byTime := d.CreatedAt.Compare(c.CreatedAt); byTime != 0 {
		return byTime
	}
	switch {
	case c.ID > d.ID:
		return -1
	case c.ID < d.ID:
		return +1
	}
	return 0
}

// PageSize returns how many tokens a page of f holds at most: Limit within its bounds.
func (f Filter) PageSize() int {
	switch {
	case f.Limit <= 0:
		return 100
	case f.Limit > 1000:
		return 1000
	}
	return f.Limit
}

// Matches reports whether f's fields select t. It does not look at After and Limit.
func (f Filter) Matches(t *Token) bool {
	return (f.User == "" || f.User == t.User) &&
		(f.Workspace == "" || f.Workspace == t.Workspace) &&
		(f.Kind == "" || f.Kind == t.Kind) &&
		(f.RotatedFrom == "" || f.RotatedFrom == t.RotatedFrom)
}

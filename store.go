package httpkey

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a [TokenStore] answers besides data. Match them with [errors.Is]: a
// store may wrap them.
var (
	// ErrNotFound says that the store holds no such token.
	ErrNotFound = errors.New("httpkey: token not found")
	// ErrConflict says that the store holds a token of that ID or that digest already.
	ErrConflict = errors.New("httpkey: a token with this ID or digest exists already")
)

// TokenStore keeps tokens. It never sees a secret, only its [Digest].
//
// Every method is safe for concurrent use, through any number of handles on
// one backend, and what one call stored the next call sees. Every method heeds
// the cancellation of its context where it waits. Tokens go in and come out as
// copies: a store MUST NOT share memory with its callers; see [Token.Clone].
//
// Strings and digests are compared byte by byte: a store MUST NOT fold case,
// trim blanks or normalize. Times MUST keep their microsecond; the location may
// change, and zero times stay zero. [Token.More] comes back as it went in, also where a
// later version has put into it what this one does not know.
//
// The package storetest proves these rules for an implementation of your own. A table
// that only answers for keys becomes a TokenStore by [LookupOnly].
type TokenStore interface {
	// Create stores t and returns it as it is stored: a store may choose another ID. It
	// MUST answer ErrConflict, and change nothing, if the ID or the digest exists; of
	// several that race for one, one wins.
	Create(ctx context.Context, t Token) (Token, error)

	// Lookup returns the token of a digest, whatever its state, or ErrNotFound.
	// It is on the path of every request.
	Lookup(ctx context.Context, d Digest) (Token, error)

	// Get returns the token of an ID, whatever its state, or ErrNotFound.
	Get(ctx context.Context, id string) (Token, error)

	// List returns the tokens that f selects, newest first: by CreatedAt, and
	// by ID where that is equal, both descending.
	List(ctx context.Context, f Filter) ([]Token, error)

	// Update changes the token of an ID and returns it as it is stored then, or
	// ErrNotFound: it never creates.
	//
	// It is atomic: the store reads the token, passes it with change to [Token.Apply], and
	// stores the result only if nothing came between; else it begins again, so that change
	// may be called several times. Of two at once, none is lost. An error of Apply is
	// returned as it is, and changes nothing.
	Update(ctx context.Context, id string, change func(*Token) error) (Token, error)

	// Delete removes the token of an ID. That there is none is no error.
	Delete(ctx context.Context, id string) error

	// Touch sets LastUsed of many tokens, by ID. It MUST NOT move one
	// backwards, MUST skip an ID that it does not hold without an error, and
	// MUST NOT keep the map. A Guard passes at most 1,000 at a time, from a
	// goroutine of its own, so that a panic in Touch ends the program.
	Touch(ctx context.Context, used map[string]time.Time) error
}

// LookupOnly is a TokenStore of one or two functions: for a table of keys that the
// program has already and goes on managing by itself. What else a store does, it answers
// with an error that wraps [errors.ErrUnsupported].
type LookupOnly struct {
	// ByDigest is Lookup: the token of a digest, or ErrNotFound. A token needs an ID, a
	// Digest and IsActive; its Kind may be empty. It is required.
	ByDigest func(ctx context.Context, d Digest) (Token, error)
	// Used is Touch. Nil: uses are not written.
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

// ChangeFeed is what a [TokenStore] that several processes share may also implement: it
// tells of changes, so that a cache in front of it can drop what is outdated.
type ChangeFeed interface {
	// Changes calls changed with the digest of every token that is created,
	// updated or deleted by anyone, this process included; a Touch is no change.
	// It calls ready once, before it returns, when it has begun to listen: every
	// change that is acknowledged after that is reported, soon, and more than
	// once if need be. What came before is not, so a cache drops all it has then.
	// Both are called from one goroutine at a time and must not block.
	//
	// It returns when ctx ends, or the feed breaks, with the reason. Call it
	// again, after a pause.
	Changes(ctx context.Context, ready func(), changed func(Digest)) error
}

// Filter selects tokens for [TokenStore.List]. A field that is zero selects
// all; those that are set must all match.
type Filter struct {
	User        string // whose tokens
	Workspace   string // where they are valid
	Kind        Kind   // of which kind
	RotatedFrom string // the ID of a token: its direct successors

	After Cursor // where the page before ended; zero starts with the newest
	Limit int    // how many at most; 0 means 100, more than 1,000 means 1,000
}

// Cursor is a place in the order of [TokenStore.List], the place just after a
// token. It stays good while tokens are created and deleted, that one included.
type Cursor struct {
	CreatedAt time.Time // that of the token
	ID        string    // that of the token
}

// Cursor returns the place after t: put that of a page's last token into
// [Filter.After] to get the next page.
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

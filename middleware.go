package httpkey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Guard lets requests with a valid key pass, within the key's limit. Make one
// with [New]; it is safe for concurrent use. Close it after the server has shut
// down, so that no use is lost.
type Guard struct {
	store   TokenStore
	entries EntryStore // store, if it is one
	limiter Limiter
	slots   SlotLimiter // limiter, if it is one
	waits   bool        // the limiter may let a request wait
	options Options     // without open defaults, and without peppers

	format    secretFormat
	digesters []digester // the current one first
	lastUsed  *lastUsed
	clock     *clock
	headers   rateLimitHeaders
}

// New returns a Guard over a store and a limiter; nil options mean the
// defaults. It panics if store or limiter is nil, and with the error of
// [Options.Validate]: a program that is configured wrongly must not start.
// [Unlimited] is the limiter for no limit. New does no I/O and starts no goroutine.
func New(store TokenStore, limiter Limiter, opts *Options) *Guard {
	if store == nil {
		panic("httpkey: New needs a TokenStore, as memstore.New() makes one")
	}
	if limiter == nil {
		panic("httpkey: New needs a Limiter, as memstore.NewLimiter() makes one, or httpkey.Unlimited")
	}
	if err := opts.Validate(); err != nil {
		panic(err.Error())
	}
	o := opts.withDefaults()
	g := &Guard{
		store:     store,
		limiter:   limiter,
		format:    secretFormat{prefix: o.Prefix, importedMinLength: o.ImportedMinLength},
		digesters: []digester{newDigester(o.Pepper)},
		clock:     newClock(),
	}
	if entries, ok := store.(EntryStore); ok && entries.Self() == store {
		g.entries = entries
	}
	if slots, ok := limiter.(SlotLimiter); ok && slots.Self() == limiter {
		g.slots = slots
	} else if limiter != Unlimited {
		g.waits = true
		g.limiter = newFailover(limiter, o.Fallback, o.Timeout, func(e Event) { g.observe(context.Background(), e) })
	}
	for _, pepper := range o.PreviousPeppers {
		g.digesters = append(g.digesters, newDigester(pepper))
	}
	o.Pepper, o.PreviousPeppers = "", nil
	g.options = o
	g.lastUsed = newLastUsed(o.LastUsedInterval, store.Touch, func(err error) {
		g.observe(context.Background(), Event{Type: EventFlushFailed, Err: err})
	})
	return g
}

// Handler returns the middleware: it calls next for a request that passes, and
// answers the others itself. It wraps neither the ResponseWriter nor the body.
// A response to a request that passed carries the rate-limit headers, whatever
// next answers.
//
// A request with a valid key costs quota whatever its method; put a handler of
// CORS preflights, which carry no key, around this one. One Guard inside another
// takes from both, and the inner one's token is the request's.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r, ok := g.Check(w, r); ok {
			next.ServeHTTP(w, r)
		}
	})
}

// Check is [Guard.Handler] for frameworks with handlers of their own, such as
// gin and echo. If it returns true, go on with the request that it returns,
// which has the token in its context. If it returns false, the response is
// written: stop.
func (g *Guard) Check(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	// Each step fills in why it refuses: to hand that up by value costs 60 ns.
	var refusal Error
	entry := g.admit(w, r, &refusal)
	if refusal.isRefusal() {
		g.refuse(w, r, entry, &refusal)
		return r, false
	}
	return r.WithContext(&admission{r.Context(), g, entry}), true
}

// Verify returns the token of a secret that came by another way than a request
// header, over gRPC, say. It takes no quota; it does count as a use, and waits for the
// store for [Options.Timeout] at most. The error is an [Error] that matches
// [ErrMissingKey], [ErrInvalidKey] or [ErrUnavailable].
func (g *Guard) Verify(ctx context.Context, secret string) (Token, error) {
	var (
		refusal Error
		entry   *Entry
		now     instant
	)
	switch {
	case secret == "":
		refusal.reason = ReasonMissing
	case !g.format.accepts(secret):
		refusal.reason = ReasonMalformed
	default:
		entry, now = g.authenticate(ctx, secret, &refusal)
	}
	if refusal.isRefusal() {
		g.observe(ctx, Event{Type: EventRefused, Reason: refusal.reason, Token: tokenOf(entry), Err: refusal.cause})
		return Token{}, refusal
	}
	g.use(entry, now)
	token := entry.Token()
	g.observe(ctx, Event{Type: EventVerified, Token: token})
	return token, nil
}

// Close writes the uses that are not in the store yet, and ends the background
// work. Call it when the server has shut down. A Guard goes on answering after
// it; calling Close again writes what came in between. The error is the
// store's, or that of ctx if it ends first: a write that is under way then ends
// when the store lets it. It also tells of uses that were lost before.
func (g *Guard) Close(ctx context.Context) error { return g.lastUsed.close(ctx) }

// Format keeps the store, and what it may hold, out of a printed Guard.
func (g *Guard) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "httpkey.Guard") }

// admit takes a request through every step. With a refusal it returns the token
// as well, if there is one, for the observer.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request, refusal *Error) *Entry {
	key := g.extract(r.Header, refusal)
	if refusal.isRefusal() {
		return nil
	}
	ctx := r.Context()
	if g.waits { // else the store alone does, where it has to be asked
		budget := newBudget(ctx, g.options.Timeout)
		defer budget.end()
		ctx = budget
	}
	entry, now := g.authenticate(ctx, key, refusal)
	if !refusal.isRefusal() {
		g.spend(ctx, w, r, entry, now, refusal)
	}
	return entry
}

// extract returns the one key in h, if it has the shape of one. It looks at no
// other header, and never at the URL.
func (g *Guard) extract(h http.Header, refusal *Error) string {
	lines := h[g.options.Header]
	if len(lines) > 1 {
		refusal.reason = ReasonRepeated
		return ""
	}
	key := ""
	if len(lines) == 1 {
		key = trimBlanks(lines[0])
	}
	switch {
	case key == "":
		refusal.reason = ReasonMissing
	case !g.format.accepts(key):
		refusal.reason = ReasonMalformed
	}
	return key
}

// trimBlanks is strings.Trim for blanks and tabs; that one makes a set of them, which takes 9 ns.
func trimBlanks(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// authenticate finds the valid token of key, and when it did.
func (g *Guard) authenticate(ctx context.Context, key string, refusal *Error) (*Entry, instant) {
	entry, known := g.recall(key)
	var err error
	if !known {
		entry, err = g.lookup(ctx, key)
	}
	now := g.clock.now()
	switch {
	case err != nil:
		*refusal = failure(ctx, ReasonStore, err)
	case entry == nil:
		refusal.reason = ReasonUnknown
	case !entry.isActive():
		refusal.reason = ReasonInactive
	case entry.expired(now.unixMicro()):
		refusal.reason = ReasonExpired
	}
	return entry, now
}

// recall finds the token of key under the current pepper or a previous one, nil if there
// is none, in memory; if it is not known there, the store has to be asked.
func (g *Guard) recall(key string) (entry *Entry, known bool) {
	if g.entries == nil {
		return nil, false
	}
	for _, digest := range g.digesters {
		d := digest(key)
		entry, known := g.entries.Find(d)
		if !known || entry != nil && entry.digest.equal(&d) {
			return entry, known
		}
	}
	return nil, true
}

// lookup finds it in the store, within the timeout.
func (g *Guard) lookup(ctx context.Context, key string) (*Entry, error) {
	if _, isBounded := ctx.(*budget); !isBounded {
		budget := newBudget(ctx, g.options.Timeout)
		defer budget.end()
		ctx = budget
	}
	for _, digest := range g.digesters {
		d := digest(key)
		token, err := g.store.Lookup(ctx, d)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		// A store that folds case or compares prefixes must not let a wrong key in.
		case token.Digest.equal(&d):
			return NewCopy(token), nil
		}
	}
	return nil, nil
}

// spend takes the request's cost from its bucket, notes the use, and sets the
// rate-limit headers.
func (g *Guard) spend(ctx context.Context, w http.ResponseWriter, r *http.Request, entry *Entry, now instant, refusal *Error) {
	result, err := g.allow(ctx, r, entry, &now)
	if err != nil {
		*refusal = failure(ctx, ReasonLimiter, err)
		return
	}
	g.use(entry, now)
	if result.Limit != (Limit{}) {
		g.headers.set(w.Header(), &result, now)
		if g.options.IETFHeaders {
			setIETFHeaders(w.Header(), &result)
		}
	}
	if !result.Allowed {
		refusal.reason, refusal.result = ReasonThrottled, result
		return
	}
	if g.options.Observer != nil {
		g.observe(r.Context(), Event{Type: EventAdmitted, Token: entry.Token(), Result: result})
	}
}

// allow asks the limiter, and sets now to when it answered, if that took time.
func (g *Guard) allow(ctx context.Context, r *http.Request, entry *Entry, now *instant) (Result, error) {
	bucket, limit, cost := g.bucket(entry), g.limit(r, entry), g.cost(r, entry)
	if g.slots != nil {
		return g.slots.AllowSlot(&entry.slot, bucket, limit, cost, now.monotonic)
	}
	result, err := g.limiter.Allow(ctx, bucket, limit, cost)
	*now = g.clock.now()
	return result, err
}

// use notes that a token was used.
func (g *Guard) use(entry *Entry, now instant) {
	if entry.IsCopy() {
		g.lastUsed.record(entry.ID(), now.unixMicro())
		return
	}
	entry.touchCoarsely(now.unixMicro())
}

func (g *Guard) bucket(e *Entry) string {
	if g.options.Bucket == PerUser {
		if user := e.string(textUser); user != "" {
			return "user:" + user
		}
	}
	if g.options.Bucket == PerWorkspace {
		if workspace := e.string(textWorkspace); workspace != "" {
			return "workspace:" + workspace
		}
	}
	return e.ID()
}

func (g *Guard) limit(r *http.Request, e *Entry) Limit {
	if g.options.Limit != nil {
		if limit := g.options.Limit(r, e.Token()); limit != (Limit{}) {
			return limit
		}
	}
	if limit := e.limit(); limit != (Limit{}) {
		return limit
	}
	if e.state&stateService != 0 {
		return g.options.ServiceTokenLimit
	}
	return g.options.APIKeyLimit
}

func (g *Guard) cost(r *http.Request, e *Entry) int {
	if g.options.Cost == nil {
		return 1
	}
	return g.options.Cost(r, e.Token())
}

// refuse reports a refusal and answers it.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, entry *Entry, e *Error) {
	if g.options.Observer != nil { // looked at here too: to make an Event for nobody costs 25 ns
		g.observe(r.Context(), Event{Type: EventRefused, Reason: e.reason, Token: tokenOf(entry), Result: e.result, Err: e.cause})
	}
	if status := e.class().status; status == http.StatusUnauthorized || status == http.StatusServiceUnavailable {
		clearRateLimitHeaders(w.Header())
	}
	setRefusalHeaders(w.Header(), e)
	if g.options.ErrorHandler != nil {
		g.options.ErrorHandler(w, r, *e)
		return
	}
	writeDetail(w, r, e)
}

func (g *Guard) observe(ctx context.Context, e Event) {
	if g.options.Observer == nil {
		return
	}
	e.Token = e.Token.clone()
	e.Token.Digest = Digest{}
	g.options.Observer.Observe(ctx, e)
}

// failure is the refusal for want of an answer. A caller who went away is no
// failure of the part that was asked.
func failure(ctx context.Context, reason Reason, err error) Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		reason = ReasonCanceled
	}
	return Error{reason: reason, cause: err}
}

// FromContext returns the token of the request that ctx belongs to, and false
// where no Guard has let it in. It is a copy: a handler may do with it as it likes.
//
// In gin, pass c.Request.Context(): a *gin.Context is a context too, but does not
// ask the request's unless the engine is told so.
func FromContext(ctx context.Context) (Token, bool) {
	in := admissionOf(ctx)
	if in == nil {
		return Token{}, false
	}
	return in.entry.Token(), true
}

// admission is the context of a request that was let in. Being the context
// itself, it saves the allocation of a value beside it.
type admission struct {
	context.Context
	guard *Guard
	entry *Entry
}

type admissionKey struct{}

func tokenOf(e *Entry) Token {
	if e == nil {
		return Token{}
	}
	return e.Token()
}

func admissionOf(ctx context.Context) *admission {
	in, _ := ctx.Value(admissionKey{}).(*admission)
	return in
}

// Value answers for the admission, and for all else as the context within.
func (a *admission) Value(key any) any {
	if key == (admissionKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Format keeps the token's digest out of a printed context.
func (a *admission) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "httpkey.Guard request of "+a.entry.ID())
}

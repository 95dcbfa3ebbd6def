package httpkey

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Guard lets requests with a valid key pass, within the key's limit. Make one
// with [New]; it is safe for concurrent use. Close it after the server has shut
// down, so that no use is lost.
type Guard struct {
	store   TokenStore
	limiter Limiter
	options Options // without open defaults, and without peppers

	format    secretFormat
	digesters []digester // the current one first
	lastUsed  *lastUsed
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
	// Each step fills in what it finds: to hand these two up by value costs 60 ns.
	var (
		token   Token
		refusal Error
	)
	key := g.extract(r.Header, &refusal)
	if !refusal.isRefusal() {
		g.authenticate(r.Context(), key, &token, &refusal)
	}
	if !refusal.isRefusal() {
		g.spend(w, r, &token, &refusal)
	}
	if refusal.isRefusal() {
		g.refuse(w, r, &token, &refusal)
		return r, false
	}
	return r.WithContext(&admission{Context: r.Context(), guard: g, token: token}), true
}

// Verify returns the token of a secret that came by another way than a request
// header, over gRPC, say. It takes no quota; it does count as a use. The error
// is an [Error] that matches [ErrMissingKey], [ErrInvalidKey] or [ErrUnavailable].
func (g *Guard) Verify(ctx context.Context, secret string) (Token, error) {
	var (
		token   Token
		refusal = Error{reason: ReasonMissing}
	)
	if secret != "" {
		refusal = Error{}
		g.authenticate(ctx, secret, &token, &refusal)
	}
	if refusal.isRefusal() {
		g.observe(ctx, Event{Type: EventRefused, Reason: refusal.reason, Token: token, Err: refusal.cause})
		return Token{}, refusal
	}
	g.lastUsed.record(token.ID, time.Now())
	g.observe(ctx, Event{Type: EventVerified, Token: token})
	return token, nil
}

// Close writes the uses that are not in the store yet, and ends the background
// work. Call it when the server has shut down. A Guard goes on answering after
// it; calling Close again writes what came in between. The error is the
// store's, or that of ctx if it ends first: a write that is under way then ends
// when the store lets it.
func (g *Guard) Close(ctx context.Context) error { return g.lastUsed.close(ctx) }

// Format keeps the store, and what it may hold, out of a printed Guard.
func (g *Guard) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "httpkey.Guard") }

// extract returns the one key in h. It looks at no other header, and never at the URL.
func (g *Guard) extract(h http.Header, refusal *Error) string {
	lines := h[g.options.Header]
	if len(lines) > 1 {
		refusal.reason = ReasonRepeated
		return ""
	}
	key := ""
	if len(lines) == 1 {
		key = strings.Trim(lines[0], " \t")
	}
	if key == "" {
		refusal.reason = ReasonMissing
	}
	return key
}

// authenticate finds the valid token of key. With a refusal it finds the token
// as well, if there is one, for the observer.
func (g *Guard) authenticate(ctx context.Context, key string, token *Token, refusal *Error) {
	if !g.format.accepts(key) {
		refusal.reason = ReasonMalformed
		return
	}
	err := g.lookup(ctx, key, token)
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		refusal.reason = ReasonUnknown
		return
	default:
		*refusal = failure(ctx, ReasonStore, err)
		return
	}
	switch {
	case !token.IsActive:
		refusal.reason = ReasonInactive
	case !token.ExpiredAt.IsZero() && token.Expired(time.Now()): // most have no expiry, and a look at the clock costs 47 ns
		refusal.reason = ReasonExpired
	}
}

// lookup finds the token of key under the current pepper or a previous one.
func (g *Guard) lookup(ctx context.Context, key string, token *Token) (err error) {
	for _, digest := range g.digesters {
		d := digest(key)
		*token, err = g.store.Lookup(ctx, d)
		// A store that folds case or compares prefixes must not let a wrong key in.
		if err == nil && subtle.ConstantTimeCompare(d[:], token.Digest[:]) == 0 {
			err = ErrNotFound
		}
		if err == nil {
			return nil
		}
		*token = Token{}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return ErrNotFound
}

// spend takes the request's cost from its bucket, notes the use, and sets the
// rate-limit headers.
func (g *Guard) spend(w http.ResponseWriter, r *http.Request, token *Token, refusal *Error) {
	result, err := g.limiter.Allow(r.Context(), g.bucket(token), g.limit(r, token), g.cost(r, token))
	if err != nil {
		*refusal = failure(r.Context(), ReasonLimiter, err)
		return
	}
	now := time.Now()
	g.lastUsed.record(token.ID, now)
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
		g.observe(r.Context(), Event{Type: EventAdmitted, Token: *token, Result: result})
	}
}

func (g *Guard) bucket(t *Token) string {
	switch {
	case g.options.Bucket == PerUser && t.User != "":
		return "user:" + t.User
	case g.options.Bucket == PerWorkspace && t.Workspace != "":
		return "workspace:" + t.Workspace
	}
	return t.ID
}

func (g *Guard) limit(r *http.Request, t *Token) Limit {
	if g.options.Limit != nil {
		if limit := g.options.Limit(r, *t); limit != (Limit{}) {
			return limit
		}
	}
	switch {
	case t.Limit != (Limit{}):
		return t.Limit
	case t.Kind == ServiceToken:
		return g.options.ServiceTokenLimit
	}
	return g.options.APIKeyLimit
}

func (g *Guard) cost(r *http.Request, t *Token) int {
	if g.options.Cost == nil {
		return 1
	}
	return g.options.Cost(r, *t)
}

// refuse reports a refusal and answers it.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, t *Token, e *Error) {
	if g.options.Observer != nil { // looked at here too: to make an Event for nobody costs 25 ns
		g.observe(r.Context(), Event{Type: EventRefused, Reason: e.reason, Token: *t, Result: e.result, Err: e.cause})
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
	return in.token.clone(), true
}

// admission is the context of a request that was let in. Being the context
// itself, it saves the allocation of a value beside it.
type admission struct {
	context.Context
	guard *Guard
	token Token
}

type admissionKey struct{}

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
	_, _ = io.WriteString(f, "httpkey.Guard request of "+a.token.ID)
}

package httpkey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey/internal/budget"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/ram"
)

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
	key, reason := g.extract(r.Header)
	d := decision{reason: reason}
	if reason == "" {
		d = g.decide(r.Context(), r, key, 1)
	}
	if d.result.Limit != (Limit{}) {
		g.headers.set(w.Header(), &d.result, d.at)
		if g.options.IETFHeaders {
			setIETFHeaders(w.Header(), &d.result)
		}
	}
	if d.reason != "" {
		g.refuse(w, r, &d)
		return r, false
	}
	g.observeAdmission(r.Context(), r, &d)
	return r.WithContext(&admitted{r.Context(), g, d.subject, d.result, d.edited}), true
}

// Admit decides about a secret that came by another way than a request header, over gRPC,
// say. It takes cost from the limits and counts as a use; a cost of 0 only looks, and does
// neither. It waits for the store and the limiter for [Options.Timeout] at most.
//
// The error is an [Error]. Admit knows no address: a token with Networks is refused.
func (g *Guard) Admit(ctx context.Context, secret string, cost int) (*Admission, error) {
	d := decision{reason: g.shape(secret)}
	if d.reason == "" {
		d = g.decide(ctx, nil, secret, cost)
	}
	if d.reason != "" {
		g.observeRefusal(ctx, nil, &d)
		return nil, d.error()
	}
	g.observeAdmission(ctx, nil, &d)
	return (&admitted{ctx, g, d.subject, d.result, d.edited}).admission(), nil
}

// Verify returns the token of a secret that came by another way than a request
// header. It takes no quota and asks no limiter; it does count as a use. Else it is as
// [Guard.Admit].
func (g *Guard) Verify(ctx context.Context, secret string) (Token, error) {
	d := decision{reason: g.shape(secret)}
	if d.reason == "" {
		b := budget.New(ctx, g.options.Timeout)
		defer b.End()
		d = g.identify(b, nil, secret)
	}
	if d.reason != "" {
		g.observeRefusal(ctx, nil, &d)
		return Token{}, d.error()
	}
	g.use(d.subject, d.at)
	g.observeAdmission(ctx, nil, &d)
	return d.subject.token(), nil
}

// decision is what is found out about a request, step by step.
type decision struct {
	subject subject
	at      clock.Instant // when the key was found valid, or the limiter answered
	result  Result        // the zero Result until the limiter was asked
	edited  *Charge       // what Options.Charge made of the charge, if it is set
	reason  Reason        // why the request is refused; empty: it is not
	cause   error         // the error of the store or the limiter
}

func (d *decision) error() Error { return Error{reason: d.reason, result: d.result, cause: d.cause} }

// subject is a valid or invalid token: in memory, or a copy of one that is elsewhere. The
// zero subject is none.
type subject struct {
	source ram.Source[Token]
	entry  *ram.Entry[Token]
	remote *Token
}

// decide takes a key through every step. r is nil where there is no request.
func (g *Guard) decide(ctx context.Context, r *http.Request, key string, cost int) decision {
	if g.waits { // else the store alone does, where it has to be asked
		b := budget.New(ctx, g.options.Timeout)
		defer b.End()
		ctx = b
	}
	d := g.identify(ctx, r, key)
	if d.reason != "" {
		return d
	}
	d.result, d.edited, d.cause = g.charge(ctx, r, d.subject, d.at, cost)
	if g.waits {
		d.at = g.clock.Now()
	}
	switch {
	case d.cause != nil:
		d.result, d.reason = Result{}, blame(ctx, ReasonLimiter)
		return d
	case d.result.Allowed:
	case d.result.never():
		d.reason = ReasonLimit
	default:
		d.reason = ReasonThrottled
	}
	if cost != 0 {
		g.use(d.subject, d.at)
	}
	return d
}

// extract returns the one key in h, if it has the shape of one, or why it has none. It
// looks at no other header, and never at the URL.
func (g *Guard) extract(h http.Header) (key string, reason Reason) {
	lines := h[g.options.Header]
	if len(lines) > 1 {
		return "", ReasonMalformed
	}
	if len(lines) == 1 {
		key = trimBlanks(lines[0])
	}
	return key, g.shape(key)
}

func (g *Guard) shape(key string) Reason {
	switch {
	case key == "":
		return ReasonMissing
	case !g.format.Accepts(key):
		return ReasonMalformed
	}
	return ""
}

// trimBlanks is strings.Trim for blanks and tabs, which makes a set of them first.
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

// identify finds the token of a key, and whether it is valid where the request comes from.
func (g *Guard) identify(ctx context.Context, r *http.Request, key string) decision {
	found, known := g.recall(key)
	var err error
	if !known {
		found, err = g.lookup(ctx, key)
	}
	d := decision{subject: found, at: g.clock.Now(), cause: err}
	switch state := found.state(); {
	case err != nil:
		d.reason = blame(ctx, ReasonStore)
	case found == subject{}:
		d.reason = ReasonUnknown
	case state&ram.Active == 0:
		d.reason = ReasonInactive
	case found.expired(d.at):
		d.reason = ReasonExpired
	case state&ram.Special != 0 && !g.isInNetworks(r, found.peek().Networks):
		d.reason = ReasonNetwork
	}
	return d
}

// recall finds the token of a key under the current pepper or a previous one in memory; if
// it is not known there, the store has to be asked.
func (g *Guard) recall(key string) (found subject, known bool) {
	if g.memory == nil {
		return subject{}, false
	}
	for _, digest := range g.digesters {
		d := [32]byte(digest(key))
		entry, known := g.memory.Find(&d)
		if !known {
			return subject{}, false
		}
		if entry != nil && entry.Has(&d) {
			return subject{source: g.memory, entry: entry}, true
		}
	}
	return subject{}, true
}

// lookup finds it in the store, within the timeout.
func (g *Guard) lookup(ctx context.Context, key string) (subject, error) {
	if !g.waits {
		b := budget.New(ctx, g.options.Timeout)
		defer b.End()
		ctx = b
	}
	for _, digest := range g.digesters {
		d := digest(key)
		token, err := g.store.Lookup(ctx, d)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return subject{}, err
		// A store that folds case or compares prefixes must not let a wrong key in.
		case token.Digest.equal(&d):
			return subject{remote: &token}, nil
		}
	}
	return subject{}, nil
}

// blame returns the reason for want of an answer. A caller who went away is no failure of
// the part that was asked.
func blame(ctx context.Context, asked Reason) Reason {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ReasonCanceled
	}
	return asked
}

func (g *Guard) isInNetworks(r *http.Request, networks []netip.Prefix) bool {
	if len(networks) == 0 {
		return true
	}
	if r == nil {
		return false
	}
	addr := g.options.ClientAddr(r).Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

func (s subject) state() ram.State {
	switch {
	case s.entry != nil:
		return s.entry.State()
	case s.remote != nil:
		return stateOf(s.remote)
	}
	return 0
}

func stateOf(t *Token) (state ram.State) {
	if t.IsActive {
		state |= ram.Active
	}
	if t.Kind == ServiceToken {
		state |= ram.Service
	}
	if len(t.Limits) > 0 || len(t.Networks) > 0 {
		state |= ram.Special
	}
	return state
}

func (s subject) expired(at clock.Instant) bool {
	if s.entry != nil {
		return s.entry.Expired(at.UnixMicro())
	}
	return !s.remote.ExpiredAt.IsZero() && s.remote.ExpiredAt.UnixMicro() <= at.UnixMicro()
}

// token returns a copy of the token, as it is now.
func (s subject) token() Token {
	switch {
	case s.entry != nil:
		return s.source.Token(s.entry)
	case s.remote != nil:
		return s.remote.Clone()
	}
	return Token{}
}

// peek returns the token of a Special subject, to be read only.
func (s subject) peek() *Token {
	if s.entry == nil {
		return s.remote
	}
	if full := s.entry.Body().Full; full != nil {
		return full
	}
	return &Token{} // it has become another meanwhile
}

// limits returns those of the token's own, to be read only.
func (s subject) limits() []Limit {
	if s.state()&ram.Special == 0 {
		return nil
	}
	return s.peek().Limits
}

// view is token for Options.Charge, which changes no Token: it shares memory with the
// store, but for the limits, which a charge may take over.
func (s subject) view() Token {
	if s.entry == nil {
		return *s.remote
	}
	full := s.entry.Body().Full
	if full == nil {
		return s.source.Token(s.entry)
	}
	t := *full
	t.Limits = slices.Clone(t.Limits)
	if at := s.entry.LastUsed(); at != ram.Null {
		t.LastUsed = time.UnixMicro(at).UTC()
	}
	return t
}

func (s subject) payer() string {
	if s.entry != nil {
		return s.entry.Body().Payer
	}
	return s.remote.Payer()
}

// use notes that a token was used.
func (g *Guard) use(s subject, at clock.Instant) {
	switch {
	case s.remote != nil:
		g.lastUsed.Record(s.remote.ID, at.UnixMicro())
	case s.entry.IsCopy():
		g.lastUsed.Record(s.source.ID(s.entry), at.UnixMicro())
	default:
		s.entry.TouchCoarsely(at.UnixMicro())
	}
}

// terms are the limits of a kind, and what a limiter in memory needs of them if it is one
// steady limit.
type terms struct {
	limits []Limit
	single bool
	first  ram.Limit
}

func newTerms(limits []Limit) terms {
	t := terms{limits: make([]Limit, len(limits))}
	for i, l := range limits {
		t.limits[i] = l.Resolve()
	}
	if len(limits) == 1 && t.limits[0].isSteady() {
		t.single, t.first = true, t.limits[0].inMemory()
	}
	return t
}

func (l Limit) isSteady() bool { return l.Calendar == "" && l.Rate > 0 }

// inMemory returns l, which is resolved, valid and steady, as a limiter in memory has it.
func (l Limit) inMemory() ram.Limit {
	t := l.terms()
	return ram.Limit{Term: ram.Term{Name: l.Name, Window: t.Window()}, Terms: t}
}

// charge takes the cost of a request from the buckets of its payer. It returns what
// Options.Charge made of it, if that is set.
func (g *Guard) charge(ctx context.Context, r *http.Request, s subject, at clock.Instant, cost int) (Result, *Charge, error) {
	of := &g.apiKeys
	if s.state()&ram.Service != 0 {
		of = &g.services
	}
	own := s.limits()
	if g.options.Charge == nil && len(own) == 0 && of.single && g.buckets != nil && s.entry != nil && cost >= 0 {
		return g.takeInMemory(s, s.payer(), of.limits[0], of.first, cost, at), nil, nil
	}
	c := charges.Get().(*pooledCharge)
	defer c.giveBack()
	c.Charge = Charge{Bucket: s.payer(), Limits: append(c.limits[:0], of.limits...), Cost: cost}
	if len(own) > 0 {
		c.Limits = append(c.limits[:0], own...)
	}
	if g.options.Charge == nil {
		result, err := g.allow(ctx, s, &c.Charge, at)
		return result, nil, err
	}
	c.token = s.view()
	g.options.Charge(r, &c.token, &c.Charge)
	if cost == 0 {
		c.Cost = 0
	}
	result, err := g.allow(ctx, s, &c.Charge, at)
	if err != nil || !result.Allowed {
		return result, nil, err
	}
	return result, c.clone(), nil
}

// charges are reused, since a limiter's argument escapes to the heap.
var charges = sync.Pool{New: func() any { return new(pooledCharge) }}

type pooledCharge struct {
	Charge
	limits [maxLimits]Limit
	token  Token
}

func (c *pooledCharge) giveBack() {
	*c = pooledCharge{}
	charges.Put(c)
}

// clone returns a copy of c, with one limit in one allocation.
func (c *Charge) clone() *Charge {
	own := &struct {
		Charge
		limit [1]Limit
	}{Charge: *c}
	own.Limits = append(own.limit[:0], c.Limits...)
	return &own.Charge
}

// allow decides on a charge, which may be invalid: a store or Options.Charge has made it.
func (g *Guard) allow(ctx context.Context, s subject, c *Charge, at clock.Instant) (Result, error) {
	if len(c.Limits) == 0 {
		return Result{Allowed: true}, nil
	}
	if err := c.Validate(); err != nil || c.Forced {
		return Result{}, cmp.Or(err, errForced)
	}
	if l := c.Limits[0].Resolve(); g.buckets != nil && s.entry != nil && len(c.Limits) == 1 && l.isSteady() {
		return g.takeInMemory(s, c.Bucket, l, l.inMemory(), c.Cost, at), nil
	}
	return g.limiter.Allow(ctx, c)
}

var errForced = fmt.Errorf("%w: Forced is for Admission.Charge, Options.Charge must not set it", ErrInvalidLimit)

// takeInMemory takes from a bucket that lies beside the token.
func (g *Guard) takeInMemory(s subject, payer string, l Limit, in ram.Limit, cost int, at clock.Instant) Result {
	r := g.buckets.TakeIn(s.entry.Slot(), payer, in, int64(cost), at.Monotonic)
	l.Burst = int(r.Burst)
	return Result{
		Allowed:    r.Allowed,
		Limit:      l,
		Remaining:  int(r.Remaining),
		ResetAfter: time.Duration(r.ResetAfter) * time.Microsecond,
		RetryAfter: time.Duration(r.RetryAfter) * time.Microsecond,
	}
}

// refuse reports a refusal and answers it.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, d *decision) {
	g.observeRefusal(r.Context(), r, d)
	e := d.error()
	if status := e.class().status; status == http.StatusUnauthorized || status == http.StatusServiceUnavailable {
		clearRateLimitHeaders(w.Header())
	}
	setRefusalHeaders(w.Header(), &e)
	if g.options.ErrorHandler != nil {
		g.options.ErrorHandler(w, r, e)
		return
	}
	writeDetail(w, r, &e)
}

// observeRefusal and observeAdmission make no event that nobody looks at.
func (g *Guard) observeRefusal(ctx context.Context, r *http.Request, d *decision) {
	if g.observes(ctx, EventRefused) {
		g.observe(ctx, &Event{Type: EventRefused, Reason: d.reason, Token: d.subject.token(), Result: d.result, Request: r, Err: d.cause})
	}
}

func (g *Guard) observeAdmission(ctx context.Context, r *http.Request, d *decision) {
	if g.observes(ctx, EventAdmitted) {
		g.observe(ctx, &Event{Type: EventAdmitted, Token: d.subject.token(), Result: d.result, Request: r})
	}
}

// admitted is the context of a request that was let in. Being the context
// itself, it saves the allocation of a value beside it.
type admitted struct {
	context.Context
	guard   *Guard // nil: NewContext made it
	subject subject
	result  Result
	edited  *Charge
}

type admittedKey struct{}

func admittedIn(ctx context.Context) *admitted {
	in, _ := ctx.Value(admittedKey{}).(*admitted)
	return in
}

// Value answers for the admission, and for all else as the context within.
func (a *admitted) Value(key any) any {
	if key == (admittedKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Format keeps the token's digest out of a printed context.
func (a *admitted) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "httpkey.Guard request of "+a.subject.token().ID)
}

func (a *admitted) admission() *Admission {
	in := &Admission{Token: a.subject.token(), Result: a.result, guard: a.guard}
	switch {
	case a.guard == nil:
	case a.edited != nil:
		in.charged = *a.edited
	default:
		in.charged = Charge{Bucket: a.subject.payer(), Limits: a.guard.limitsOf(&in.Token)}
	}
	return in
}

func (g *Guard) limitsOf(t *Token) []Limit {
	switch {
	case len(t.Limits) > 0:
		return t.Limits
	case t.Kind == ServiceToken:
		return g.services.limits
	}
	return g.apiKeys.limits
}

// FromContext returns the token of the request that ctx belongs to, and false
// where no Guard has let it in. It is a copy: a handler may do with it as it likes.
//
// In gin, pass c.Request.Context(): a *gin.Context is a context too, but does not
// ask the request's unless the engine is told so.
func FromContext(ctx context.Context) (Token, bool) {
	in := admittedIn(ctx)
	if in == nil {
		return Token{}, false
	}
	return in.subject.token(), true
}

// NewContext returns a context in which FromContext finds t, and the Require functions let
// t pass or refuse it, as behind a Guard. It is for tests of handlers.
func NewContext(ctx context.Context, t Token) context.Context {
	t = t.Clone()
	return &admitted{Context: ctx, subject: subject{remote: &t}}
}

// Admission is a request that a Guard has let in.
type Admission struct {
	Token  Token  // a copy
	Result Result // what the limiter decided; the zero Limit where there is none

	guard   *Guard
	charged Charge
}

// AdmissionFrom returns the admission of the request that ctx belongs to, and false where
// no Guard has let it in.
func AdmissionFrom(ctx context.Context) (*Admission, bool) {
	in := admittedIn(ctx)
	if in == nil {
		return nil, false
	}
	return in.admission(), true
}

// Charge takes n more from what the request was charged to, whether there is room or not,
// down to one Burst below empty: for a cost that is known only after the response. A
// negative n gives back, never above full. It waits for the limiter for
// [Options.Timeout] at most. The error is the limiter's.
func (a *Admission) Charge(ctx context.Context, n int) error {
	if a.guard == nil || len(a.charged.Limits) == 0 {
		return nil
	}
	b := budget.New(ctx, a.guard.options.Timeout)
	defer b.End()
	c := a.charged
	c.Cost, c.Forced = n, true
	if _, err := a.guard.limiter.Allow(b, &c); err != nil {
		return fmt.Errorf("httpkey: charge %d: %w", n, err)
	}
	return nil
}

// RequireScope returns a middleware that lets a request pass if its token has
// every one of the scopes. It stands behind [Guard.Handler]; others are
// answered 403, and requests that no Guard has let in 401. It panics without a
// scope: a middleware that demands nothing protects nothing.
func RequireScope(scopes ...string) func(http.Handler) http.Handler {
	if len(scopes) == 0 {
		panic("httpkey: RequireScope needs at least one scope")
	}
	scopes = slices.Clone(scopes)
	return require(ReasonScope, func(_ *http.Request, t Token) bool {
		for _, scope := range scopes {
			if !slices.Contains(t.Scopes, scope) {
				return false
			}
		}
		return true
	})
}

// RequireKind returns a middleware that lets a request pass if its token is of
// one of the kinds. See [RequireScope] for the rest.
func RequireKind(kinds ...Kind) func(http.Handler) http.Handler {
	if len(kinds) == 0 {
		panic("httpkey: RequireKind needs at least one kind")
	}
	kinds = slices.Clone(kinds)
	return require(ReasonKind, func(_ *http.Request, t Token) bool { return slices.Contains(kinds, t.Kind) })
}

// RequireWorkspace returns a middleware that lets a request pass if its token
// is of the workspace that the request is about, as of tells it, often
// from the path. A token without a workspace, and a request about none, do not
// pass. See [RequireScope] for the rest.
func RequireWorkspace(of func(*http.Request) string) func(http.Handler) http.Handler {
	if of == nil {
		panic("httpkey: RequireWorkspace needs a function that tells the workspace of a request")
	}
	return require(ReasonWorkspace, func(r *http.Request, t Token) bool {
		return t.Workspace != "" && t.Workspace == of(r)
	})
}

func require(reason Reason, passes func(*http.Request, Token) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			in := admittedIn(r.Context())
			switch {
			case in == nil:
				WriteError(w, r, Error{reason: ReasonMissing})
			case passes(r, in.subject.token()):
				next.ServeHTTP(w, r)
			case in.guard == nil:
				WriteError(w, r, Error{reason: reason})
			default:
				in.guard.refuse(w, r, &decision{subject: in.subject, reason: reason})
			}
		})
	}
}

// Passes runs a middleware of net/http where a framework has handlers of its own, such as
// gin and echo. If it returns true, go on with the request that it returns. If it returns
// false, the middleware has answered: stop. A ResponseWriter that the middleware wraps is
// not passed on.
func Passes(middleware func(http.Handler) http.Handler, w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	passed, ok := r, false
	middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { passed, ok = r, true })).ServeHTTP(w, r)
	return passed, ok
}

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
		defer d.charge.release()
	}
	g.setHeaders(w.Header(), &d)
	if d.reason != "" {
		g.refuse(w, r, &d)
		return r, false
	}
	return r.WithContext(g.admit(r.Context(), r, &d)), true
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
		defer d.charge.release()
	}
	if d.reason != "" {
		g.observeRefusal(ctx, nil, &d)
		return nil, d.error()
	}
	return g.admit(ctx, nil, &d).admission(), nil
}

// Verify returns the token of a secret that came by another way than a request
// header. It takes no quota and asks no limiter; it does count as a use. Else it is as
// [Guard.Admit].
func (g *Guard) Verify(ctx context.Context, secret string) (Token, error) {
	d := decision{reason: g.shape(secret)}
	if d.reason == "" {
		b := budget.New(ctx, g.options.Timeout)
		defer b.End()
		d.subject, d.at, d.reason, d.cause = g.identify(b, nil, secret)
	}
	if d.reason != "" {
		g.observeRefusal(ctx, nil, &d)
		return Token{}, d.error()
	}
	g.use(d.subject, d.at)
	g.observeAdmission(ctx, nil, &d)
	return g.token(d.subject), nil
}

// decision is what is found out about a request, step by step.
type decision struct {
	subject subject
	at      clock.Instant // when the key was found valid, or the limiter answered
	outcome outcome
	charge  *pooledCharge // what the limiter was asked, if Options.Charge is set
	reason  Reason        // why the request is refused; empty: it is not
	cause   error         // the error of the store or the limiter
}

func (d *decision) error() Error {
	e := Error{reason: d.reason, cause: d.cause}
	if d.reason == ReasonThrottled || d.reason == ReasonLimit {
		e.result = d.outcome.result()
	}
	return e
}

// subject is a valid or invalid token: in memory, or a copy of one that is elsewhere. The
// zero subject is none.
type subject struct {
	entry  *ram.Entry[Token]
	remote *Token
}

// outcome is a Result in a few words: a request that is let in keeps it.
type outcome struct {
	limit      *Limit // that binds, immutable and perhaps not resolved; nil: there is none
	burst      int    // of the limit as it was applied
	remaining  int
	resetAfter time.Duration
	retryAfter time.Duration
	allowed    bool
	whole      *Result // in place of all but allowed, where it says more
}

func (o *outcome) result() Result {
	switch {
	case o.whole != nil:
		return *o.whole
	case o.limit == nil:
		return Result{Allowed: o.allowed}
	}
	limit := o.limit.Resolve()
	limit.Burst = o.burst
	return Result{Allowed: o.allowed, Limit: limit, Remaining: o.remaining, ResetAfter: o.resetAfter, RetryAfter: o.retryAfter}
}

// decide takes a key through every step. r is nil where there is no request.
func (g *Guard) decide(ctx context.Context, r *http.Request, key string, cost int) decision {
	if g.waits { // else the store alone does, where it has to be asked
		b := budget.New(ctx, g.options.Timeout)
		defer b.End()
		ctx = b
	}
	s, at, reason, err := g.identify(ctx, r, key)
	if reason != "" {
		return decision{subject: s, at: at, reason: reason, cause: err}
	}
	o, charge, err := g.charge(ctx, r, s, at, cost)
	if g.waits {
		at = g.clock.Now()
	}
	switch {
	case err != nil:
		return decision{subject: s, at: at, charge: charge, reason: blame(ctx, ReasonLimiter), cause: err}
	case o.allowed:
	case o.isFinal():
		reason = ReasonLimit
	default:
		reason = ReasonThrottled
	}
	if cost != 0 {
		g.use(s, at)
	}
	return decision{subject: s, at: at, outcome: o, charge: charge, reason: reason}
}

// isFinal reports whether what was denied can never pass.
func (o *outcome) isFinal() bool {
	if o.whole != nil {
		return o.whole.never()
	}
	return !o.allowed && o.retryAfter == 0
}

// extract returns the one key in h, if it looks like one, or why it has none. It looks at
// no other header, and never at the URL.
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
	case !g.format.Resembles(key):
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
func (g *Guard) identify(ctx context.Context, r *http.Request, key string) (s subject, at clock.Instant, reason Reason, err error) {
	s, known := g.recall(key)
	if s == (subject{}) && !g.format.Accepts(key) { // memory needs no checksum
		return s, at, ReasonMalformed, nil
	}
	if !known {
		s, err = g.lookup(ctx, key)
	}
	at = g.clock.Now()
	switch state := s.state(); {
	case err != nil:
		return s, at, blame(ctx, ReasonStore), err
	case s == subject{}:
		return s, at, ReasonUnknown, nil
	case state&ram.Active == 0:
		return s, at, ReasonInactive, nil
	case s.expired(at):
		return s, at, ReasonExpired, nil
	case state&ram.Special != 0 && !g.isInNetworks(r, s.peek().Networks):
		return s, at, ReasonNetwork, nil
	}
	return s, at, "", nil
}

// recall finds the token of a key under the current pepper or a previous one in memory; if
// it is not known there, the store has to be asked.
func (g *Guard) recall(key string) (found subject, known bool) {
	if g.memory == nil {
		return subject{}, false
	}
	for _, digest := range g.digesters {
		entry, known := g.memory.Find(digest(key))
		if entry != nil || !known {
			return subject{entry: entry}, known
		}
	}
	return subject{}, true
}

// lookup finds it in the store, within the timeout.
func (g *Guard) lookup(ctx context.Context, key string) (subject, error) {
	if _, isBounded := ctx.(*budget.Budget); !isBounded {
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

// token returns a copy of the token of a subject, as it is now.
func (g *Guard) token(s subject) Token {
	switch {
	case s.entry != nil:
		return g.memory.Token(s.entry)
	case s.remote != nil:
		return s.remote.Clone()
	}
	return Token{}
}

// view is token for Options.Charge, which changes no Token: it may share memory with the
// store.
func (g *Guard) view(s subject) Token {
	if s.entry == nil {
		return *s.remote
	}
	full := s.entry.Body().Full
	if full == nil {
		return g.memory.Token(s.entry)
	}
	t := *full
	t.LastUsed = time.Time{}
	if at := s.entry.LastUsed(); at != ram.Null {
		t.LastUsed = time.UnixMicro(at).UTC()
	}
	return t
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

func (s subject) payer() string {
	if s.entry != nil {
		return s.entry.Payer()
	}
	return s.remote.Payer()
}

// use notes that a token was used.
func (g *Guard) use(s subject, at clock.Instant) {
	switch {
	case s.remote != nil:
		g.lastUsed.Record(s.remote.ID, at.UnixMicro())
	case s.entry.IsCopy():
		g.lastUsed.Record(g.memory.ID(s.entry), at.UnixMicro())
	default:
		s.entry.TouchCoarsely(at.UnixMicro())
	}
}

// terms are the limits of a kind, and what a limiter in memory needs of them if it is one
// steady limit.
type terms struct {
	limits []Limit
	first  ram.Limit
}

func newTerms(limits []Limit) terms {
	t := terms{limits: make([]Limit, len(limits))}
	for i, l := range limits {
		t.limits[i] = l.Resolve()
	}
	if isSingle(t.limits) {
		t.first = t.limits[0].inMemory()
	}
	return t
}

func (l Limit) isSteady() bool { return l.Calendar == "" && l.Rate > 0 }

// inMemory returns l, which is resolved and valid, as a limiter in memory has it if it is
// steady.
func (l Limit) inMemory() ram.Limit {
	if !l.isSteady() {
		return ram.Limit{}
	}
	t := l.terms()
	return ram.Limit{Term: ram.Term{Name: l.Name, Window: t.Window()}, Terms: t}
}

// charge takes the cost of a request from the buckets of its payer. It returns the charge
// that Options.Charge has edited, if that is set, for its caller to release.
func (g *Guard) charge(ctx context.Context, r *http.Request, s subject, at clock.Instant, cost int) (outcome, *pooledCharge, error) {
	of := g.termsOf(s)
	limits, first := of.limits, of.first
	if own := s.limits(); len(own) > 0 {
		limits = own
		if err := validateLimits(limits); err != nil { // a store brought them
			return outcome{}, nil, err
		}
		first = limits[0].Resolve().inMemory()
	}
	switch {
	case g.options.Charge != nil:
		return g.chargeEdited(ctx, r, s, at, limits, cost)
	case len(limits) == 0:
		return outcome{allowed: true}, nil, nil
	case cost >= 0 && g.buckets != nil && s.entry != nil && isSingle(limits):
		return g.takeInMemory(s, s.payer(), &limits[0], first, cost, at), nil, nil
	}
	c := charges.Get().(*pooledCharge)
	defer c.release()
	c.Charge = Charge{Bucket: s.payer(), Limits: limits, Cost: cost}
	o, err := g.ask(ctx, &c.Charge)
	return o, nil, err
}

// ask asks the limiter for a charge, whose limits are immutable.
func (g *Guard) ask(ctx context.Context, c *Charge) (outcome, error) {
	r, err := g.limiter.Allow(ctx, c)
	if err != nil {
		return outcome{}, err
	}
	limits := c.Limits
	if len(limits) > 1 || r.Limit != limits[0].Resolve() {
		return outcome{allowed: r.Allowed, whole: &r}, nil
	}
	return outcome{&limits[0], r.Limit.Burst, r.Remaining, r.ResetAfter, r.RetryAfter, r.Allowed, nil}, nil
}

func (g *Guard) termsOf(s subject) *terms {
	if s.state()&ram.Service != 0 {
		return &g.services
	}
	return &g.apiKeys
}

// charges are reused, since a limiter's argument escapes to the heap.
var charges = sync.Pool{New: func() any { return new(pooledCharge) }}

type pooledCharge struct {
	Charge
	limits [maxLimits]Limit
	token  Token
}

func (c *pooledCharge) release() {
	if c != nil {
		c.token, c.Charge = Token{}, Charge{}
		charges.Put(c)
	}
}

// chargeEdited is charge where Options.Charge edits it.
func (g *Guard) chargeEdited(
	ctx context.Context, r *http.Request, s subject, at clock.Instant, limits []Limit, cost int,
) (outcome, *pooledCharge, error) {
	c := charges.Get().(*pooledCharge)
	c.token = g.view(s)
	c.Charge = Charge{Bucket: s.payer(), Limits: append(c.limits[:0], limits...), Cost: cost}
	g.options.Charge(r, &c.token, &c.Charge)
	if cost == 0 { // Admit only looks
		c.Cost = 0
	}
	if len(c.Limits) == 0 {
		return outcome{allowed: true}, c, nil
	}
	if err := c.Validate(); err != nil || c.Forced {
		return outcome{}, c, cmp.Or(err, errForced)
	}
	if g.buckets != nil && s.entry != nil && isSingle(c.Limits) {
		return g.takeInMemory(s, c.Bucket, &c.Limits[0], c.Limits[0].Resolve().inMemory(), c.Cost, at), c, nil
	}
	o, err := g.ask(ctx, &c.Charge)
	return o, c, err
}

var errForced = fmt.Errorf("%w: Forced is for Admission.Charge, Options.Charge must not set it", ErrInvalidLimit)

// isSingle reports whether a bucket beside the token can hold all that limits need.
func isSingle(limits []Limit) bool { return len(limits) == 1 && limits[0].isSteady() }

// takeInMemory takes from a bucket that lies beside the token.
func (g *Guard) takeInMemory(s subject, payer string, l *Limit, in ram.Limit, cost int, at clock.Instant) outcome {
	r := g.buckets.TakeIn(s.entry.Slot(), payer, in, int64(cost), at.Elapsed)
	return outcome{
		limit: l, burst: int(r.Burst), remaining: int(r.Remaining),
		resetAfter: time.Duration(r.ResetAfter) * time.Microsecond,
		retryAfter: time.Duration(r.RetryAfter) * time.Microsecond,
		allowed:    r.Allowed,
	}
}

// setHeaders tells a valid key what is left to it.
func (g *Guard) setHeaders(h http.Header, d *decision) {
	result := d.outcome.result()
	if result.Limit == (Limit{}) {
		return
	}
	g.headers.set(h, &result, d.at)
	if g.options.IETFHeaders {
		setIETFHeaders(h, &result)
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
		g.observe(ctx, &Event{Type: EventRefused, Reason: d.reason, Token: g.token(d.subject), Result: d.outcome.result(), Request: r, Err: d.cause})
	}
}

func (g *Guard) observeAdmission(ctx context.Context, r *http.Request, d *decision) {
	if g.observes(ctx, EventAdmitted) {
		g.observe(ctx, &Event{Type: EventAdmitted, Token: g.token(d.subject), Result: d.outcome.result(), Request: r})
	}
}

// admit makes of a decision the context of the request that it lets in.
func (g *Guard) admit(ctx context.Context, r *http.Request, d *decision) *admitted {
	g.observeAdmission(ctx, r, d)
	in := &admitted{Context: ctx, guard: g, subject: d.subject, outcome: d.outcome}
	if d.charge != nil {
		in.edited = d.charge.keep()
		if d.outcome.limit != nil {
			in.outcome.limit = &in.edited.Limits[0]
		}
	}
	return in
}

// admitted is the context of a request that was let in. Being the context
// itself, it saves the allocation of a value beside it.
type admitted struct {
	context.Context
	guard   *Guard // nil: NewContext made it
	subject subject
	outcome outcome
	edited  *editedCharge
}

// editedCharge is a charge with the room for its limits, if they are few.
type editedCharge struct {
	Charge
	few [2]Limit
}

// keep returns a copy of c that c's release does not touch.
func (c *pooledCharge) keep() *editedCharge {
	kept := &editedCharge{Charge: c.Charge}
	kept.Limits = append(kept.few[:0], c.Limits...)
	return kept
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
	_, _ = io.WriteString(f, "httpkey.Guard request of "+a.guard.token(a.subject).ID)
}

func (a *admitted) admission() *Admission {
	in := &Admission{Token: a.guard.token(a.subject), Result: a.outcome.result(), guard: a.guard}
	switch {
	case a.guard == nil:
	case a.edited != nil:
		in.charged = a.edited.Charge
	default:
		in.charged = Charge{Bucket: a.subject.payer(), Limits: in.Token.Limits}
		if len(in.charged.Limits) == 0 {
			in.charged.Limits = a.guard.termsOf(a.subject).limits
		}
	}
	return in
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
	return in.guard.token(in.subject), true
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
			case passes(r, in.guard.token(in.subject)):
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

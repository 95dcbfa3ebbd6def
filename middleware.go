package httpkey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey/internal/answer"
	"github.com/httpkey/httpkey/internal/budget"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/keyformat"
	"github.com/httpkey/httpkey/internal/name"
	"github.com/httpkey/httpkey/internal/ram"
)

// Handler returns the middleware. It calls next for a request that it admits, and
// answers every other request itself. It wraps neither the ResponseWriter nor the body.
// The response to an admitted request carries the rate-limit headers, whatever next
// answers. It also carries Cache-Control: private, unless that header is set already or next
// sets it. Without this header, a shared cache may serve the response to everybody (RFC 9111,
// section 3). Requests share the values of these headers, so next must replace a value and
// not write into it.
//
// A request with a valid key costs quota, whatever its method. Put a handler of CORS
// preflights, which carry no key, around this one. A Guard that is twice around a handler charges
// once. So it does not charge the parts of a batch that next makes with the context and the
// header of r: give each part a Clone of the header. Two Guards both charge the request, and
// the context has the token of the inner one.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r, ok := g.Check(w, r); ok {
			next.ServeHTTP(w, r)
		}
	})
}

// Check is [Guard.Handler] for frameworks with their own handler types, such as
// gin and echo. If Check returns true, continue with the returned request, which has
// the token in its context. If it returns false, it has written the response: stop.
func (g *Guard) Check(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	lines := r.Header[g.options.Header]
	if g.hasAdmitted(r, lines) {
		return r, true
	}
	key, reason := g.extract(lines)
	d := decision{reason: reason}
	if reason == "" {
		d = g.decide(r.Context(), r, key, 1)
	}
	if d.reason != "" {
		g.setHeaders(w.Header(), &d, nil)
		g.refuse(w, r, &d)
		return r, false
	}
	in := g.admit(r.Context(), r, &d)
	in.line = &lines[0]
	g.setHeaders(w.Header(), &d, &in.remaining)
	if h := w.Header(); h["Cache-Control"] == nil {
		h["Cache-Control"] = private
	}
	return r.WithContext(in), true
}

// hasAdmitted reports whether g has admitted this very request before. A request that was
// derived from an admitted one has its context, but header lines of its own.
func (g *Guard) hasAdmitted(r *http.Request, lines []string) bool {
	in := admittedIn(r.Context())
	return in != nil && in.guard == g && len(lines) == 1 && in.line == &lines[0]
}

// Admit decides on a secret that did not come in a request header, but over gRPC, say. It
// takes cost from the limits and notes a use of the token. A cost of 0 does neither, but
// still asks the limiter. Admit waits for the store and the limiter for [Options.Timeout]
// at most. It also waits if ctx has ended.
//
// The error is an [Error]. Admit knows no address, so it refuses a token with Networks.
func (g *Guard) Admit(ctx context.Context, secret string, cost int) (*Admission, error) {
	if cost < 0 {
		return nil, Error{reason: ReasonLimiter, cause: errNegativeCost}
	}
	d, err := g.check(ctx, secret, cost)
	if err != nil {
		return nil, err
	}
	return g.admit(ctx, nil, &d).admission(), nil
}

var errNegativeCost = fmt.Errorf("%w: the cost of an Admit must not be negative", ErrInvalidLimit)

// Verify returns the token of a secret that did not come in a request header. It calls no
// limiter, but notes a use of the token. Otherwise it behaves as [Guard.Admit].
func (g *Guard) Verify(ctx context.Context, secret string) (Token, error) {
	d, err := g.check(ctx, secret, noCharge)
	if err != nil {
		return Token{}, err
	}
	g.use(&d)
	g.tell(ctx, nil, &d)
	return g.copyOf(&d.token), nil
}

// check decides without a request, and reports a refusal to the Observer.
func (g *Guard) check(ctx context.Context, secret string, cost int) (decision, error) {
	d := decision{reason: g.shape(secret)}
	if d.reason == "" {
		d = g.decide(ctx, nil, secret, cost)
	}
	if d.reason != "" {
		g.tell(ctx, nil, &d)
		return d, d.error()
	}
	return d, nil
}

// decision is the state of a request, which each step extends.
type decision struct {
	token  view          // the zero view: no token is known
	at     clock.Instant // when the store or the limiter answered, whichever came last
	result Result        // the zero Result until the limiter has answered
	payer  string        // whose buckets the limiter was asked for; empty: the token's own
	noted  bool          // the token's record has noted the use
	reason Reason        // why the request is refused; empty: it is not
	cause  error         // the error of the store or the limiter
}

// view is a token in the memory of its store, or of this request alone, as it was found.
type view = ram.View[Token]

// noCharge is the cost in a Verify, which calls no limiter.
const noCharge = -1

// decide takes a key through every step. r is nil in Admit and Verify.
func (g *Guard) decide(ctx context.Context, r *http.Request, key string, cost int) decision {
	d := decision{at: g.clock.Now()}
	var known bool
	d.token, known = g.recall(key, d.at)
	if !d.token.Exists() && !g.format.Accepts(key) { // a key that is in memory needs no checksum
		d.reason = ReasonMalformed
		return d
	}
	switch {
	case !known:
		l := &lookup{}
		l.Begin(ctx, g.options.Timeout)
		defer l.End()
		ctx = &l.Budget
		d.token, d.cause = g.lookup(l, key)
		d.at = g.clock.Now()
	case g.waits:
		b := budget.New(ctx, g.options.Timeout)
		defer b.End()
		ctx = b
	}
	own, reason := g.judge(r, &d)
	if d.reason = reason; reason != "" || cost == noCharge {
		return d
	}
	if t := g.termsOf(&d.token); t.beside != nil && len(own) == 0 && d.token.IsHeld() {
		d.result, d.noted = t.take(&d.token, cost, d.at), true
	} else {
		d.result, d.payer, d.cause = g.charge(ctx, r, &d, own, cost)
	}
	if g.waits {
		d.at = g.clock.Now()
	}
	switch {
	case d.cause != nil:
		d.reason = ReasonLimiter
		return d
	case d.result.Allowed:
	case d.result.never():
		d.reason = ReasonLimit
	default:
		d.reason = ReasonThrottled
	}
	if cost != 0 {
		g.use(&d)
	}
	return d
}

// extract returns the key in the only header line, or the reason why the Guard refuses the
// lines.
func (g *Guard) extract(lines []string) (key string, reason Reason) {
	if len(lines) > 1 {
		return "", ReasonMalformed
	}
	if len(lines) == 1 {
		key = keyformat.TrimBlanks(lines[0])
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

// recall finds the token of a key in memory, under the current pepper or a previous one. If
// known is false, only a Lookup in the store can tell.
func (g *Guard) recall(key string, at clock.Instant) (token view, known bool) {
	if g.memory == nil {
		return token, false
	}
	known = true
	for _, digest := range g.digesters {
		token, isKnown := g.memory.Find(digest(key), at.Elapsed)
		if token.Exists() {
			return token, true
		}
		known = known && isKnown
	}
	return token, known
}

// lookup holds the budget of a Lookup and the token that it finds in one object, to save
// an allocation.
type lookup struct {
	budget.Budget
	found Token
}

// lookup finds the token of a key in the store; it returns the zero view if there is none.
func (g *Guard) lookup(l *lookup, key string) (view, error) {
	for _, digest := range ram.HeldFirst(g.memory, g.digesters, key) {
		d := Digest(digest(key))
		token, err := g.store.Lookup(&l.Budget, d)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return view{}, err
		// A store that folds case or compares prefixes must not admit a wrong key.
		case keyformat.Equal(token.Digest, d):
			l.found = token
			return viewOf(&l.found), nil
		}
	}
	return view{}, nil
}

// viewOf returns the view of a token that is in no memory but that of its request.
func viewOf(t *Token) view {
	isSpecial := len(t.Limits) > 0 || len(t.Networks) > 0
	return view{
		Digest:    t.Digest,
		State:     ram.StateOf(t.IsActive, t.Kind == ServiceToken, isSpecial),
		LastUsed:  ram.Micros(t.LastUsed),
		ExpiredAt: ram.Micros(t.ExpiredAt),
		Full:      t,
	}
}

// judge returns the token's own limits, or the reason why its key is not valid for r.
func (g *Guard) judge(r *http.Request, d *decision) (own []Limit, why Reason) {
	token, special := &d.token, &noToken
	switch {
	case d.cause != nil:
		return nil, ReasonStore
	case !token.Exists():
		return nil, ReasonUnknown
	case token.State&ram.Special != 0:
		special = token.Full
	}
	switch {
	case token.State&ram.Active == 0:
		return nil, ReasonInactive
	case token.Expired(d.at.UnixMicro()):
		return nil, ReasonExpired
	case !g.isInNetworks(r, special.Networks):
		return nil, ReasonNetwork
	}
	return special.Limits, ""
}

var noToken Token

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

// copyOf returns a copy of a token; the zero Token of the zero view.
func (g *Guard) copyOf(v *view) Token {
	switch {
	case !v.Exists():
		return Token{}
	case v.Full == nil:
		return g.memory.Token(*v)
	}
	t := v.Full.Clone()
	t.LastUsed = ram.Time(v.LastUsed)
	return t
}

func payerOf(v *view) string {
	if v.IsHeld() {
		return v.Text().Payer()
	}
	return v.Full.Payer()
}

// use notes a use of a token.
func (g *Guard) use(d *decision) {
	switch v := &d.token; {
	case !v.IsHeld():
		g.lastUsed.Record(v.Full.ID, d.at.UnixMicro())
	case g.memory.IsCopy():
		g.lastUsed.Record(v.Text().ID(), d.at.UnixMicro())
	case !d.noted:
		g.memory.Table().Touch(v, d.at.UnixMicro())
	}
}

// terms are the limits of a kind.
type terms struct {
	limits []Limit // not resolved: if Options.Charge changes a Rate, an open Burst follows it

	// If the buckets of the only limit can lie beside their tokens, beside decides.
	beside *ram.Binding[Token]
	first  Limit      // resolved
	rate   gcra.Terms // of first
}

// newTerms returns the terms of a kind. The buckets are those of a limiter in memory, or nil.
func (g *Guard) newTerms(limits []Limit, buckets *ram.Buckets[gcra.Bucket]) terms {
	t := terms{limits: limits}
	isOne := len(limits) == 1 && limits[0].Calendar == "" && limits[0].Rate > 0
	if buckets != nil && g.memory != nil && g.options.Charge == nil && isOne {
		t.first = limits[0].Resolve()
		t.rate = t.first.terms()
		t.beside = ram.Bind(g.memory.Table(), buckets, ram.Term{Name: t.first.Name, Window: t.rate.Window()})
	}
	return t
}

func (g *Guard) termsOf(v *view) *terms {
	if v.State&ram.Service != 0 {
		return &g.services
	}
	return &g.apiKeys
}

// charge takes the cost of a request from the buckets of its payer, under the token's own
// limits or those of its kind. It returns the payer.
func (g *Guard) charge(
	ctx context.Context, r *http.Request, d *decision, own []Limit, cost int,
) (result Result, payer string, err error) {
	limits := own
	if len(own) == 0 {
		limits = g.termsOf(&d.token).limits
	}
	payer = payerOf(&d.token)
	c := charges.Get().(*pooledCharge)
	defer c.release()
	c.Charge = Charge{Bucket: payer, Limits: append(c.limits[:0], limits...), Cost: cost}
	if g.options.Charge != nil {
		c.lend(g, &d.token)
		id, user, workspace := c.token.ID, c.token.User, c.token.Workspace // before Charge can change them
		g.options.Charge(r, &c.token, &c.Charge)
		if c.Bucket != payer && !name.MayPay(c.Bucket, id, user, workspace) {
			return Result{}, "", fmt.Errorf("%w: Bucket is %q, which names no payer of this token; "+
				"names of your own need another beginning", ErrInvalidLimit, c.Bucket)
		}
		if cost == 0 { // Admit only looks
			c.Cost = 0
		}
	}
	result, err = g.ask(ctx, &c.Charge)
	return result, c.Bucket, err
}

// take takes from the bucket beside a token, and notes the use.
func (t *terms) take(v *view, cost int, at clock.Instant) Result {
	r := t.beside.Take(v, t.rate, int64(cost), at)
	return Result{
		Allowed:    r.Allowed,
		Limit:      t.first,
		Remaining:  int(r.Remaining),
		ResetAfter: time.Duration(r.ResetAfter) * time.Microsecond,
		RetryAfter: time.Duration(r.RetryAfter) * time.Microsecond,
	}
}

// ask validates a charge, since a store or Options.Charge may have made it invalid, and
// calls the limiter.
func (g *Guard) ask(ctx context.Context, c *Charge) (Result, error) {
	if len(c.Limits) == 0 {
		return Result{Allowed: true}, nil
	}
	if err := c.Validate(); err != nil || c.Forced {
		return Result{}, cmp.Or(err, errForced)
	}
	return g.limiter.Allow(ctx, c)
}

var errForced = fmt.Errorf("%w: Forced is for Admission.Charge, Options.Charge must not set it", ErrInvalidLimit)

// charges are reused, since a limiter's argument escapes to the heap.
var charges = sync.Pool{New: func() any { return new(pooledCharge) }}

type pooledCharge struct {
	Charge
	limits   [maxLimits]Limit
	token    Token
	metadata map[string]string
}

// lend makes c.token a copy of a token. Its Metadata is in a map that requests reuse, because a
// plan there is read at each request.
func (c *pooledCharge) lend(g *Guard, v *view) {
	if v.Full == nil || len(v.Full.Metadata) == 0 {
		c.token = g.copyOf(v)
		return
	}
	c.token = *v.Full
	c.token.Metadata = nil
	c.token = c.token.Clone()
	if c.metadata == nil {
		c.metadata = make(map[string]string)
	}
	maps.Copy(c.metadata, v.Full.Metadata)
	c.token.LastUsed, c.token.Metadata = ram.Time(v.LastUsed), c.metadata
}

func (c *pooledCharge) release() {
	c.token, c.Charge = Token{}, Charge{}
	clear(c.metadata)
	charges.Put(c)
}

// setHeaders writes the rate-limit headers, if there is a limit. A refusal has no own values.
func (g *Guard) setHeaders(h http.Header, d *decision, own *answer.Own) {
	if d.result.Limit == (Limit{}) {
		return
	}
	r := &d.result
	// Reset is rounded up, so that a client that waits for it is never early.
	g.quota.Set(h, int64(r.Limit.Burst), int64(max(0, r.Remaining)), d.at.CeilUnix(r.ResetAfter), own)
	if g.options.IETFHeaders {
		setIETFHeaders(h, r)
	}
}

// refuse reports a refusal and answers it.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, d *decision) {
	g.tell(r.Context(), r, d)
	e := d.error()
	if status := e.class().status; status == http.StatusUnauthorized || status == http.StatusServiceUnavailable {
		answer.ClearQuota(w.Header())
	}
	setRefusalHeaders(w.Header(), &e)
	if g.options.ErrorHandler != nil {
		answer.Unshare(w.Header())
		g.options.ErrorHandler(w, r, e)
		return
	}
	writeDetail(w, r, &e)
}

func (d *decision) error() Error { return Error{reason: d.reason, result: d.result, cause: d.cause} }

// tell reports a decision to the Observer, if that wants such events.
func (g *Guard) tell(ctx context.Context, r *http.Request, d *decision) {
	event := EventAdmitted
	if d.reason != "" {
		event = EventRefused
	}
	if g.observes(ctx, event) {
		token := g.copyOf(&d.token)
		g.observe(ctx, &Event{Type: event, Reason: d.reason, Token: token, Result: d.result, Request: r, Err: d.cause})
	}
}

// admit reports the admission and returns the context of the admitted request.
func (g *Guard) admit(ctx context.Context, r *http.Request, d *decision) *admitted {
	g.tell(ctx, r, d)
	in := newAdmitted(ctx, &d.token)
	in.guard, in.payer, in.result = g, d.payer, d.result
	return in
}

// admitted is the context of an admitted request. A context of its own type
// saves the allocation of a value beside it.
type admitted struct {
	context.Context
	guard  *Guard // nil: NewContext made the context
	token  *view  // fmt would print the digest of a view that is no pointer
	payer  string // empty: the token's own
	result Result
	line   *string // of the header that held the key; nil: Admit made the context

	remaining answer.Own // the header value, if responses do not share it
}

// newAdmitted returns a context with a token, in one object with it.
func newAdmitted(ctx context.Context, token *view) *admitted {
	both := &struct {
		admitted
		view
	}{admitted{Context: ctx}, *token}
	both.token = &both.view
	return &both.admitted
}

type admittedKey struct{}

func admittedIn(ctx context.Context) *admitted {
	in, _ := ctx.Value(admittedKey{}).(*admitted)
	return in
}

// Value returns a for admittedKey, and asks the parent context for every other key.
func (a *admitted) Value(key any) any {
	if key == (admittedKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Format keeps the token's digest out of a printed context.
func (a *admitted) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "httpkey.Guard request of "+a.guard.copyOf(a.token).ID)
}

func (a *admitted) admission() *Admission {
	result := a.result
	result.Each = slices.Clone(result.Each)
	return &Admission{a.guard.copyOf(a.token), result, a.guard, cmp.Or(a.payer, payerOf(a.token)), result.limits()}
}

// limits returns those that r is about.
func (r *Result) limits() (limits []Limit) {
	for _, one := range r.Each {
		limits = append(limits, one.Limit)
	}
	if len(limits) == 0 && r.Limit != (Limit{}) {
		limits = []Limit{r.Limit}
	}
	return limits
}

// FromContext returns the token of the request that ctx belongs to, and false
// if no Guard has admitted it. The token is a copy, which a handler may change. It shows the
// token as the Guard found it.
//
// In gin, pass c.Request.Context(). A *gin.Context is a context too, but does not consult
// the request's context unless the engine is configured so.
func FromContext(ctx context.Context) (Token, bool) {
	in := admittedIn(ctx)
	if in == nil {
		return Token{}, false
	}
	return in.guard.copyOf(in.token), true
}

// NewContext returns a context in which FromContext finds t, and on which the Require
// functions decide as behind a Guard. It is for tests of handlers.
func NewContext(ctx context.Context, t Token) context.Context {
	t = t.Clone()
	token := viewOf(&t)
	return newAdmitted(ctx, &token)
}

// Admission is a request that a Guard has admitted.
type Admission struct {
	Token  Token  // a copy
	Result Result // what the limiter decided; the zero Result where there is no limit

	guard  *Guard
	payer  string
	limits []Limit // that were charged
}

// Format prints the token, with its digest redacted, and the result. Without Format, some
// verbs would print the digest of an *Admission.
func (a Admission) Format(f fmt.State, verb rune) {
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), [...]any{a.Token, a.Result})
}

// AdmissionFrom returns the admission of the request that ctx belongs to, and false if no
// Guard has admitted it.
func AdmissionFrom(ctx context.Context) (*Admission, bool) {
	in := admittedIn(ctx)
	if in == nil {
		return nil, false
	}
	return in.admission(), true
}

// Charge takes n more from the buckets that paid for the request, even without room, down
// to one Burst below empty. It serves costs that are known only after the response. A
// negative n gives back, never above full. Charge waits for the limiter for
// [Options.Timeout] at most. It also charges if ctx has ended, for example because the client
// hung up. The error is the limiter's.
func (a *Admission) Charge(ctx context.Context, n int) error {
	if a.guard == nil || len(a.limits) == 0 {
		return nil
	}
	b := budget.New(ctx, a.guard.options.Timeout)
	defer b.End()
	c := Charge{Bucket: a.payer, Limits: a.limits, Cost: n, Forced: true}
	if _, err := a.guard.limiter.Allow(b, &c); err != nil {
		return fmt.Errorf("httpkey: charge %d: %w", n, err)
	}
	return nil
}

// RequireScope returns a middleware that passes a request if its token has every one
// of the scopes. It stands behind [Guard.Handler]. It answers 403 to other requests,
// and 401 to requests that no Guard has admitted. RequireScope panics without a scope,
// because the middleware would protect nothing.
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

// RequireKind returns a middleware that passes a request if its token is of
// one of the kinds. Otherwise it behaves as [RequireScope].
func RequireKind(kinds ...Kind) func(http.Handler) http.Handler {
	if len(kinds) == 0 {
		panic("httpkey: RequireKind needs at least one kind")
	}
	kinds = slices.Clone(kinds)
	return require(ReasonKind, func(_ *http.Request, t Token) bool { return slices.Contains(kinds, t.Kind) })
}

// RequireWorkspace returns a middleware that passes a request if its token belongs to the
// workspace of the request. The function of returns that workspace, often from the path.
// A token without a workspace does not pass. Otherwise it behaves as [RequireScope]; it
// panics if of is nil.
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
			case passes(r, in.guard.copyOf(in.token)):
				next.ServeHTTP(w, r)
			case in.guard == nil:
				WriteError(w, r, Error{reason: reason})
			default:
				in.guard.refuse(w, r, &decision{token: *in.token, reason: reason})
			}
		})
	}
}

// Passes runs a middleware of net/http in a framework with its own handler types, such as
// gin and echo. If it returns true, continue with the returned request. If it returns
// false, the middleware has answered: stop. Passes drops a ResponseWriter that the
// middleware wraps around w.
func Passes(middleware func(http.Handler) http.Handler, w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	passed, ok := r, false
	middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { passed, ok = r, true })).ServeHTTP(w, r)
	return passed, ok
}

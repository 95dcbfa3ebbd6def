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

	"github.com/httpkey/httpkey/internal/answer"
	"github.com/httpkey/httpkey/internal/budget"
	"github.com/httpkey/httpkey/internal/clock"
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
	in, own := g.admit(r.Context(), r, &d)
	in.line = &lines[0]
	g.setHeaders(w.Header(), &d, own)
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
	in, _ := g.admit(ctx, nil, &d)
	return in.admission(), nil
}

var errNegativeCost = fmt.Errorf("%w: the cost of an Admit must not be negative", ErrInvalidLimit)

// Verify returns the token of a secret that did not come in a request header. It calls no
// limiter, but notes a use of the token. Otherwise it behaves as [Guard.Admit].
func (g *Guard) Verify(ctx context.Context, secret string) (Token, error) {
	d, err := g.check(ctx, secret, noCharge)
	if err != nil {
		return Token{}, err
	}
	g.use(d.token, d.at)
	g.tell(ctx, nil, &d)
	return g.copyOf(d.token), nil
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
	token  *entry        // nil: no token is known
	at     clock.Instant // when the store or the limiter answered, whichever came last
	result Result        // the zero Result until the limiter has answered
	payer  string        // whose buckets the limiter was asked for
	reason Reason        // why the request is refused; empty: it is not
	cause  error         // the error of the store or the limiter
}

// entry is a token in the memory of its store, or of this request alone.
type entry = ram.Entry[Token]

// noCharge is the cost in a Verify, which calls no limiter.
const noCharge = -1

// decide takes a key through every step. r is nil in Admit and Verify.
func (g *Guard) decide(ctx context.Context, r *http.Request, key string, cost int) decision {
	token, known := g.recall(key)
	if token == nil && !g.format.Accepts(key) { // a key that is in memory needs no checksum
		return decision{reason: ReasonMalformed}
	}
	var err error
	switch {
	case !known:
		l := &lookup{}
		l.Begin(ctx, g.options.Timeout)
		defer l.End()
		ctx = &l.Budget
		token, err = g.lookup(l, key)
	case g.waits:
		b := budget.New(ctx, g.options.Timeout)
		defer b.End()
		ctx = b
	}
	d := decision{token: token, at: g.clock.Now(), cause: err}
	own, reason := g.judge(r, &d)
	if d.reason = reason; reason != "" || cost == noCharge {
		return d
	}
	d.result, d.payer, d.cause = g.charge(ctx, r, &d, own, cost)
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
		g.use(token, d.at)
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
func (g *Guard) recall(key string) (token *entry, known bool) {
	if g.memory == nil {
		return nil, false
	}
	known = true
	for _, digest := range g.digesters {
		token, isKnown := g.memory.Find(digest(key))
		if token != nil {
			return token, true
		}
		known = known && isKnown
	}
	return nil, known
}

// lookup holds the budget of a Lookup and the token that it finds in one object, to save
// an allocation.
type lookup struct {
	budget.Budget
	found ram.Whole[Token]
}

// lookup finds the token of a key in the store; it returns nil if there is none.
func (g *Guard) lookup(l *lookup, key string) (*entry, error) {
	for _, digest := range ram.HeldFirst(g.memory, g.digesters, key) {
		d := Digest(digest(key))
		token, err := g.store.Lookup(&l.Budget, d)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		// A store that folds case or compares prefixes must not admit a wrong key.
		case token.Digest.equal(&d):
			return fill(&l.found, token), nil
		}
	}
	return nil, nil
}

// fill makes whole the entry of a token that is in no memory but that of its request.
func fill(whole *ram.Whole[Token], t Token) *entry {
	isSpecial := len(t.Limits) > 0 || len(t.Networks) > 0
	return whole.Fill(t.Digest, ram.Micros(t.LastUsed), t.Payer(), ram.Body[Token]{
		ExpiredAt: ram.Micros(t.ExpiredAt),
		State:     ram.StateOf(t.IsActive, t.Kind == ServiceToken, isSpecial),
	}, t)
}

// judge returns the token's own limits, or the reason why its key is not valid for r.
func (g *Guard) judge(r *http.Request, d *decision) (own []Limit, why Reason) {
	token, at := d.token, d.at.UnixMicro()
	switch {
	case d.cause != nil:
		return nil, ReasonStore
	case token == nil:
		return nil, ReasonUnknown
	}
	state := token.State() // before the expiry: see ram.Entry.Replace
	expired := token.Expired(at)
	special := &noToken
	if state&ram.Special != 0 { // one update may revoke a token and take its networks and limits away
		body := token.Body()
		state, expired, special = body.State, body.Expired(at), peek(body)
	}
	switch {
	case state&ram.Active == 0:
		return nil, ReasonInactive
	case expired:
		return nil, ReasonExpired
	case !g.isInNetworks(r, special.Networks):
		return nil, ReasonNetwork
	}
	return special.Limits, ""
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

// peek returns the token of the body of an entry that was Special, to be read only.
func peek(b *ram.Body[Token]) *Token {
	if b.Full != nil {
		return b.Full
	}
	return &noToken // an update has taken its limits and networks away meanwhile
}

var noToken Token

// copyOf returns a copy of a token, as it is now; the zero Token of nil.
func (g *Guard) copyOf(e *entry) Token {
	if e == nil {
		return Token{}
	}
	full := e.Body().Full
	if full == nil {
		return g.memory.Token(e)
	}
	t := full.Clone()
	t.LastUsed = ram.Time(e.LastUsed())
	return t
}

// use notes a use of a token.
func (g *Guard) use(e *entry, at clock.Instant) {
	if !e.IsCopy() {
		e.TouchCoarsely(at.UnixMicro())
		return
	}
	if full := e.Body().Full; full != nil {
		g.lastUsed.Record(full.ID, at.UnixMicro())
		return
	}
	g.lastUsed.Record(g.memory.ID(e), at.UnixMicro())
}

// terms are the limits of a kind. If they are one steady limit, first and inMemory hold it
// for a limiter in memory.
type terms struct {
	limits   []Limit // not resolved: if Options.Charge changes a Rate, an open Burst follows it
	first    Limit   // resolved
	inMemory ram.Limit
}

func newTerms(limits []Limit) terms {
	t := terms{limits: limits}
	if isSingle(limits) {
		t.first, t.inMemory = limits[0].Resolve(), limits[0].inMemory()
	}
	return t
}

// isSingle reports whether limits are one steady limit, so that the bucket beside the token
// serves them.
func isSingle(limits []Limit) bool {
	return len(limits) == 1 && limits[0].Calendar == "" && limits[0].Rate > 0
}

// inMemory returns l, which is valid and single, in the form of a limiter in memory.
func (l Limit) inMemory() ram.Limit {
	t := l.Resolve().terms()
	return ram.Limit{Term: ram.Term{Name: l.Name, Window: t.Window()}, Terms: t}
}

func (g *Guard) termsOf(e *entry) *terms {
	if e.State()&ram.Service != 0 {
		return &g.services
	}
	return &g.apiKeys
}

// charge takes the cost of a request from the buckets of its payer, under the token's own
// limits or those of its kind, and returns who has paid.
func (g *Guard) charge(
	ctx context.Context, r *http.Request, d *decision, own []Limit, cost int,
) (result Result, payer string, err error) {
	e, of, limits := d.token, g.termsOf(d.token), own
	if len(own) == 0 {
		limits = of.limits
		if g.buckets != nil && g.options.Charge == nil && isSingle(limits) {
			return g.takeInMemory(e, e.Payer(), of.first, of.inMemory, cost, d.at), e.Payer(), nil
		}
	}
	c := charges.Get().(*pooledCharge)
	defer c.release()
	c.Charge = Charge{Bucket: e.Payer(), Limits: append(c.limits[:0], limits...), Cost: cost}
	if g.options.Charge != nil {
		c.token = g.copyOf(e)
		id, user, workspace := c.token.ID, c.token.User, c.token.Workspace // before Charge can change them
		g.options.Charge(r, &c.token, &c.Charge)
		if c.Bucket != e.Payer() && !name.MayPay(c.Bucket, id, user, workspace) {
			return Result{}, "", fmt.Errorf("%w: Bucket is %q, which names no payer of this token; "+
				"names of your own need another beginning", ErrInvalidLimit, c.Bucket)
		}
		if cost == 0 { // Admit only looks
			c.Cost = 0
		}
	}
	result, err = g.ask(ctx, e, &c.Charge, d.at)
	return result, c.Bucket, err
}

// ask validates a charge, since a store or Options.Charge may have made it invalid, and
// calls the limiter.
func (g *Guard) ask(ctx context.Context, e *entry, c *Charge, at clock.Instant) (Result, error) {
	if len(c.Limits) == 0 {
		return Result{Allowed: true}, nil
	}
	if err := c.Validate(); err != nil || c.Forced {
		return Result{}, cmp.Or(err, errForced)
	}
	if g.buckets != nil && isSingle(c.Limits) {
		return g.takeInMemory(e, c.Bucket, c.Limits[0].Resolve(), c.Limits[0].inMemory(), c.Cost, at), nil
	}
	return g.limiter.Allow(ctx, c)
}

var errForced = fmt.Errorf("%w: Forced is for Admission.Charge, Options.Charge must not set it", ErrInvalidLimit)

// takeInMemory takes from the bucket beside the token.
func (g *Guard) takeInMemory(e *entry, payer string, l Limit, in ram.Limit, cost int, at clock.Instant) Result {
	r := g.buckets.TakeIn(e.Slot(), payer, in, int64(cost), at.Elapsed)
	l.Burst = int(r.Burst)
	return Result{
		Allowed:    r.Allowed,
		Limit:      l,
		Remaining:  int(r.Remaining),
		ResetAfter: time.Duration(r.ResetAfter) * time.Microsecond,
		RetryAfter: time.Duration(r.RetryAfter) * time.Microsecond,
	}
}

// charges are reused, since a limiter's argument escapes to the heap.
var charges = sync.Pool{New: func() any { return new(pooledCharge) }}

type pooledCharge struct {
	Charge
	limits [maxLimits]Limit
	token  Token
}

func (c *pooledCharge) release() {
	c.token, c.Charge = Token{}, Charge{}
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
		token := g.copyOf(d.token)
		g.observe(ctx, &Event{Type: event, Reason: d.reason, Token: token, Result: d.result, Request: r, Err: d.cause})
	}
}

// admit reports the admission and returns the context of the admitted request, with room for
// a header value if that is not shared.
func (g *Guard) admit(ctx context.Context, r *http.Request, d *decision) (in *admitted, own *answer.Own) {
	g.tell(ctx, r, d)
	if d.result.Remaining < answer.Countdown {
		in = new(admitted)
	} else {
		both := new(struct {
			admitted
			own answer.Own
		})
		in, own = &both.admitted, &both.own
	}
	in.Context, in.guard, in.token, in.payer, in.result = ctx, g, d.token, d.payer, d.result
	return in, own
}

// admitted is the context of an admitted request. A context of its own type
// saves the allocation of a value beside it.
type admitted struct {
	context.Context
	guard  *Guard // nil: NewContext made the context
	token  *entry
	payer  string
	result Result
	line   *string // of the header that held the key; nil: Admit made the context
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
	return &Admission{a.guard.copyOf(a.token), result, a.guard, a.payer, result.limits()}
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
// if no Guard has admitted it. The token is a copy, which a handler may change. If the
// store holds its tokens in memory, the copy shows the present state of the token, not the
// state at admission.
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
	return &admitted{Context: ctx, token: fill(new(ram.Whole[Token]), t.Clone())}
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
				in.guard.refuse(w, r, &decision{token: in.token, reason: reason})
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

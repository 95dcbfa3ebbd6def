package httpkey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/httpkey/httpkey/internal/address"
	"github.com/httpkey/httpkey/internal/answer"
	"github.com/httpkey/httpkey/internal/budget"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/failures"
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
	return g.CheckCost(w, r, 1)
}

// CheckCost is [Guard.Check] for requests of another cost. A cost of 0 takes nothing and is no
// use of the token: the response shows the limits as they are. Costs that depend on more than
// the route belong in [Options.Charge], which may change this one, unless it is 0.
func (g *Guard) CheckCost(w http.ResponseWriter, r *http.Request, cost int) (*http.Request, bool) {
	key, reason := g.extract(r)
	if reason != ReasonMalformed && g.hasAdmitted(r, key) {
		return r, true
	}
	d := decision{reason: reason}
	switch {
	case cost < 0:
		d = decision{reason: ReasonLimiter, cause: errNegativeCost}
	case reason == "":
		d = g.decide(r.Context(), r, key, cost)
	case reason == ReasonMissing && g.options.Anonymous != nil:
		d = g.decideWithoutKey(r, cost, g.options.Anonymous)
		d.token = g.sessionIn(r.Context())
	}
	if cost > 0 {
		d.checked = &r.Header
	}
	return g.conclude(w, r, &d)
}

// LimitBy returns a middleware that limits requests without looking at their keys, such as those of
// a login page, or all of an address. The function charge receives a Cost of 1, no limits, and
// the client's address as the Bucket: "anonymous:203.0.113.7", or "anonymous:2001:db8::/64" for
// all addresses of such a network. It adds the limits, and may change the rest:
//
//	guard.LimitBy(func(r *http.Request, c *httpkey.Charge) {
//		c.Limits = []httpkey.Limit{httpkey.PerMinute(10)}
//	})
//
// The headers and the refusals are those of [Guard.Handler]. Limits of one payer with the same Name
// and window share a bucket, so give a limit a Name if it must not share. A handler may give the
// cost back by [AdmissionFrom], for example after a login that succeeded. LimitBy panics if charge
// is nil.
func (g *Guard) LimitBy(charge func(*http.Request, *Charge)) func(http.Handler) http.Handler {
	if charge == nil {
		panic("httpkey: LimitBy needs a function that sets the limits of a request")
	}
	always := func(r *http.Request, c *Charge) bool {
		charge(r, c)
		return true
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d := g.decideWithoutKey(r, 1, always)
			if in := admittedIn(r.Context()); in != nil {
				if d.reason == "" && d.result.Limit == (Limit{}) { // no limit: the admission stays that of in
					next.ServeHTTP(w, r)
					return
				}
				d.token = in.viewFor(g)
				d.again = in.has(&d.token)
				if in.guard == g {
					d.checked = in.checked
				}
			}
			if r, ok := g.conclude(w, r, &d); ok {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// conclude answers a refused request, or returns an admitted one with its admission.
func (g *Guard) conclude(w http.ResponseWriter, r *http.Request, d *decision) (*http.Request, bool) {
	if d.reason != "" {
		answer.ClearQuota(w.Header()) // of limits in front, which have not refused the request
		g.setHeaders(w.Header(), d, nil)
		g.refuse(w, r, d)
		return r, false
	}
	in := g.admit(r.Context(), r, d)
	in.checked = d.checked
	g.setHeaders(w.Header(), d, &in.remaining)
	if h := w.Header(); h["Cache-Control"] == nil {
		h["Cache-Control"] = private
	}
	return r.WithContext(in), true
}

// hasAdmitted reports whether g has admitted this very request before. A request that was
// derived from an admitted one has its context, but a header of its own. If they share the
// header, Options.Anonymous still decides about its path.
func (g *Guard) hasAdmitted(r *http.Request, key string) bool {
	in := admittedIn(r.Context())
	switch {
	case in == nil || in.guard != g || !in.hasChecked(r.Header):
		return false
	case key == "": // a session's token has no digest
		c := g.chargeWithoutKey(r, 0)
		return in.token.Digest == Digest{} && g.options.Anonymous != nil && g.options.Anonymous(r, &c)
	}
	return slices.ContainsFunc(g.digesters, func(digest keyformat.Digester) bool { return in.token.Digest == digest(key) })
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

var errNegativeCost = fmt.Errorf("%w: the cost of a request must not be negative", ErrInvalidLimit)

// Verify returns the token of a secret that did not come in a request header. It calls no
// limiter, but notes a use of the token. Otherwise it behaves as [Guard.Admit].
func (g *Guard) Verify(ctx context.Context, secret string) (Token, error) {
	d, err := g.check(ctx, secret, noCharge)
	if err != nil {
		return Token{}, err
	}
	g.use(&d)
	g.tell(ctx, EventAdmitted, nil, &d)
	return g.copyOf(&d.token), nil
}

// check decides without a request, and reports a refusal to the Observers.
func (g *Guard) check(ctx context.Context, secret string, cost int) (decision, error) {
	d := decision{reason: g.shape(secret)}
	if d.reason == "" {
		d = g.decide(ctx, nil, secret, cost)
	}
	if d.reason != "" {
		g.tell(ctx, EventRefused, nil, &d)
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
	cost   int           // of the request
	noted  bool          // the token's record has noted the use
	again  bool          // it is that of a LimitBy, about a request that a Guard has admitted with the token
	reason Reason        // why the request is refused; empty: it is not
	cause  error         // the error of the store or the limiter
	scopes *scopes       // that a Require function demands

	checked *http.Header // of the request that is charged; see admitted
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
	var a failures.Attempt
	if g.failures != nil && r != nil && !d.token.Exists() && !ram.Holds(g.memory, g.digesters, key) {
		if a = g.failures.Begin(g.clientAddr(r), g.digesters[0](key)); !a.Allowed {
			d.reason = ReasonFailures
			d.result.RetryAfter = time.Duration(a.RetryAfter) * time.Microsecond
			return d
		}
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
	switch {
	case !a.Allowed || reason == ReasonStore:
	case reason == "":
		a.Succeeded()
	default:
		a.Failed()
	}
	if d.reason = reason; reason != "" || cost == noCharge {
		return d
	}
	if t := g.termsOf(&d.token); t.beside != nil && len(own) == 0 && d.token.IsHeld() {
		d.result, d.cost, d.noted = t.take(&d.token, cost, d.at), cost, true
	} else {
		d.result, d.payer, d.cost, d.cause = g.charge(ctx, r, &d, own, cost)
	}
	if g.waits {
		d.at = g.clock.Now()
	}
	if d.reason = d.verdict(); d.reason != ReasonLimiter && cost != 0 {
		g.use(&d)
	}
	return d
}

// verdict returns why the limiter's answer refuses the request, or an empty Reason.
func (d *decision) verdict() Reason {
	switch {
	case d.cause != nil:
		return ReasonLimiter
	case d.result.Allowed:
		return ""
	case d.result.never():
		return ReasonLimit
	}
	return ReasonThrottled
}

// decideWithoutKey takes a request through its limits alone. The function admits fills in the
// charge; the request is refused if it returns false.
func (g *Guard) decideWithoutKey(r *http.Request, cost int, admits func(*http.Request, *Charge) bool) decision {
	d := decision{at: g.clock.Now()}
	c := charges.Get().(*pooledCharge)
	defer c.release()
	c.Charge = g.chargeWithoutKey(r, cost)
	c.Limits = c.limits[:0]
	if !admits(r, &c.Charge) {
		d.reason = ReasonMissing
		return d
	}
	if cost == 0 {
		c.Cost = 0
	}
	b := budget.New(r.Context(), g.options.Timeout)
	defer b.End()
	if !name.MayPayWithoutKey(c.Bucket) {
		d.cause = fmt.Errorf("%w: Bucket is %q, which is empty, reserved, or that of a token", ErrInvalidLimit, c.Bucket)
	} else {
		d.result, d.cause = g.ask(b, &c.Charge)
	}
	d.payer, d.cost, d.at = c.Bucket, c.Cost, g.clock.Now()
	d.reason = d.verdict()
	return d
}

// chargeWithoutKey returns the charge of a request by its address, without limits.
func (g *Guard) chargeWithoutKey(r *http.Request, cost int) Charge {
	return Charge{Bucket: address.Payer(g.clientAddr(r)), Cost: cost}
}

// extract returns the only key of the request, or the reason why the Guard refuses the request.
func (g *Guard) extract(r *http.Request) (key string, reason Reason) {
	for _, source := range g.options.Sources {
		values := source(r)
		if len(values) > 1 {
			return "", ReasonMalformed
		}
		if len(values) == 1 {
			value := keyformat.TrimBlanks(values[0])
			if key != "" && value != "" && value != key {
				return "", ReasonMalformed
			}
			key = cmp.Or(value, key)
		}
	}
	return key, g.shape(key)
}

// KeyOf returns the key of a request, which the Guard finds as [Guard.Check] does, for handlers in
// front of it. It returns false if there is no key, or if it is malformed, or not the only one. A
// key may be unknown all the same.
func (g *Guard) KeyOf(r *http.Request) (key Secret, ok bool) {
	found, why := g.extract(r)
	if why != "" {
		return "", false
	}
	return Secret(found), true
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
// known is false, only the store or Options.Adopt can tell.
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
	return token, known && g.options.Adopt == nil
}

// lookup holds the budget of a Lookup and the token that it finds in one object, to save
// an allocation.
type lookup struct {
	budget.Budget
	found Token
}

// lookup finds the token of a key in the store, or adopts it; it returns the zero view if there
// is none.
func (g *Guard) lookup(l *lookup, key string) (v view, err error) {
	l.found, err = g.find(&l.Budget, ram.HeldFirst(g.memory, g.digesters, key), key)
	if errors.Is(err, ErrNotFound) && g.options.Adopt != nil {
		l.found, err = g.adopt(&l.Budget, key)
		l.Renew(g.options.Timeout)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return view{}, nil
	case err != nil:
		return view{}, err
	}
	return viewOf(&l.found), nil
}

// find returns the token of a key under one of the digesters, or ErrNotFound.
func (g *Guard) find(ctx context.Context, digesters []keyformat.Digester, key string) (Token, error) {
	for _, digest := range digesters {
		d := Digest(digest(key))
		token, err := g.store.Lookup(ctx, d)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return Token{}, err
		// A store that folds case or compares prefixes must not admit a wrong key.
		case keyformat.Equal(token.Digest, d):
			return token, nil
		}
	}
	return Token{}, ErrNotFound
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
	addr := g.clientAddr(r)
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// clientAddr returns the client's address, or the invalid address.
func (g *Guard) clientAddr(r *http.Request) netip.Addr {
	return g.options.ClientAddr(r).Unmap().WithZone("")
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
	switch isAny, denies := r.dryRun(); {
	case denies:
		h["X-Ratelimit-Dry-Run"] = denied
	case isAny:
		h["X-Ratelimit-Dry-Run"] = allowed
	}
}

// refuse reports a refusal and answers it.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, d *decision) {
	g.tell(r.Context(), EventRefused, r, d)
	g.writeError(w, r, d.error())
}

// writeError answers a refusal, through the ErrorHandler if there is one.
func (g *Guard) writeError(w http.ResponseWriter, r *http.Request, e Error) {
	if status := e.Status(); status == http.StatusUnauthorized || status == http.StatusServiceUnavailable {
		answer.ClearQuota(w.Header())
	}
	setRefusalHeaders(w.Header(), &e)
	if g.readsBearer {
		setBearerChallenge(w.Header(), &e)
	}
	if g.options.ErrorHandler != nil {
		answer.Unshare(w.Header())
		g.options.ErrorHandler(w, r, e)
		return
	}
	writeDetail(w, r, &e)
}

func (d *decision) error() Error {
	return Error{reason: d.reason, result: d.result, cause: d.cause, scopes: d.scopes}
}

// admit reports the admission and returns the context of the admitted request.
func (g *Guard) admit(ctx context.Context, r *http.Request, d *decision) *admitted {
	g.tell(ctx, EventAdmitted, r, d)
	if _, denies := d.result.dryRun(); denies {
		g.tell(ctx, EventDryRun, r, d)
	}
	in := newAdmitted(ctx, &d.token)
	in.guard, in.payer, in.result, in.again = g, d.payer, d.result, d.again
	return in
}

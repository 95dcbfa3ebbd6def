package httpkey

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"

	"github.com/httpkey/httpkey/internal/answer"
	"github.com/httpkey/httpkey/internal/budget"
)

// admitted is the context of an admitted request. A context of its own type
// saves the allocation of a value beside it.
type admitted struct {
	context.Context
	guard   *Guard // nil: NewContext made the context
	token   *view  // fmt would print the digest of a view that is no pointer
	payer   string // empty: the token's own
	result  Result
	again   bool         // it is that of a LimitBy behind a Guard
	checked *http.Header // of the request that a Guard has charged, a pointer so that nothing prints the key; nil: none

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

// hasChecked reports whether h is the very header of the charged request, and no copy.
func (a *admitted) hasChecked(h http.Header) bool {
	return h != nil && a.checked != nil && reflect.ValueOf(*a.checked).Pointer() == reflect.ValueOf(h).Pointer()
}

// viewFor returns the token as a Guard sees it, which may be another than that of a.
func (a *admitted) viewFor(g *Guard) view {
	if a.guard == g || !a.token.Exists() {
		return *a.token
	}
	t := a.guard.copyOf(a.token)
	return viewOf(&t)
}

// has reports whether a is the admission of this token's key. A session's token has no key.
func (a *admitted) has(token *view) bool {
	return a != nil && token.Digest != (Digest{}) && a.token.Digest == token.Digest
}

// sessionIn returns the token of g's NewContext. A token of a key is none of a request without one.
func (g *Guard) sessionIn(ctx context.Context) view {
	if in := admittedIn(ctx); in != nil && in.guard == g && in.token.Digest == (Digest{}) {
		return *in.token
	}
	return view{}
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
	return &Admission{a.guard.copyOf(a.token), result, a.guard, a.payerOf(), result.limits(), a.again}
}

// payerOf returns the payer, or an empty name if there is none.
func (a *admitted) payerOf() string {
	if a.payer == "" && a.token.Exists() {
		return payerOf(a.token)
	}
	return a.payer
}

// limits returns those that r is about.
func (r *Result) limits() (limits []Limit) {
	for _, one := range r.each() {
		limits = append(limits, one.Limit)
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
	if in == nil || !in.token.Exists() {
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

// NewContext returns a context in which FromContext finds t, for requests that the program
// has authenticated by itself, such as those of a session. So one route may serve keys and
// sessions: the Require functions decide on t as on the token of a key, and refuse through
// [Options.ErrorHandler]. A Token without ID and User says that nobody is signed in: FromContext
// finds none, and the Require functions answer 401. NewContext applies no limit. The admission
// of this Guard stays, if there is one, with its payer and with t as its Token.
func (g *Guard) NewContext(ctx context.Context, t Token) context.Context {
	var token view
	if t.ID != "" || t.User != "" {
		t = t.Clone()
		token = viewOf(&t)
	}
	in := newAdmitted(ctx, &token)
	in.guard = g
	if outer := admittedIn(ctx); outer != nil && outer.guard == g {
		in.payer, in.result = outer.payerOf(), outer.result
	}
	return in
}

// Admission is a request that a Guard has admitted.
type Admission struct {
	Token  Token  // a copy; the zero Token of a request without a key
	Result Result // what the limiter decided; the zero Result where there is no limit

	guard  *Guard
	payer  string
	limits []Limit // that were charged
	again  bool    // it is that of a LimitBy behind a Guard
}

// Format prints the token, with its digest redacted, and the result. Without Format, some
// verbs would print the digest of an *Admission.
func (a Admission) Format(f fmt.State, verb rune) {
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), [...]any{a.Token, a.Result})
}

// Grants reports whether the token has the scope, or [Options.ScopeImplies] grants it, as in
// [RequireScope]. It serves programs without net/http, and handlers that only show more.
func (a *Admission) Grants(scope string) bool { return a.guard.grants(a.Token.Scopes, scope) }

// AdmissionFrom returns the admission of the request that ctx belongs to, and false if no
// Guard has admitted it. Behind [Guard.LimitBy] it is that of the innermost one.
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
	if a.guard == nil {
		return nil
	}
	if len(a.limits) > 0 {
		b := budget.New(ctx, a.guard.options.Timeout)
		defer b.End()
		c := Charge{Bucket: a.payer, Limits: a.limits, Cost: n, Forced: true}
		if _, err := a.guard.limiter.Allow(b, &c); err != nil {
			return fmt.Errorf("httpkey: charge %d: %w", n, err)
		}
	}
	a.guard.observe(ctx, &Event{Type: EventCharged, Token: a.Token, Cost: n, Again: a.again})
	return nil
}

package httpkey

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/httpkey/httpkey/internal/ram"
)

// Observer receives the events of a Guard: the outcome of every request and its
// reason, every change of a token, and every failure in the background.
//
// An Observer may also have the method Enabled(context.Context, EventType) bool, like
// [slog.Handler]. A Guard does not make events for which Enabled returns false.
//
// An Observer that has the method OnlyIDs() bool, and returns true from it, gets less: the Token of an
// event about a request has only its ID and its Kind, and the Event is the Observer's only until
// Observe returns. Such events cost a request no allocation. New calls OnlyIDs once.
//
// A request that a Guard admits and a Require function then refuses makes two events. So does one
// that passes a Guard and a [Guard.LimitBy]. The field Again of the second one is true.
type Observer interface {
	// Observe is told of one event. It runs on the path of the request: it must
	// be quick, must not panic, and is called from many goroutines at once. No event holds
	// a digest, nor a secret beside the header of its Request. ctx is the request's; it may
	// be canceled. The Event is the Observer's own.
	Observe(ctx context.Context, e *Event)
}

// EventType says what happened.
type EventType string

// The types of events, with the fields that they have.
const (
	EventAdmitted    EventType = "admitted"     // a Guard admitted a request or a key; Token, Result, Cost, Request
	EventRefused     EventType = "refused"      // Reason; Token, Result and Request as far as known; Err of a failure
	EventDryRun      EventType = "dry_run"      // a limit under DryRun has no room; Token, Result, Request
	EventCharged     EventType = "charged"      // Admission.Charge took Cost more, or gave it back; Token
	EventIssued      EventType = "issued"       // a token was created or imported; Token
	EventRotated     EventType = "rotated"      // Token is the successor
	EventRevoked     EventType = "revoked"      // Token
	EventWeakKey     EventType = "weak_key"     // a key of fewer than 32 characters was imported without a pepper; Token
	EventLimiterDown EventType = "limiter_down" // from now on the fallback decides; Err
	EventLimiterUp   EventType = "limiter_up"   // the limiter decides again
	EventFlushFailed EventType = "flush_failed" // uses were not written, and stay pending or are lost; Err
)

// Event is one event for an [Observer]. Fields that do not apply are zero.
type Event struct {
	Type    EventType     // what happened
	Reason  Reason        // why, if Type is EventRefused
	Token   Token         // without its digest; the zero Token if none is known
	Result  Result        // the limiter's decision
	Request *http.Request // the client's, with the key in its header; nil without HTTP
	Err     error         // the store's or the limiter's error
	Cost    int           // what the request costs; also without a limit; 0 in a Verify
	Again   bool          // a Guard has told of this request before, and admitted it with the same key

	MissingScopes []string // if Reason is ReasonScope
}

// Format prints e's fields without the Request, because some verbs would show its header.
func (e Event) Format(f fmt.State, verb rune) {
	type fields Event
	e.Request = nil
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(e))
}

// observer is one of Options.Observers, with what its optional methods say.
type observer struct {
	Observer
	wants   func(context.Context, EventType) bool
	onlyIDs bool // it needs no more of tokens, and keeps no events
}

func observersOf(all []Observer) (observers []observer) {
	for _, o := range all {
		wants := func(context.Context, EventType) bool { return true }
		if choosy, ok := o.(interface {
			Enabled(context.Context, EventType) bool
		}); ok {
			wants = choosy.Enabled
		}
		modest, ok := o.(interface{ OnlyIDs() bool })
		observers = append(observers, observer{o, wants, ok && modest.OnlyIDs()})
	}
	return observers
}

// lentEvents are those of observers that keep none.
var lentEvents = sync.Pool{New: func() any { return new(Event) }}

// tell reports a decision to each observer that wants such events, in an Event of its own.
func (g *Guard) tell(ctx context.Context, t EventType, r *http.Request, d *decision) {
	for _, o := range g.observers {
		if o.wants(ctx, t) {
			e, refusal := g.newEvent(o.onlyIDs, &d.token), d.error()
			e.Type, e.Reason, e.Result, e.Request, e.Err = t, d.reason, d.result, r, d.cause
			e.MissingScopes, e.Again = refusal.MissingScopes(), t != EventDryRun && admittedIn(ctx).has(&d.token)
			if t == EventAdmitted {
				e.Cost = d.cost
			}
			o.Observe(ctx, e)
			if o.onlyIDs {
				*e = Event{}
				lentEvents.Put(e)
			}
		}
	}
}

// newEvent returns an event about a token. One of onlyIDs is lent.
func (g *Guard) newEvent(onlyIDs bool, v *view) *Event {
	if !onlyIDs {
		e := &Event{Token: g.copyOf(v)}
		e.Token.Digest = Digest{}
		return e
	}
	e := lentEvents.Get().(*Event)
	switch {
	case v.IsHeld():
		e.Token.ID, e.Token.Kind = v.Text().ID(), APIKey
		if v.State&ram.Service != 0 {
			e.Token.Kind = ServiceToken
		}
	case v.Exists():
		e.Token.ID, e.Token.Kind = v.Full.ID, v.Full.Kind
	}
	return e
}

func (g *Guard) observe(ctx context.Context, e *Event) {
	for _, o := range g.observers {
		if o.wants(ctx, e.Type) {
			own := *e
			own.Token = e.Token.Clone()
			own.Token.Digest = Digest{}
			o.Observe(ctx, &own)
		}
	}
}

// SlogObserver returns an Observer that writes to logger: failures at level Error, weak
// keys at Warn, refusals and changes of tokens at Info, and admissions at Debug. It identifies a
// token by its ID.
func SlogObserver(logger *slog.Logger) Observer { return slogObserver{logger} }

type slogObserver struct{ logger *slog.Logger }

// Enabled reports whether the logger writes at the highest level that the event may have.
func (o slogObserver) Enabled(ctx context.Context, t EventType) bool {
	level := slog.LevelError // other events may be failures; Observe checks the level again
	switch t {
	case EventAdmitted, EventCharged:
		level = slog.LevelDebug
	case EventDryRun, EventIssued, EventRotated, EventRevoked, EventLimiterUp:
		level = slog.LevelInfo
	case EventWeakKey:
		level = slog.LevelWarn
	}
	return o.logger.Enabled(ctx, level)
}

func (o slogObserver) Observe(ctx context.Context, e *Event) {
	level := slog.LevelInfo
	switch {
	case e.Err != nil:
		level = slog.LevelError
	case e.Type == EventAdmitted, e.Type == EventCharged:
		level = slog.LevelDebug
	case e.Type == EventWeakKey:
		level = slog.LevelWarn
	}
	if !o.logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(e.Reason)))
	}
	if e.Token.ID != "" {
		attrs = append(attrs,
			slog.String("token", e.Token.ID),
			slog.String("kind", string(e.Token.Kind)),
			slog.String("user", e.Token.User),
			slog.String("workspace", e.Token.Workspace))
	}
	if len(e.MissingScopes) > 0 {
		attrs = append(attrs, slog.Any("missing_scopes", e.MissingScopes))
	}
	if e.Type == EventRotated {
		attrs = append(attrs, slog.String("rotated_from", e.Token.RotatedFrom))
	}
	if e.Type == EventRevoked && e.Token.RevokedFor != "" {
		attrs = append(attrs, slog.String("revoked_for", e.Token.RevokedFor))
	}
	if e.Type == EventRevoked && e.Token.RevokedBy != "" {
		attrs = append(attrs, slog.String("revoked_by", e.Token.RevokedBy))
	}
	if e.Result.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.Result.RetryAfter))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	o.logger.LogAttrs(ctx, level, "httpkey: "+string(e.Type), attrs...)
}

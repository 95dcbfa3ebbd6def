package httpkey

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
)

// Observer is told of everything a Guard does: every request's outcome and its
// reason, every change of a token, every failure in the background.
//
// An Observer may have the method Enabled(context.Context, EventType) bool, as
// [slog.Handler] has. It is not told of an event for which that returns false, and the
// event costs nothing then.
//
// A request that a Guard admits and a Require function then refuses makes two events.
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
	EventAdmitted    EventType = "admitted"     // a request passed, or Admit or Verify a key; Token, Result, Request
	EventRefused     EventType = "refused"      // Reason; Token, Result and Request as far as known; Err of a failure
	EventIssued      EventType = "issued"       // a token was created or imported; Token
	EventRotated     EventType = "rotated"      // Token is the successor
	EventRevoked     EventType = "revoked"      // Token
	EventLimiterDown EventType = "limiter_down" // from now on the fallback decides; Err
	EventLimiterUp   EventType = "limiter_up"   // the limiter decides again
	EventFlushFailed EventType = "flush_failed" // uses could not be written, and are kept for the next time or lost; Err
)

// Event is what an [Observer] is told. Fields that do not apply are zero.
type Event struct {
	Type    EventType     // what happened
	Reason  Reason        // why, if Type is EventRefused
	Token   Token         // without its digest; the zero Token where none is known
	Result  Result        // the limiter's decision
	Request *http.Request // as it came; its header holds the key
	Err     error         // the store's or the limiter's error
}

// Format prints e's fields without the Request, whose header some verbs would show.
func (e Event) Format(f fmt.State, verb rune) {
	type fields Event
	e.Request = nil
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(e))
}

// observedBy returns which events an observer is to be told of.
func observedBy(o Observer) func(context.Context, EventType) bool {
	if o == nil {
		return func(context.Context, EventType) bool { return false }
	}
	if choosy, ok := o.(interface {
		Enabled(context.Context, EventType) bool
	}); ok {
		return choosy.Enabled
	}
	return func(context.Context, EventType) bool { return true }
}

func (g *Guard) observe(ctx context.Context, e *Event) {
	if !g.observes(ctx, e.Type) {
		return
	}
	e.Token = e.Token.Clone()
	e.Token.Digest = Digest{}
	g.options.Observer.Observe(ctx, e)
}

// SlogObserver returns an Observer that writes to logger: failures as errors,
// refusals and changes of tokens as information, and what passed as debug
// messages. It names tokens by their ID.
func SlogObserver(logger *slog.Logger) Observer { return slogObserver{logger} }

type slogObserver struct{ logger *slog.Logger }

// Enabled reports whether the logger writes the most severe that an event may be.
func (o slogObserver) Enabled(ctx context.Context, t EventType) bool {
	level := slog.LevelError // others may be failures; Observe looks again
	switch t {
	case EventAdmitted:
		level = slog.LevelDebug
	case EventIssued, EventRotated, EventRevoked, EventLimiterUp:
		level = slog.LevelInfo
	}
	return o.logger.Enabled(ctx, level)
}

func (o slogObserver) Observe(ctx context.Context, e *Event) {
	level := slog.LevelInfo
	switch {
	case e.Err != nil && e.Reason != ReasonCanceled:
		level = slog.LevelError
	case e.Type == EventAdmitted:
		level = slog.LevelDebug
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
	if e.Type == EventRotated {
		attrs = append(attrs, slog.String("rotated_from", e.Token.RotatedFrom))
	}
	if e.Type == EventRevoked && e.Token.RevokedFor != "" {
		attrs = append(attrs, slog.String("revoked_for", e.Token.RevokedFor))
	}
	if e.Reason == ReasonThrottled {
		attrs = append(attrs, slog.Duration("retry_after", e.Result.RetryAfter))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	o.logger.LogAttrs(ctx, level, "httpkey: "+string(e.Type), attrs...)
}

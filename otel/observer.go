package otelkey

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/telemetry"
)

// Options configure an [Observer]. The zero value, and nil, record metrics alone.
type Options struct {
	// SpanEvents adds the event httpkey.admitted or httpkey.refused to the span of a request. It
	// has the token's ID as enduser.pseudo.id, and the kind and the reason. A span that is not
	// recorded gets none.
	SpanEvents bool
}

// Observer is an [httpkey.Observer] that records metrics. Make one with [New], for any number of
// Guards, caches and Watchers; it is safe for concurrent use. It implements the optional methods
// Enabled and OnlyIDs, so a Guard makes only the events that count, without an allocation.
type Observer struct {
	options   Options
	requests  counts[telemetry.Request]
	decisions counts[telemetry.Decision]
	down      metric.Int64UpDownCounter
	failures  metric.Int64Counter
}

var _ httpkey.Observer = (*Observer)(nil)

// counts is a counter with the attributes of its series.
type counts[K comparable] struct {
	counter metric.Int64Counter
	series  telemetry.Series[K, []metric.AddOption]
}

func (c *counts[K]) add(ctx context.Context, key K) { c.counter.Add(ctx, 1, c.series.Of(key)...) }

// New returns an Observer whose metrics belong to a provider, such as that of
// otel.GetMeterProvider. Nil opts mean the defaults. The error is the provider's. New panics if the
// provider is nil.
func New(provider metric.MeterProvider, opts *Options) (*Observer, error) {
	if provider == nil {
		panic("httpkey: otelkey.New needs a MeterProvider, as otel.GetMeterProvider() returns it")
	}
	o := &Observer{}
	if opts != nil {
		o.options = *opts
	}
	o.requests.series.Make = func(r telemetry.Request) []metric.AddOption {
		return attributes("httpkey.result", r.Result, "httpkey.reason", r.Reason, "httpkey.token.kind", r.Kind,
			"http.route", r.Route)
	}
	o.decisions.series.Make = func(d telemetry.Decision) []metric.AddOption {
		return attributes("httpkey.policy", d.Policy, "httpkey.result", d.Result)
	}
	meter := provider.Meter("github.com/httpkey/httpkey/otel")
	var errs [4]error
	o.requests.counter, errs[0] = meter.Int64Counter("httpkey.requests", metric.WithUnit("{request}"),
		metric.WithDescription("Requests that a Guard admitted or refused."))
	o.decisions.counter, errs[1] = meter.Int64Counter("httpkey.rate_limiting.requests", metric.WithUnit("{request}"),
		metric.WithDescription("Requests by the decision of the limit that binds."))
	o.down, errs[2] = meter.Int64UpDownCounter("httpkey.components.down", metric.WithUnit("{component}"),
		metric.WithDescription("Limiters, stores and feeds that are down now."))
	o.failures, errs[3] = meter.Int64Counter("httpkey.last_used.failures", metric.WithUnit("{failure}"),
		metric.WithDescription("Writes of last_used that failed or lost uses."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, component := range telemetry.Components { // so that 0 is seen before the first outage
		o.down.Add(context.Background(), 0, ofComponent(component))
	}
	o.failures.Add(context.Background(), 0)
	return o, nil
}

// attributes returns those that are not empty, of pairs of a name and a value.
func attributes(pairs ...string) []metric.AddOption {
	return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(keyValues(pairs...)...))}
}

func keyValues(pairs ...string) (all []attribute.KeyValue) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, attribute.String(pairs[i], pairs[i+1]))
		}
	}
	return all
}

func ofComponent(name string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("httpkey.component", name))
}

// Enabled implements the optional method of an [httpkey.Observer].
func (o *Observer) Enabled(_ context.Context, t httpkey.EventType) bool { return telemetry.Counts(t) }

// OnlyIDs implements the optional method of an [httpkey.Observer]: an Observer needs the ID and the
// Kind of a token alone, and keeps no Event.
func (o *Observer) OnlyIDs() bool { return true }

// Observe implements [httpkey.Observer].
func (o *Observer) Observe(ctx context.Context, e *httpkey.Event) {
	if component, change := telemetry.ChangeOf(e.Type); change != 0 {
		o.down.Add(ctx, change, ofComponent(component))
		return
	}
	if e.Type == httpkey.EventFlushFailed {
		o.failures.Add(ctx, 1)
		return
	}
	if r, ok := telemetry.RequestOf(e); ok {
		o.requests.add(ctx, r)
		if o.options.SpanEvents {
			addSpanEvent(ctx, e)
		}
	}
	telemetry.EachDecision(e, func(d telemetry.Decision) { o.decisions.add(ctx, d) })
}

func addSpanEvent(ctx context.Context, e *httpkey.Event) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.AddEvent("httpkey."+string(e.Type), trace.WithAttributes(keyValues(
		"enduser.pseudo.id", e.Token.ID, "httpkey.token.kind", string(e.Token.Kind),
		"httpkey.reason", string(e.Reason))...))
}

package promkey

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/telemetry"
)

// Observer is an [httpkey.Observer] that counts, and a [prometheus.Collector]. Make one with [New],
// for any number of Guards, caches and Watchers, and register it; it is safe for concurrent use.
// It implements the optional methods Enabled and OnlyIDs, so a Guard makes only the events that
// count, without an allocation.
type Observer struct {
	requests  counts[telemetry.Request]
	decisions counts[telemetry.Decision]
	down      *prometheus.GaugeVec
	failures  prometheus.Counter
}

var (
	_ httpkey.Observer     = (*Observer)(nil)
	_ prometheus.Collector = (*Observer)(nil)
)

// counts is a counter with its series.
type counts[K comparable] struct {
	*prometheus.CounterVec
	series telemetry.Series[K, prometheus.Counter]
}

// New returns an Observer, which is not registered yet.
func New() *Observer {
	o := &Observer{
		down: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "httpkey_components_down",
			Help: "Limiters, stores and feeds that are down now.",
		}, []string{"httpkey_component"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "httpkey_last_used_failures_total",
			Help: "Writes of last_used that failed or lost uses.",
		}),
	}
	o.requests.CounterVec = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "httpkey_requests_total",
		Help: "Requests that a Guard admitted or refused.",
	}, []string{"httpkey_result", "httpkey_reason", "httpkey_token_kind", "http_route"})
	o.requests.series.Make = func(r telemetry.Request) prometheus.Counter {
		return o.requests.WithLabelValues(r.Result, r.Reason, r.Kind, valid(r.Route))
	}
	o.decisions.CounterVec = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "httpkey_rate_limiting_requests_total",
		Help: "Requests by the decision of the limit that binds.",
	}, []string{"httpkey_policy", "httpkey_result"})
	o.decisions.series.Make = func(d telemetry.Decision) prometheus.Counter {
		return o.decisions.WithLabelValues(valid(d.Policy), d.Result)
	}
	for _, component := range telemetry.Components { // so that 0 is seen before the first outage
		o.down.WithLabelValues(component)
	}
	return o
}

// valid returns a label value in UTF-8, because Prometheus panics on another.
func valid(value string) string { return strings.ToValidUTF8(value, "\uFFFD") }

func (o *Observer) collectors() []prometheus.Collector {
	return []prometheus.Collector{o.requests.CounterVec, o.decisions.CounterVec, o.down, o.failures}
}

// Describe implements [prometheus.Collector].
func (o *Observer) Describe(descriptions chan<- *prometheus.Desc) {
	for _, c := range o.collectors() {
		c.Describe(descriptions)
	}
}

// Collect implements [prometheus.Collector].
func (o *Observer) Collect(metrics chan<- prometheus.Metric) {
	for _, c := range o.collectors() {
		c.Collect(metrics)
	}
}

// Enabled implements the optional method of an [httpkey.Observer].
func (o *Observer) Enabled(_ context.Context, t httpkey.EventType) bool { return telemetry.Counts(t) }

// OnlyIDs implements the optional method of an [httpkey.Observer]: an Observer needs the ID and the
// Kind of a token alone, and keeps no Event.
func (o *Observer) OnlyIDs() bool { return true }

// Observe implements [httpkey.Observer].
func (o *Observer) Observe(_ context.Context, e *httpkey.Event) {
	if component, change := telemetry.ChangeOf(e.Type); change != 0 {
		o.down.WithLabelValues(component).Add(float64(change))
		return
	}
	if e.Type == httpkey.EventFlushFailed {
		o.failures.Inc()
		return
	}
	if r, ok := telemetry.RequestOf(e); ok {
		o.requests.series.Of(r).Inc()
	}
	telemetry.EachDecision(e, func(d telemetry.Decision) { o.decisions.series.Of(d).Inc() })
}

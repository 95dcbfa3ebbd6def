package otelkey_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/telemetry/causes"
	otelkey "github.com/httpkey/httpkey/otel"
)

// observed is an Observer with the metrics of its own provider.
func observed(t *testing.T, opts *otelkey.Options) (*otelkey.Observer, func() []metricdata.Metrics) {
	t.Helper()
	reader := sdk.NewManualReader()
	o, err := otelkey.New(sdk.NewMeterProvider(sdk.WithReader(reader)), opts)
	if err != nil {
		t.Fatal(err)
	}
	return o, func() (all []metricdata.Metrics) {
		var read metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &read); err != nil {
			t.Fatal(err)
		}
		for _, scope := range read.ScopeMetrics {
			all = append(all, scope.Metrics...)
		}
		return all
	}
}

// Each cause counts once, and has no ID, user or address in a label.
func TestEachCauseCountsOnce(t *testing.T) {
	t.Parallel()
	causes.Run(t, func(t *testing.T) (httpkey.Observer, func() map[string]int) {
		o, read := observed(t, nil)
		return o, func() map[string]int {
			counts := make(map[string]int)
			for _, m := range read() {
				sum := m.Data.(metricdata.Sum[int64])
				for _, p := range sum.DataPoints {
					if p.Value != 0 {
						counts[seriesOf(m.Name, sum.IsMonotonic, p.Attributes)] = int(p.Value)
					}
				}
			}
			return counts
		}
	})
}

// seriesOf returns the name that a Collector gives a series for Prometheus.
func seriesOf(name string, isMonotonic bool, attributes attribute.Set) string {
	name = strings.ReplaceAll(name, ".", "_")
	if isMonotonic {
		name += "_total"
	}
	var labels []string
	for _, kv := range attributes.ToSlice() {
		labels = append(labels, fmt.Sprintf("%s=%q", strings.ReplaceAll(string(kv.Key), ".", "_"), kv.Value.AsString()))
	}
	if slices.Sort(labels); len(labels) == 0 {
		return name
	}
	return name + "{" + strings.Join(labels, ",") + "}"
}

// The span of a request has an event with the token's ID, if that is asked for.
func TestSpanEvents(t *testing.T) {
	t.Parallel()
	for _, isAsked := range []bool{false, true} {
		o, _ := observed(t, &otelkey.Options{SpanEvents: isAsked})
		guard, key := httpkeytest.New(t, &httpkey.Options{Observers: []httpkey.Observer{o}})
		token, err := guard.Verify(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		spans := tracetest.NewSpanRecorder()
		tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
		for _, secret := range []string{key, "nonsense"} {
			ctx, span := tracer.Start(t.Context(), "request")
			_, _ = guard.Admit(ctx, secret, 1)
			span.End()
		}
		var got []string
		for _, span := range spans.Ended() {
			for _, e := range span.Events() {
				got = append(got, fmt.Sprint(e.Name, e.Attributes))
			}
		}
		var want []string
		if isAsked {
			want = []string{
				fmt.Sprint("httpkey.admitted", []attribute.KeyValue{attribute.String("enduser.pseudo.id", token.ID),
					attribute.String("httpkey.token.kind", string(token.Kind))}),
				fmt.Sprint("httpkey.refused", []attribute.KeyValue{attribute.String("httpkey.reason", "malformed")}),
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("SpanEvents %v: the spans have\n%v, want\n%v", isAsked, got, want)
		}
	}
}

func TestNewNeedsAProvider(t *testing.T) {
	t.Parallel()
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "MeterProvider") {
			t.Errorf("New panicked with %q", text)
		}
	}()
	_, _ = otelkey.New(nil, nil)
}

// A request costs the Observer no allocation beside those of the SDK.
func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	o, err := otelkey.New(noop.NewMeterProvider(), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := httpkey.Event{Type: httpkey.EventAdmitted, Token: httpkey.Token{ID: "one", Kind: httpkey.APIKey},
		Result: httpkey.Result{Allowed: true, Limit: httpkey.PerMinute(60)}}
	if n := testing.AllocsPerRun(100, func() { o.Observe(t.Context(), &e) }); n > 0 {
		t.Errorf("an event makes %v allocations", n)
	}
}

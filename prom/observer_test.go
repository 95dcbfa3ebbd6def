package promkey_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/telemetry/causes"
	promkey "github.com/httpkey/httpkey/prom"
)

// read returns the metrics of an Observer.
func read(t *testing.T, o *promkey.Observer) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(o); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// Each cause counts once, and has no ID, user or address in a label.
func TestEachCauseCountsOnce(t *testing.T) {
	t.Parallel()
	causes.Run(t, func(t *testing.T) (httpkey.Observer, func() map[string]int) {
		o := promkey.New()
		return o, func() map[string]int {
			counts := make(map[string]int)
			for _, family := range read(t, o) {
				for _, m := range family.GetMetric() {
					if n := m.GetCounter().GetValue() + m.GetGauge().GetValue(); n != 0 {
						counts[seriesOf(family.GetName(), m)] = int(n)
					}
				}
			}
			return counts
		}
	})
}

// seriesOf returns a series without the labels that are empty, which Prometheus drops.
func seriesOf(name string, m *dto.Metric) string {
	var labels []string
	for _, label := range m.GetLabel() {
		if label.GetValue() != "" {
			labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
		}
	}
	if slices.Sort(labels); len(labels) == 0 {
		return name
	}
	return name + "{" + strings.Join(labels, ",") + "}"
}

// Bytes that are no UTF-8 in a route or in the name of a limit end no request in a panic.
func TestLabelsThatAreNoText(t *testing.T) {
	t.Parallel()
	o := promkey.New()
	o.Observe(t.Context(), &httpkey.Event{Type: httpkey.EventAdmitted, Request: &http.Request{Pattern: "/\xff"},
		Result: httpkey.Result{Allowed: true, Limit: httpkey.Limit{Name: "\xff", Rate: 1}}})
	if got := len(read(t, o)); got == 0 {
		t.Error("there are no metrics")
	}
}

// A request costs the Observer no allocation.
func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	o := promkey.New()
	e := httpkey.Event{Type: httpkey.EventAdmitted, Token: httpkey.Token{ID: "one", Kind: httpkey.APIKey},
		Result: httpkey.Result{Allowed: true, Limit: httpkey.PerMinute(60)}}
	if n := testing.AllocsPerRun(100, func() { o.Observe(t.Context(), &e) }); n > 0 {
		t.Errorf("an event makes %v allocations", n)
	}
}

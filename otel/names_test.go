package otelkey_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/httpkey/httpkey"
)

var writeGolden = flag.Bool("update", false, "write testdata/metrics.txt")

// Names of metrics, units and attributes are seen in review: go test -run=TestNames . -update
// writes them.
func TestNames(t *testing.T) {
	t.Parallel()
	o, read := observed(t, nil)
	o.Observe(t.Context(), &httpkey.Event{
		Type: httpkey.EventRefused, Reason: httpkey.ReasonThrottled, Token: httpkey.Token{Kind: httpkey.APIKey},
		Request: withPattern("GET example.com/things/{id}"),
		Result:  httpkey.Result{Limit: httpkey.Limit{Name: "pro", Rate: 5}},
	})
	var lines []string
	for _, m := range read() {
		sum := m.Data.(metricdata.Sum[int64])
		var attributes []string
		for _, kv := range sum.DataPoints[0].Attributes.ToSlice() {
			attributes = append(attributes, string(kv.Key))
		}
		kind := "up-down counter"
		if sum.IsMonotonic {
			kind = "counter"
		}
		line := fmt.Sprintf("%s %s %s %s", m.Name, m.Unit, kind, strings.Join(attributes, " "))
		lines = append(lines, strings.TrimSpace(line))
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	if *writeGolden {
		if err := os.WriteFile("testdata/metrics.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r", "") {
		t.Errorf("the metrics are\n%s, want\n%s", got, want)
	}
}

func withPattern(pattern string) *http.Request { return &http.Request{Pattern: pattern} }

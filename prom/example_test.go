package promkey_test

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	promkey "github.com/httpkey/httpkey/prom"
)

// The code of docs/telemetry.md.
func measured(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	metrics := promkey.New()
	prometheus.MustRegister(metrics)
	guard := httpkey.New(store, limiter, &httpkey.Options{Observers: []httpkey.Observer{metrics}})
	return guard
}

// Requests are counted by what became of them.
func Example() {
	guard := measured(memstore.New(), memstore.NewLimiter())
	mux := http.NewServeMux()
	mux.Handle("GET /things/{id}", guard.Handler(http.NotFoundHandler()))
	r := httpkeytest.Request(http.MethodGet, "/things/5", "no key")
	mux.ServeHTTP(&discard{}, r)

	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		panic(err)
	}
	for _, family := range families {
		if family.GetName() == "httpkey_requests_total" {
			for _, m := range family.GetMetric() {
				fmt.Println(seriesOf(family.GetName(), m), m.GetCounter().GetValue())
			}
		}
	}
	// Output: httpkey_requests_total{http_route="/things/{id}",httpkey_reason="malformed",httpkey_result="refused"} 1
}

// discard is a response without a reader.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = make(http.Header)
	}
	return d.header
}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

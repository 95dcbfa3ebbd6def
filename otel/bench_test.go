package otelkey_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	otelkey "github.com/httpkey/httpkey/otel"
)

// BenchmarkGuard measures an admitted request with and without the Observer.
func BenchmarkGuard(b *testing.B) {
	metrics, err := otelkey.New(sdk.NewMeterProvider(sdk.WithReader(sdk.NewManualReader())), nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, observers := range map[string][]httpkey.Observer{"without": nil, "with": {metrics}} {
		b.Run(name, func(b *testing.B) {
			guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{Observers: observers,
				Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerSecond(1_000_000_000)}}})
			key := httpkeytest.Issue(b, guard, httpkey.Token{}).Secret
			api := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			w, r := httptest.NewRecorder(), httpkeytest.Request(http.MethodGet, "/", key.Reveal())
			b.ReportAllocs()
			for b.Loop() {
				clear(w.Header())
				api.ServeHTTP(w, r)
			}
		})
	}
}

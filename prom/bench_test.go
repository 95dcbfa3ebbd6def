package promkey_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	promkey "github.com/httpkey/httpkey/prom"
)

// BenchmarkGuard measures an admitted request with and without the Observer.
func BenchmarkGuard(b *testing.B) {
	for name, observers := range map[string][]httpkey.Observer{"without": nil, "with": {promkey.New()}} {
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

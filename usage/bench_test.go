package usage_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

// BenchmarkObserve measures the Recorder alone, with one token and with many.
func BenchmarkObserve(b *testing.B) {
	for _, tokens := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(tokens, " tokens"), func(b *testing.B) {
			r := usage.NewRecorder(usage.NewMemory(), &usage.Options{Interval: time.Hour})
			ids := make([]string, tokens)
			event := httpkey.Event{Type: httpkey.EventAdmitted, Cost: 1}
			for i := range ids {
				ids[i] = fmt.Sprintf("0198c7a0-0000-7000-8000-%012d", i)
				event.Token.ID = ids[i]
				r.Observe(b.Context(), &event)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i++; i == tokens {
					i = 0
				}
				event.Token.ID = ids[i]
				r.Observe(b.Context(), &event)
			}
		})
	}
}

// BenchmarkGuard measures a request of a Guard with and without a Recorder.
func BenchmarkGuard(b *testing.B) {
	for name, observers := range map[string]func() []httpkey.Observer{
		"without": func() []httpkey.Observer { return nil },
		"with": func() []httpkey.Observer {
			return []httpkey.Observer{usage.NewRecorder(usage.NewMemory(), &usage.Options{Interval: time.Hour})}
		},
	} {
		b.Run(name, func(b *testing.B) {
			guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{Observers: observers(),
				Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerSecond(1_000_000_000)}}})
			key := httpkeytest.Issue(b, guard, httpkey.Token{User: "ada", Scopes: []string{"read", "write"}}).Secret
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

package otelkey_test

import (
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	otelkey "github.com/httpkey/httpkey/otel"
)

// The code of docs/telemetry.md.
func measured(store httpkey.TokenStore, limiter httpkey.Limiter) (*httpkey.Guard, error) {
	metrics, err := otelkey.New(otel.GetMeterProvider(), &otelkey.Options{SpanEvents: true})
	if err != nil {
		return nil, err
	}
	cache := cachestore.New(store, &cachestore.Options{Observers: []httpkey.Observer{metrics}})
	guard := httpkey.New(cache, limiter, &httpkey.Options{
		Observers: []httpkey.Observer{metrics, httpkey.SlogObserver(slog.Default())},
	})
	return guard, nil
}

func TestDocs(t *testing.T) {
	t.Parallel()
	guard, err := measured(memstore.New(), memstore.NewLimiter())
	if err != nil {
		t.Fatal(err)
	}
	key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret
	if _, err := guard.Admit(t.Context(), key.Reveal(), 1); err != nil {
		t.Error(err)
	}
}

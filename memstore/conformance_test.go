package memstore_test

import (
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/storetest"
)

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) func() httpkey.TokenStore {
		s := memstore.New()
		return func() httpkey.TokenStore { return s }
	})
}

func TestLimiterConforms(t *testing.T) {
	storetest.RunLimiter(t, storetest.LimiterFactory{
		New: func(*testing.T) func() httpkey.Limiter {
			l := memstore.NewLimiter()
			return func() httpkey.Limiter { return l }
		},
	})
}

func TestWindowConforms(t *testing.T) {
	storetest.RunLimiter(t, storetest.LimiterFactory{
		New: func(*testing.T) func() httpkey.Limiter {
			w := memstore.NewWindow()
			return func() httpkey.Limiter { return w }
		},
		Window: true,
	})
}

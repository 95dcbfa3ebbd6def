package cachestore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func TestInvalidOptionsPanic(t *testing.T) {
	t.Parallel()
	for field, opts := range map[string]*Options{
		"Size":       {Size: -1},
		"TTL":        {TTL: -1},
		"Timeout":    {Timeout: -1},
		"MaxUnknown": {MaxUnknown: -1},
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			defer func() {
				err, _ := recover().(error)
				if !errors.Is(err, httpkey.ErrInvalidOptions) || !strings.Contains(err.Error(), ": "+field+" is -1") {
					t.Errorf("panicked with %v", err)
				}
			}()
			New(memstore.New(), opts)
		})
	}
}

func TestNewNeedsAStore(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("did not panic")
		}
	}()
	New(nil, nil)
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got := (*Options)(nil).withDefaults()
	if got.Size != 100_000 || got.TTL != 30*time.Second || got.StaleFor != time.Minute || got.Timeout != time.Second ||
		got.MaxUnknown != 16 {
		t.Errorf("%+v", got)
	}
	given := Options{Size: 1}
	if given.withDefaults(); given.TTL != 0 {
		t.Error("the caller's options were changed")
	}
}

// A printed Store shows no digest, for any verb.
func TestPrintingShowsNoDigest(t *testing.T) {
	t.Parallel()
	s := New(memstore.New(), nil)
	secret := token(1)
	secret.Digest = httpkey.Digest([]byte("0123456789abcdef0123456789abcdef"))
	create(t, s, secret)
	if _, err := s.Lookup(t.Context(), secret.Digest); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "cachestore.Store" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

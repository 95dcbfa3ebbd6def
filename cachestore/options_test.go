package cachestore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestInvalidOptionsPanic(t *testing.T) {
	t.Parallel()
	for field, opts := range map[string]*Options{
		"Size":       {Size: -1},
		"TTL":        {TTL: -1},
		"Timeout":    {Timeout: -1},
		"MaxUnknown": {MaxUnknown: -1},
		"Observers":  {Observers: []httpkey.Observer{nil}},
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			defer func() {
				err, _ := recover().(error)
				if !errors.Is(err, httpkey.ErrInvalidOptions) || !strings.Contains(err.Error(), ": "+field+" ") {
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

// A printed Store shows no digest, for any verb. A template prints the value behind a pointer,
// unless that value has a String method.
func TestPrintingShowsNoDigest(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := New(store, nil)
	secret := token(1)
	secret.Digest = httpkey.Digest([]byte("0123456789abcdef0123456789abcdef"))
	create(t, s, secret)
	store.Before(httpkeytest.Fail(errors.New("down"), "Lookup"))
	if _, err := s.Lookup(t.Context(), secret.Digest); err == nil { // the Store remembers the digest that failed
		t.Fatal("the store is not down")
	}
	printed := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		printed[verb] = fmt.Sprintf(verb, s)
	}
	var page strings.Builder
	if err := template.Must(template.New("").Parse("{{.}}")).Execute(&page, s); err != nil {
		t.Fatal(err)
	}
	printed["a template"] = page.String()
	for how, got := range printed {
		if got != "cachestore.Store" {
			t.Errorf("%s prints %q", how, got)
		}
	}
}

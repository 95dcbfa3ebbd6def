package httpkey_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestOptionsAreValidated(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("p", 32)
	byKind := func(kind httpkey.Kind, limits ...httpkey.Limit) httpkey.Options {
		return httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{kind: limits}}
	}
	for _, tt := range []struct {
		field string
		opts  httpkey.Options
	}{
		{"Sources", httpkey.Options{Sources: []httpkey.Source{httpkey.FromBearer(), nil}}},
		{"Observers", httpkey.Options{Observers: observers(&events{}, nil)}},
		{"PreviousPrefixes", httpkey.Options{PreviousPrefixes: []string{"acme", "a-b"}}},
		{"Adopt", httpkey.Options{Adopt: new(oldTable).adopt}},
		{"Failures", httpkey.Options{Failures: httpkey.Limit{Rate: 5}}},
		{"Failures", httpkey.Options{Failures: httpkey.PerDay(5)}},
		{"Failures", httpkey.Options{Failures: httpkey.PerMinute(0)}},
		{"Failures", httpkey.Options{Failures: httpkey.Limit{Rate: 5, Period: time.Second, DryRun: true}}},
		{"Prefix", httpkey.Options{Prefix: "9lives"}},
		{"Prefix", httpkey.Options{Prefix: "_x"}},
		{"Prefix", httpkey.Options{Prefix: "a-b"}},
		{"Prefix", httpkey.Options{Prefix: strings.Repeat("x", 20)}},
		{"Pepper", httpkey.Options{Pepper: "too short"}},
		{"Pepper", httpkey.Options{Pepper: httpkey.Secret(long[:31])}},
		{"PreviousPeppers[1]", httpkey.Options{Pepper: httpkey.Secret(long),
			PreviousPeppers: []httpkey.Secret{"", "too short"}}},
		{"PreviousPeppers[0]", httpkey.Options{PreviousPeppers: []httpkey.Secret{""}}},
		{"PreviousPeppers[0]", httpkey.Options{Pepper: httpkey.Secret(long),
			PreviousPeppers: []httpkey.Secret{httpkey.Secret(long)}}},
		{"ImportedMinLength", httpkey.Options{ImportedMinLength: 15}},
		{"ImportedMinLength", httpkey.Options{ImportedMinLength: -1}},
		{"ImportedMinLength", httpkey.Options{ImportedMinLength: 256}},
		{`Limits["api_key"]`, byKind(httpkey.APIKey, httpkey.Limit{Rate: -1, Period: time.Second})},
		{`Limits["service_token"]`, byKind(httpkey.ServiceToken, httpkey.Limit{Rate: 1})},
		{`Limits["api_key"]`, byKind(httpkey.APIKey, httpkey.PerMinute(5), httpkey.PerMinute(6))}, // one bucket
		{"Limits", byKind("robot", httpkey.PerMinute(5))},
		{"Timeout", httpkey.Options{Timeout: -1}},
		{"LastUsedInterval", httpkey.Options{LastUsedInterval: -time.Second}},
	} {
		err := tt.opts.Validate()
		if !errors.Is(err, httpkey.ErrInvalidOptions) || !strings.Contains(err.Error(), tt.field) ||
			strings.Contains(err.Error(), "too short") {
			t.Errorf("%s: Validate returned %v", tt.field, err)
			continue
		}
		func() {
			defer func() {
				if got := recover(); got != err.Error() {
					t.Errorf("%s: New panicked with %v, want %v", tt.field, got, err)
				}
			}()
			newGuard(&tt.opts)
		}()
	}
	bad := byKind(httpkey.APIKey, httpkey.Limit{Rate: 1})
	if err := bad.Validate(); !errors.Is(err, httpkey.ErrInvalidLimit) {
		t.Errorf("an invalid limit is no ErrInvalidLimit: %v", err)
	}
	for _, good := range []*httpkey.Options{nil, {}, {Prefix: strings.Repeat("x", 19), Failures: httpkey.PerMinute(5),
		ImportedMinLength: 255}, {Pepper: httpkey.Secret(long), PreviousPeppers: []httpkey.Secret{""}}} {
		if err := good.Validate(); err != nil {
			t.Errorf("Validate returned %v", err)
		}
	}
}

func TestNewNeedsAStoreAndALimiter(t *testing.T) {
	t.Parallel()
	for want, make := range map[string]func(){
		"TokenStore": func() { httpkey.New(nil, memstore.NewLimiter(), nil) },
		"Limiter":    func() { httpkey.New(memstore.New(), nil, nil) },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "httpkey: ") || !strings.Contains(text, want) {
					t.Errorf("New panicked with %q", text)
				}
			}()
			make()
		}()
	}
}

// The caller's Options stay the caller's.
func TestNewCopiesOptions(t *testing.T) {
	t.Parallel()
	pepper := httpkey.Secret(strings.Repeat("p", 32))
	opts := &httpkey.Options{
		Pepper: pepper, PreviousPeppers: []httpkey.Secret{"previous-" + pepper},
		Limits:  map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerMinute(5)}},
		Sources: []httpkey.Source{httpkey.FromHeader("X-Api-Key")},
	}
	guard := newGuard(opts)
	if opts.Pepper != pepper || len(opts.PreviousPeppers) != 1 || len(opts.Sources) != 1 || len(opts.Limits) != 1 {
		t.Errorf("New changed the options: %+v", opts)
	}
	key, _ := issue(t, guard, httpkey.Token{})
	opts.Sources[0] = httpkey.FromHeader("X-Other")
	opts.PreviousPeppers[0], opts.Limits[httpkey.APIKey][0] = "", httpkey.PerMinute(500)
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != 200 || w.Header().Get("X-RateLimit-Limit") != "5" {
		t.Errorf("a change of the options after New took effect: %d %v", w.Code, w.Header())
	}
}

// The name of a header is checked when the program starts.
func TestFromHeaderPanics(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "X Api Key", "X-Api-Key:", "é"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("FromHeader(%q) did not panic", bad)
				}
			}()
			httpkey.FromHeader(bad)
		}()
	}
	httpkey.FromHeader("X!#$%&'*+-.^_`|~Token")
}

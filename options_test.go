package httpkey_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func TestOptionsAreValidated(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("p", 32)
	for _, tt := range []struct {
		field string
		opts  httpkey.Options
	}{
		{"Header", httpkey.Options{Header: "X Api Key"}},
		{"Header", httpkey.Options{Header: "X-Api-Key:"}},
		{"Header", httpkey.Options{Header: "é"}},
		{"Prefix", httpkey.Options{Prefix: "9lives"}},
		{"Prefix", httpkey.Options{Prefix: "_x"}},
		{"Prefix", httpkey.Options{Prefix: "a-b"}},
		{"Prefix", httpkey.Options{Prefix: strings.Repeat("x", 20)}},
		{"Pepper", httpkey.Options{Pepper: "too short"}},
		{"Pepper", httpkey.Options{Pepper: httpkey.Secret(long[:31])}},
		{"PreviousPeppers[1]", httpkey.Options{Pepper: httpkey.Secret(long), PreviousPeppers: []httpkey.Secret{"", "too short"}}},
		{"PreviousPeppers[0]", httpkey.Options{PreviousPeppers: []httpkey.Secret{""}}},
		{"PreviousPeppers[0]", httpkey.Options{Pepper: httpkey.Secret(long), PreviousPeppers: []httpkey.Secret{httpkey.Secret(long)}}},
		{"ImportedMinLength", httpkey.Options{ImportedMinLength: 15}},
		{"ImportedMinLength", httpkey.Options{ImportedMinLength: -1}},
		{"ImportedMinLength", httpkey.Options{ImportedMinLength: 256}},
		{"APIKeyLimit", httpkey.Options{APIKeyLimit: httpkey.Limit{Rate: -1, Period: time.Second}}},
		{"ServiceTokenLimit", httpkey.Options{ServiceTokenLimit: httpkey.Limit{Rate: 1}}},
		{"Bucket", httpkey.Options{Bucket: 3}},
		{"Bucket", httpkey.Options{Bucket: -1}},
		{"LastUsedInterval", httpkey.Options{LastUsedInterval: -time.Second}},
	} {
		err := tt.opts.Validate()
		if !errors.Is(err, httpkey.ErrInvalidOptions) || !strings.Contains(err.Error(), tt.field) || strings.Contains(err.Error(), "too short") {
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
	if err := (&httpkey.Options{APIKeyLimit: httpkey.Limit{Rate: 1}}).Validate(); !errors.Is(err, httpkey.ErrInvalidLimit) {
		t.Errorf("an invalid limit is no ErrInvalidLimit: %v", err)
	}
	for _, good := range []*httpkey.Options{nil, {}, {Prefix: strings.Repeat("x", 19), Header: "X!#$%&'*+-.^_`|~Token", ImportedMinLength: 255}, {Pepper: httpkey.Secret(long), PreviousPeppers: []httpkey.Secret{""}}} {
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
	opts := &httpkey.Options{Pepper: pepper, PreviousPeppers: []httpkey.Secret{"previous-" + pepper}}
	guard := newGuard(opts)
	if opts.Pepper != pepper || len(opts.PreviousPeppers) != 1 || opts.Header != "" {
		t.Errorf("New changed the options: %+v", opts)
	}
	key, _ := issue(t, guard, httpkey.Token{})
	opts.Header, opts.PreviousPeppers[0] = "X-Other", ""
	if w := get(guard.Handler(ok), key); w.Code != 200 {
		t.Errorf("a change of the options after New took effect: %d", w.Code)
	}
}

func TestLimitValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		field string
		limit httpkey.Limit
	}{
		{"Rate", httpkey.Limit{}},
		{"Rate", httpkey.Limit{Rate: -1, Burst: 1, Period: time.Second}},
		{"Rate", httpkey.Limit{Rate: math.MinInt, Burst: 1, Period: time.Second}},
		{"Burst", httpkey.Limit{Rate: 1, Burst: -1, Period: time.Second}},
		{"Period", httpkey.Limit{Rate: 1}},
		{"Period", httpkey.Limit{Rate: 1, Period: -time.Second}},
		{"Period", httpkey.Limit{Rate: 1, Period: 999}},
		{"Burst", httpkey.Limit{Rate: math.MaxInt, Period: time.Hour}},
		{"Burst", httpkey.Limit{Rate: 1, Burst: math.MaxInt, Period: time.Second}},
		{"Burst", httpkey.Limit{Rate: 1, Burst: math.MaxInt32, Period: 1 << 41 * time.Microsecond}}, // just overflows the debt
		{"Burst", httpkey.Limit{Rate: 1, Burst: 300 * 366, Period: 24 * time.Hour}},                 // 300 years to fill
		{"Burst", httpkey.Limit{Rate: 1, Burst: 2, Period: math.MaxInt64 / 1000 * 1000}},            // the same at once
	} {
		err := tt.limit.Validate()
		if tt.limit.Burst < 0 && !strings.Contains(err.Error(), "negative") {
			t.Errorf("%+v: Validate returned %v", tt.limit, err)
		}
		if !errors.Is(err, httpkey.ErrInvalidLimit) || !strings.Contains(err.Error(), tt.field+" is") {
			t.Errorf("%+v: Validate returned %v, want %s named", tt.limit, err, tt.field)
		}
	}
	for _, limit := range []httpkey.Limit{
		{Rate: 2, Burst: 3, Period: 6148914691236517 * time.Microsecond}, // to refill takes half a microsecond too long
		{Rate: 1 << 12, Burst: 1<<20 + 1, Period: 1 << 42 * time.Microsecond},
		{Rate: 1 << 30, Period: 1 << 35 * time.Microsecond}, // 2^65, of which the low word is 0
	} {
		if err := limit.Validate(); !errors.Is(err, httpkey.ErrInvalidLimit) {
			t.Errorf("%+v: Validate returned %v", limit, err)
		}
	}
	for _, good := range []httpkey.Limit{
		httpkey.PerSecond(1), httpkey.PerMinute(60), httpkey.PerHour(5000), {Rate: 1, Period: time.Microsecond},
		{Rate: 1_000_000, Period: 24 * time.Hour}, {Rate: math.MaxInt32, Period: time.Second},
		{Rate: 1, Period: math.MaxInt64 / 1000 * 1000},
		{Rate: 1 << 12, Burst: 1 << 20, Period: 1 << 42 * time.Microsecond}, // 2^62 just fits
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: Validate returned %v", good, err)
		}
	}
}

func TestLimitsOfAPeriod(t *testing.T) {
	t.Parallel()
	for got, want := range map[httpkey.Limit]httpkey.Limit{
		httpkey.PerSecond(5): {Rate: 5, Period: time.Second},
		httpkey.PerMinute(5): {Rate: 5, Period: time.Minute},
		httpkey.PerHour(5):   {Rate: 5, Period: time.Hour},
	} {
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

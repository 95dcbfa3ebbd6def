package httpkey_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

func TestLimitValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		field string
		limit httpkey.Limit
	}{
		{"Period", httpkey.Limit{}},
		{"Rate", httpkey.Limit{Rate: -1, Burst: 1, Period: time.Second}},
		{"Rate", httpkey.Limit{Rate: math.MinInt, Burst: 1, Period: time.Second}},
		{"Rate", httpkey.Limit{Rate: -1, Calendar: "day"}},
		{"Burst", httpkey.Limit{Rate: 1, Burst: -1, Period: time.Second}},
		{"Period", httpkey.Limit{Rate: 1}},
		{"Period", httpkey.Limit{Rate: 0}},
		{"Period", httpkey.Limit{Rate: 1, Period: -time.Second}},
		{"Rate", httpkey.Limit{Rate: math.MaxInt, Period: time.Hour}},
		{"Burst", httpkey.Limit{Rate: 1, Burst: math.MaxInt, Period: time.Second}},
		// just overflows the debt
		{"Burst", httpkey.Limit{Rate: 1 << 12, Burst: 1 << 20, Period: 1<<41*time.Microsecond + 1}},
		// 2^65, whose low word is 0
		{"Burst", httpkey.Limit{Rate: 1 << 30, Period: 1 << 35 * time.Microsecond}},
		{"Burst", httpkey.Limit{Rate: 1, Burst: 300 * 366, Period: 24 * time.Hour}}, // 300 years to fill
		{"Burst", httpkey.Limit{Rate: 1, Period: math.MaxInt64 / 1000 * 1000}},      // the same at once
		{"Name", httpkey.Limit{Name: "two words", Rate: 1, Period: time.Second}},
		{"Name", httpkey.Limit{Name: `a"b`, Rate: 1, Period: time.Second}},
		{"Name", httpkey.Limit{Name: strings.Repeat("x", 65), Rate: 1, Period: time.Second}},
		{"Calendar", httpkey.Limit{Rate: 1, Calendar: "week"}},
		{"Period", httpkey.Limit{Rate: 1, Calendar: "day", Period: time.Hour}},
		{"Burst", httpkey.Limit{Rate: 1, Calendar: "day", Burst: 2}},
	} {
		err := tt.limit.Validate()
		if !errors.Is(err, httpkey.ErrInvalidLimit) || !strings.Contains(err.Error(), tt.field+" is") {
			t.Errorf("%+v: Validate returned %v, want %s named", tt.limit, err, tt.field)
		}
	}
	for _, good := range []httpkey.Limit{
		httpkey.PerSecond(1), httpkey.PerMinute(60), httpkey.PerHour(5000), httpkey.PerDay(5000),
		httpkey.PerMonth(math.MaxInt32),
		httpkey.PerMinute(0), httpkey.PerDay(0), {Rate: 1, Period: time.Microsecond}, {Rate: 1, Period: 1},
		{Rate: 1_000_000, Period: 24 * time.Hour}, {Rate: math.MaxInt32, Period: time.Second},
		{Rate: 1, Period: 146 * 365 * 24 * time.Hour}, {Rate: 0, Burst: 7, Period: time.Minute},
		{Rate: 1 << 12, Burst: 1 << 20, Period: 1 << 41 * time.Microsecond}, // 2^61 just fits
		{Name: strings.Repeat("x", 64), Rate: 1, Period: time.Second}, {Rate: 5, Burst: 5, Calendar: "month"},
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
		httpkey.PerDay(5):    {Rate: 5, Calendar: "day"},
		httpkey.PerMonth(5):  {Rate: 5, Calendar: "month"},
	} {
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestLimitResolve(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ limit, want httpkey.Limit }{
		{httpkey.PerMinute(60), httpkey.Limit{Rate: 60, Burst: 60, Period: time.Minute}},
		{httpkey.Limit{Rate: 60, Burst: 7, Period: time.Minute}, httpkey.Limit{Rate: 60, Burst: 7, Period: time.Minute}},
		{httpkey.Limit{Rate: 0, Burst: 7, Period: time.Minute}, httpkey.Limit{Period: time.Minute}},
		{httpkey.Limit{Rate: 1, Period: 1}, httpkey.Limit{Rate: 1, Burst: 1, Period: time.Microsecond}},
		{httpkey.Limit{Rate: 1, Period: 1001}, httpkey.Limit{Rate: 1, Burst: 1, Period: 2 * time.Microsecond}},
		{httpkey.Limit{Rate: 1, Period: math.MaxInt64}, httpkey.Limit{Rate: 1, Burst: 1, Period: math.MaxInt64}},
		{httpkey.Limit{Rate: 1, Period: -1}, httpkey.Limit{Rate: 1, Burst: 1, Period: -1}},
		{httpkey.PerDay(5), httpkey.Limit{Rate: 5, Burst: 5, Calendar: "day"}},
		{httpkey.Limit{Rate: 1, Period: 1, DryRun: true},
			httpkey.Limit{Rate: 1, Burst: 1, Period: time.Microsecond, DryRun: true}},
	} {
		got := tt.limit.Resolve()
		if got != tt.want || got.Resolve() != got {
			t.Errorf("%+v is resolved to %+v, want %+v", tt.limit, got, tt.want)
		}
	}
}

func TestLimitWindow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit httpkey.Limit
		want  time.Duration
	}{
		{httpkey.PerMinute(60), time.Minute},
		{httpkey.PerMinute(61), time.Minute}, // the rate changes nothing
		{httpkey.Limit{Rate: 60, Burst: 10, Period: time.Minute}, 10 * time.Second},
		{httpkey.Limit{Rate: 60, Burst: 120, Period: time.Minute}, 2 * time.Minute},
		{httpkey.Limit{Rate: 7, Burst: 1, Period: time.Minute}, 8_571_429 * time.Microsecond}, // rounded up
		{httpkey.Limit{Rate: 10_000_000, Burst: 1, Period: time.Second}, time.Microsecond},
		{httpkey.PerMinute(0), time.Minute},
		{httpkey.PerDay(5), 24 * time.Hour},
		{httpkey.PerMonth(5), 31 * 24 * time.Hour},
	} {
		if got := tt.limit.Window(); got != tt.want {
			t.Errorf("the window of %+v is %v, want %v", tt.limit, got, tt.want)
		}
	}
}

func TestCalendarSpan(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		moment, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	for _, tt := range []struct {
		calendar        httpkey.Calendar
		now, start, end string
	}{
		{"day", "2026-11-27T12:00:00Z", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"},
		{"day", "2026-11-27T00:00:00Z", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"},
		{"day", "2026-12-31T23:59:59.999999999Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"day", "2026-11-27T23:30:00-05:00", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"}, // in UTC
		{"month", "2026-11-27T12:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"month", "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"month", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"month", "2026-12-01T00:30:00+01:00", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
	} {
		start, end := tt.calendar.Span(at(tt.now))
		if !start.Equal(at(tt.start)) || !end.Equal(at(tt.end)) || start.Location() != time.UTC {
			t.Errorf("the %s of %s is from %v to %v", tt.calendar, tt.now, start, end)
		}
	}
	if start, end := httpkey.Calendar("").Span(time.Now()); !start.IsZero() || !end.IsZero() {
		t.Errorf("no calendar has a span from %v to %v", start, end)
	}
}

func TestChargeValidate(t *testing.T) {
	t.Parallel()
	minute := httpkey.PerMinute(5)
	named := httpkey.Limit{Name: "write", Rate: 5, Period: time.Minute}
	for _, tt := range []struct {
		charge httpkey.Charge
		want   string // in the error; empty: none
	}{
		{httpkey.Charge{}, ""},
		{httpkey.Charge{Limits: limits(minute), Cost: math.MaxInt}, ""}, // above Burst is no error
		{httpkey.Charge{Limits: limits(minute), Cost: -5, Forced: true}, ""},
		{httpkey.Charge{Limits: limits(minute, named, httpkey.PerHour(5), httpkey.PerDay(5), httpkey.PerMonth(5)), Cost: 1},
			""},
		{httpkey.Charge{Limits: limits(minute), Cost: -5}, "Cost"},
		{httpkey.Charge{Cost: -5}, "Cost"},
		{httpkey.Charge{Limits: limits(minute), Cost: math.MinInt, Forced: true}, "Cost"},
		{httpkey.Charge{Limits: limits(minute), Cost: math.MaxInt, Forced: true}, "Cost"},
		{httpkey.Charge{Limits: limits(httpkey.Limit{Rate: -1}), Cost: 1}, "Rate"},
		{httpkey.Charge{Limits: limits(minute, minute), Cost: 1}, "window"},
		{httpkey.Charge{Limits: limits(minute, httpkey.PerMinute(6)), Cost: 1}, "window"},
		{httpkey.Charge{Limits: limits(minute, httpkey.Limit{Rate: 6, Period: time.Minute, DryRun: true}), Cost: 1},
			"window"},
		{httpkey.Charge{Limits: limits(minute, httpkey.Limit{Name: "try", Rate: 6, Period: time.Minute, DryRun: true}),
			Cost: 1}, ""},
		{httpkey.Charge{Limits: limits(httpkey.PerHour(1), httpkey.Limit{Rate: 1, Burst: 60, Period: time.Minute}),
			Cost: 1}, "window"},
		{httpkey.Charge{Limits: make([]httpkey.Limit, 9), Cost: 1}, "at most 8"},
	} {
		switch err := tt.charge.Validate(); {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: Validate returned %v", tt.charge, err)
		case tt.want != "" && (!errors.Is(err, httpkey.ErrInvalidLimit) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v: Validate returned %v, want %s named", tt.charge, err, tt.want)
		}
	}
}

// The limit that binds is the one whose numbers a client gets.
func TestChargeJoin(t *testing.T) {
	t.Parallel()
	has := func(burst, remaining int) httpkey.Result {
		return httpkey.Result{Allowed: true, Limit: httpkey.Limit{Rate: burst, Burst: burst}, Remaining: remaining}
	}
	lacks := func(retry time.Duration) httpkey.Result {
		return httpkey.Result{Limit: httpkey.Limit{Rate: 1, Burst: 1}, RetryAfter: retry}
	}
	for _, tt := range []struct {
		name string
		each []httpkey.Result
		want int // the index of the limit that binds
	}{
		{"one", []httpkey.Result{has(5, 3)}, 0},
		{"smallest part left", []httpkey.Result{has(60, 30), has(10, 4), has(100, 90)}, 1},
		{"the first of equals", []httpkey.Result{has(60, 30), has(10, 5)}, 0},
		{"none left", []httpkey.Result{has(60, 1), has(10, 0), has(5, 0)}, 1},
		{"a denial before what is left", []httpkey.Result{has(10, 0), lacks(time.Second)}, 1},
		{"longest wait", []httpkey.Result{lacks(time.Second), lacks(time.Minute), lacks(2 * time.Second)}, 1},
		{"never", []httpkey.Result{lacks(time.Hour), lacks(0), has(5, 5)}, 1},
	} {
		got := new(httpkey.Charge).Join(tt.each)
		want := tt.each[tt.want]
		if len(tt.each) > 1 {
			want.Each = tt.each
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: joined to %+v, want %+v", tt.name, got, want)
		}
	}
	if got := new(httpkey.Charge).Join(nil); !reflect.DeepEqual(got, httpkey.Result{Allowed: true}) {
		t.Errorf("no limits are joined to %+v", got)
	}
}

// Every period that a limit can have comes back from JSON as it was.
func TestLimitJSONRoundTrip(t *testing.T) {
	t.Parallel()
	all := limits(httpkey.PerDay(7).Resolve(), httpkey.Limit{Name: "n", Rate: 3, Calendar: "month"},
		httpkey.Limit{Rate: 3, Calendar: "month", DryRun: true}, httpkey.Limit{Rate: 3, Period: time.Minute, DryRun: true})
	for micros := time.Duration(1); micros < 3000; micros++ {
		all = append(all, httpkey.Limit{Rate: 3, Burst: 3, Period: micros * time.Microsecond})
	}
	for _, want := range all {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got httpkey.Limit
		if err := json.Unmarshal(text, &got); err != nil || got.Resolve() != want.Resolve() {
			t.Fatalf("%s became %+v (%v)", text, got, err)
		}
	}
}

func TestLimitJSON(t *testing.T) {
	t.Parallel()
	for want, limit := range map[string]httpkey.Limit{
		`{"rate":60,"burst":60,"period":60}`: httpkey.PerMinute(60),
		`{"name":"write","rate":60,"burst":7,"period":0.000001}`: {Name: "write", Rate: 60, Burst: 7,
			Period: time.Microsecond},
		`{"rate":0,"period":60}`:                            httpkey.PerMinute(0),
		`{"rate":5000,"calendar":"month"}`:                  httpkey.PerMonth(5000),
		`{"rate":60,"burst":60,"period":60,"dry_run":true}`: {Rate: 60, Period: time.Minute, DryRun: true},
		`{"rate":5,"calendar":"day","dry_run":true}`:        {Rate: 5, Calendar: "day", DryRun: true},
	} {
		if text, err := json.Marshal(limit); err != nil || string(text) != want {
			t.Errorf("%+v became %s (%v), want %s", limit, text, err, want)
		}
	}
}

// A period that no Duration can hold is an error, and not another period.
func TestLimitJSONBeyondADuration(t *testing.T) {
	t.Parallel()
	for _, period := range []string{"2e10", "-2e10", "9223372037", "1e300"} {
		var got httpkey.Limit
		err := json.Unmarshal([]byte(`{"rate":1,"burst":1,"period":`+period+`}`), &got)
		if err == nil || !strings.HasPrefix(err.Error(), "httpkey: ") {
			t.Errorf("a period of %s seconds became %v (%v)", period, got.Period, err)
		}
	}
}

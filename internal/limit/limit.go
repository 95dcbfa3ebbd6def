// Package limit has the rules of an httpkey.Limit, and its two JSON forms: that for people and
// that for stores.
package limit

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/name"
)

const (
	// Most is the maximum number of limits that apply together.
	Most = 8

	maxName = 64
	// maxDebt bounds Burst × Period in request-microseconds. A forced charge may owe twice
	// as much, and an int64 must hold that and a sum with it.
	maxDebt = 1 << 61

	day   = "day"
	month = "month"
)

// Fields are those of an httpkey.Limit, whose Calendar has the type C. Their JSON is the form
// for stores, which keeps a Period to the nanosecond.
type Fields[C ~string] struct {
	Name     string        `json:"name,omitempty"`     // may be empty
	Rate     int           `json:"rate"`               // requests per Period, or in a day or month
	Burst    int           `json:"burst,omitempty"`    // requests at once; 0 means Rate
	Period   time.Duration `json:"period,omitempty"`   // nanoseconds
	Calendar C             `json:"calendar,omitempty"` // "day", "month", or empty
	DryRun   bool          `json:"dry_run,omitempty"`  // it is not enforced
}

// Of are the types with these fields: httpkey.Limit is one.
type Of[C ~string] interface {
	~struct {
		Name     string
		Rate     int
		Burst    int
		Period   time.Duration
		Calendar C
		DryRun   bool
	}
}

// Validate returns an error that names a field without a valid value, or nil.
func (l Fields[C]) Validate() error {
	l.Burst, l.Period = Resolve(l.Rate, l.Burst, l.Period)
	switch {
	case l.Name != "" && !name.IsScope(l.Name, maxName):
		return invalid("Name", "is %q, it must be up to %d characters of a scope", l.Name, maxName)
	case l.Rate < 0 || l.Rate > math.MaxInt32:
		return invalid("Rate", "is %d, it must be from 0 to %d", l.Rate, math.MaxInt32)
	case l.Burst < 0 || l.Burst > math.MaxInt32:
		return invalid("Burst", "is %d, it must be from 0 to %d (0 means Rate)", l.Burst, math.MaxInt32)
	case l.Calendar != "" && l.Calendar != day && l.Calendar != month:
		return invalid("Calendar", "is %q, it must be empty, %q or %q", l.Calendar, day, month)
	case l.Calendar != "" && (l.Period != 0 || l.Burst != l.Rate):
		return invalid("Period", "is %v and Burst is %d, a quota of a %s has neither", l.Period, l.Burst, l.Calendar)
	case l.Calendar == "" && l.Period <= 0:
		return invalid("Period", "is %v, it must be positive", l.Period)
	}
	high, debt := bits.Mul64(uint64(l.Burst), uint64(l.Period.Microseconds()))
	if high != 0 || debt > maxDebt || l.Rate > 0 && debt/uint64(l.Rate) >= math.MaxInt64/2/uint64(time.Microsecond) {
		return invalid("Burst", "is %d, too large to be counted with a Period of %v", l.Burst, l.Period)
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s %s", field, fmt.Sprintf(format, args...))
}

// Validate returns an error if the limits cannot apply together, or nil.
func Validate[L Of[C], C ~string](limits []L) error {
	if len(limits) > Most {
		return fmt.Errorf("there are %d, at most %d apply together", len(limits), Most)
	}
	for i := range limits {
		l := Fields[C](limits[i])
		if err := l.Validate(); err != nil {
			return err
		}
		for _, before := range limits[:i] {
			other := Fields[C](before)
			if l.Name == other.Name && l.Calendar == other.Calendar && l.window() == other.window() {
				return fmt.Errorf("two limits have the Name %q and one window, so that they share a bucket: name one of them",
					l.Name)
			}
		}
	}
	return nil
}

func (l Fields[C]) window() time.Duration { return Window(l.Calendar, l.Rate, l.Burst, l.Period) }

// Resolve returns a Burst and a Period with Burst filled in, and Period rounded up to a
// microsecond.
func Resolve(rate, burst int, period time.Duration) (int, time.Duration) {
	if rest := period % time.Microsecond; rest > 0 && period < math.MaxInt64-time.Microsecond {
		period += time.Microsecond - rest
	}
	if burst == 0 || rate == 0 {
		burst = rate
	}
	return burst, period
}

// Window returns the time in which an empty bucket fills, or the longest day or month. The
// limit need not be resolved.
func Window[C ~string](calendar C, rate, burst int, period time.Duration) time.Duration {
	switch calendar {
	case day:
		return 24 * time.Hour
	case month:
		return 31 * 24 * time.Hour
	}
	burst, period = Resolve(rate, burst, period)
	if rate <= 0 {
		return period
	}
	return time.Duration(Terms(rate, burst, period).Window()) * time.Microsecond
}

// Terms returns a limit for the arithmetic; it is resolved, valid and no quota.
func Terms(rate, burst int, period time.Duration) gcra.Terms {
	return gcra.Terms{Rate: int64(rate), Burst: int64(burst), Period: period.Microseconds()}
}

// Span returns the day or the month of now in UTC, or zero times for another calendar.
func Span[C ~string](calendar C, now time.Time) (start, end time.Time) {
	year, number, date := now.UTC().Date()
	switch calendar {
	case day:
		start = time.Date(year, number, date, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 0, 1)
	case month:
		start = time.Date(year, number, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	}
	return time.Time{}, time.Time{}
}

// wire is the JSON form of a limit for people.
type wire[C ~string] struct {
	Name     string  `json:"name,omitempty"`
	Rate     int     `json:"rate"`
	Burst    int     `json:"burst,omitempty"`
	Period   float64 `json:"period,omitempty"` // seconds
	Calendar C       `json:"calendar,omitempty"`
	DryRun   bool    `json:"dry_run,omitempty"`
}

// Marshal returns the JSON of l for people, with the period in seconds.
func (l Fields[C]) Marshal() ([]byte, error) {
	w := wire[C]{Name: l.Name, Rate: l.Rate, Calendar: l.Calendar, DryRun: l.DryRun}
	if l.Calendar == "" {
		burst, period := Resolve(l.Rate, l.Burst, l.Period)
		w.Burst, w.Period = burst, period.Seconds()
	}
	return json.Marshal(w)
}

// Unmarshal reads the output of Marshal.
func Unmarshal[C ~string](text []byte) (Fields[C], error) {
	var w wire[C]
	if err := json.Unmarshal(text, &w); err != nil {
		return Fields[C]{}, err
	}
	if math.Abs(w.Period) >= time.Duration(math.MaxInt64).Seconds() {
		return Fields[C]{}, fmt.Errorf("the period is %v seconds, it must be less than 292 years", w.Period)
	}
	period := time.Duration(math.Round(w.Period*1e6)) * time.Microsecond
	return Fields[C]{w.Name, w.Rate, w.Burst, period, w.Calendar, w.DryRun}, nil
}

// Exact are limits in the JSON form of Fields.
type Exact[L Of[C], C ~string] []L

// MarshalJSON writes an array of Fields.
func (e Exact[L, C]) MarshalJSON() ([]byte, error) {
	fields := make([]Fields[C], len(e))
	for i := range e {
		fields[i] = Fields[C](e[i])
	}
	return json.Marshal(fields)
}

// UnmarshalJSON reads the output of MarshalJSON.
func (e *Exact[L, C]) UnmarshalJSON(text []byte) error {
	var fields []Fields[C]
	err := json.Unmarshal(text, &fields)
	for _, f := range fields {
		*e = append(*e, L(f))
	}
	return err
}

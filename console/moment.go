package console

import "time"

// moment is a time as a page shows it: seen from Now, when the page was made.
type moment struct{ At, Now time.Time }

// Never reports whether the time is zero.
func (m moment) Never() bool { return m.At.IsZero() }

// Past reports whether it is over.
func (m moment) Past() bool { return !m.At.After(m.Now) }

// Machine returns it for the datetime attribute.
func (m moment) Machine() string { return m.At.UTC().Format(time.RFC3339) }

// Format returns it for people, by a layout of package time.
func (m moment) Format(layout string) string { return m.At.UTC().Format(layout) }

// Month returns the number of its month.
func (m moment) Month() int { return int(m.At.UTC().Month()) }

// Away returns how far away it is. A time to come counts each minute that has begun: an
// expiry in 90 days is not one in 89 a moment later.
func (m moment) Away() span {
	if m.Past() {
		return spanOf(m.Now.Sub(m.At))
	}
	return spanOf((m.At.Sub(m.Now) + time.Minute - 1).Truncate(time.Minute))
}

// span is a duration in one unit. Unit is one of millisecond, second, minute, hour, day, month
// and year.
type span struct {
	N    int
	Unit string
}

// spanOf returns d in its largest unit, rounded down.
func spanOf(d time.Duration) span {
	for _, unit := range []struct {
		name       string
		least, per time.Duration
	}{
		{"year", 2 * 365 * day, 365 * day},
		{"day", day, day},
		{"hour", time.Hour, time.Hour},
		{"minute", time.Minute, time.Minute},
	} {
		if d >= unit.least {
			return span{int(d / unit.per), unit.name}
		}
	}
	return span{int(d / time.Second), "second"}
}

package browser

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/httpkey/httpkey"
)

// A reader sees times in the zone of their browser, and a day that they choose ends there.
func TestTimeZones(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Asia/Tokyo", "America/New_York", "Asia/Kathmandu"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			s := newSite(t, nil)
			created := time.Date(2026, time.July, 14, 20, 35, 0, 0, time.UTC)
			s.add(t, httpkey.Token{ID: "id", Label: "Laptop", IsActive: true, CreatedAt: created})
			b := open(t, s, "ada")
			b.inZone(name)

			b.visit("id/")
			local := created.In(zone)
			b.mustRead(local.Format("January 2, 2006 at 3:04:05"))
			b.mustNotRead("at the end of that day, UTC")

			for _, date := range []time.Time{
				time.Now().AddDate(0, 0, 100), time.Now().AddDate(0, 0, 280), changeOfClock(zone),
			} {
				year, month, day := date.In(zone).Date()
				b.visit("id/")
				b.pick(date.In(zone))
				b.follow("Save changes")
				b.mustRead("saved")
				want := time.Date(year, month, day+1, 0, 0, 0, 0, zone)
				if got := s.tokens(t)[0].ExpiredAt; !got.Equal(want) {
					t.Errorf("%d %v ends at %v, want %v", day, month, got.In(zone), want)
				}
			}
			b.mustBeCalm()
		})
	}
}

// changeOfClock returns a moment of the next day on which the clock is put, or any if there is none.
func changeOfClock(zone *time.Location) time.Time {
	at := time.Now().In(zone)
	for range 365 {
		next := at.AddDate(0, 0, 1)
		if next.Sub(at) != day {
			return at.Add(12 * time.Hour)
		}
		at = next
	}
	return at
}

// pick chooses a day in the form, as the calendar of a browser does.
func (b *tab) pick(date time.Time) {
	b.t.Helper()
	run(b, chromedp.Evaluate[chromedp.Void](`{
		const field = document.querySelector("input[type=date]");
		field.value = "`+date.Format(time.DateOnly)+`";
		field.dispatchEvent(new Event("input", { bubbles: true }));
		field.dispatchEvent(new Event("change", { bubbles: true }));
	}`))
}

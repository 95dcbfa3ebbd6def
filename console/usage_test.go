package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/usage"
)

// reader is a usage.Reader that may fail.
type reader struct {
	usage.Store
	fail func(context.Context) error // nil: it does not
}

func (r *reader) Of(ctx context.Context, id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
	if r.fail != nil {
		if err := r.fail(ctx); err != nil {
			return nil, err
		}
	}
	return r.Store.Of(ctx, id, from, to, step)
}

// usedSite returns a site whose token has been used.
func usedSite(t testing.TB, deltas ...usage.Delta) (*site, *reader, httpkey.Token) {
	t.Helper()
	counts := &reader{Store: usage.NewMemory()}
	s := newSite(t, Options{Usage: counts})
	_, token := s.issue(httpkey.Token{Label: "used", User: "ada"})
	for i := range deltas {
		deltas[i].ID = token.ID
	}
	if _, err := counts.Add(t.Context(), deltas, usage.Keep{Hours: 40 * day, Days: 400 * day}); err != nil {
		t.Fatal(err)
	}
	return s, counts, token
}

// sampleUsage has an hour in each of some days.
func sampleUsage(now time.Time) []usage.Delta {
	hour := now.UTC().Truncate(time.Hour)
	return []usage.Delta{
		{Hour: hour, Counts: usage.Counts{Passed: 1200, Throttled: 3, Cost: 1300, Refused: 5,
			Reasons: map[httpkey.Reason]int64{httpkey.ReasonScope: 4, httpkey.ReasonNetwork: 1}}},
		{Hour: hour.Add(-23 * time.Hour), Counts: usage.Counts{Passed: 7, Cost: 7}},
		{Hour: hour.Add(-25 * time.Hour), Counts: usage.Counts{Throttled: 11}},
		{Hour: hour.Add(-29 * day), Counts: usage.Counts{Passed: 1, Cost: 1, DryRun: 1}},
		{Hour: hour.Add(-31 * day), Counts: usage.Counts{Passed: 1 << 20, Cost: 1 << 20}},
	}
}

// The API tells the last 24 hours and the last 30 days, and the last client only where one is known.
func TestAPIUsage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		httpkeytest.Elapse(40*day + 90*time.Minute)
		now := time.Now()
		s, counts, token := usedSite(t, sampleUsage(now)...)
		read := func() (got usageObject) {
			t.Helper()
			w := s.send("ada", "GET", "/"+token.ID+"/usage/", "")
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			return got
		}
		got := read()
		if len(got.Hours) != 2 || got.Hours[0].Passed != 7 || got.Hours[1].Passed != 1200 || got.Hours[1].Throttled != 3 ||
			got.Hours[1].Refused != 5 || got.Hours[1].Reasons["scope"] != 4 || got.Hours[1].Cost != 1300 ||
			!got.Hours[1].Start.Equal(now.Truncate(time.Hour)) {
			t.Errorf("the hours are %+v", got.Hours)
		}
		if len(got.Days) != 3 || got.Days[0].Passed != 1 || got.Days[0].DryRun != 1 || got.Days[2].Passed != 1200 {
			t.Errorf("the days are %+v", got.Days)
		}
		if text := s.send("ada", "GET", "/"+token.ID+"/usage/", "").Body.String(); strings.Contains(text, "last_client") {
			t.Errorf("a client is in %s", text)
		}
		client := usage.Client{Addr: netip.MustParseAddr("2001:db8::1"), UserAgent: "<b>curl</b>", At: now.UTC()}
		delta := usage.Delta{ID: token.ID, Hour: now.UTC().Truncate(time.Hour), Client: client}
		if _, err := counts.Add(t.Context(), []usage.Delta{delta}, usage.Keep{Hours: 40 * day, Days: 400 * day}); err != nil {
			t.Fatal(err)
		}
		want := clientObject{"2001:db8::1", "<b>curl</b>", now.UTC()}
		if last := read().LastClient; last == nil || *last != want {
			t.Errorf("the last client is %+v, want %+v", last, want)
		}
		_, fresh := s.issue(httpkey.Token{User: "ada"})
		if text := s.send("ada", "GET", "/"+fresh.ID+"/usage/", "").Body.String(); text != `{"hours":[],"days":[]}` {
			t.Errorf("the usage of a new token is %s", text)
		}
	})
}

// Without Options.Usage there is nothing to see. Otherwise those who may see the token may see its usage.
func TestUsageIsPrivate(t *testing.T) {
	t.Parallel()
	s, _, token := usedSite(t)
	for login, want := range map[string]int{"ada": 200, "eve": 404, "stranger": 401} {
		if w := s.send(login, "GET", "/"+token.ID+"/usage/", ""); w.Code != want {
			t.Errorf("%s got %d, want %d", login, w.Code, want)
		}
	}
	if w := s.send("ada", "GET", "/unknown/usage/", ""); w.Code != 404 {
		t.Errorf("an unknown token: %d", w.Code)
	}
	bare := newSite(t, Options{})
	ada := func(*http.Request) (Principal, error) { return people["ada"], nil }
	bare.handler = New(bare.guard, &Options{Principal: ada})
	_, own := bare.issue(httpkey.Token{User: "ada"})
	if w := bare.send("ada", "GET", "/"+own.ID+"/usage/", ""); w.Code != 404 {
		t.Errorf("without Options.Usage: %d", w.Code)
	}
	if body := tokenPageOf(bare, own); strings.Contains(body, "<svg") || strings.Contains(body, "Requests") {
		t.Error("without Options.Usage the page has a chart")
	}
}

func tokenPageOf(s *site, token httpkey.Token) string {
	s.Helper()
	w := s.send("ada", "GET", "/"+token.ID+"/", "", "Accept", browserAccept)
	if w.Code != http.StatusOK {
		s.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// The page of a token has a chart of hours and one of days, each with its sums in words, and nothing that
// the Content-Security-Policy would refuse.
func TestChartsOnThePage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		httpkeytest.Elapse(40*day + 90*time.Minute)
		now := time.Now().UTC()
		deltas := sampleUsage(now)
		deltas[0].Client = usage.Client{Addr: netip.MustParseAddr("203.0.113.7"), UserAgent: "<b>evil</b>",
			At: now.Add(-3 * time.Minute)}
		s, _, token := usedSite(t, deltas...)
		body := tokenPageOf(s, token)
		for _, want := range []string{
			`<svg role="img" aria-labelledby="usage-hour" viewBox="0 0 240 106"`,
			`<svg role="img" aria-labelledby="usage-day" viewBox="0 0 300 106"`,
			`<figcaption id="usage-hour">`, `<figcaption id="usage-day">`,
			`<rect class="passed" x="0" y="103" width="8" height="3"/>`, // the first hour
			`<rect class="throttled"`, `<rect class="refused"`,
			"&lt;b&gt;evil&lt;/b&gt;", "203.0.113.7",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("the page has no %s", want)
			}
		}
		text := textOf(body)
		for _, want := range []string{
			"Last 24 hours: 1,207 passed, 3 over the limit, 5 refused (4 without the scope, 1 from another network)",
			"Last 30 days: 1,208 passed, 14 over the limit, 5 refused (4 without the scope, 1 from another network)",
			"Last request 3 minutes ago from 203.0.113.7 by <b>evil</b>",
		} {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
				t.Errorf("the page does not say %q:\n%s", want, text)
			}
		}
		chart := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindString(body)
		if strings.Contains(chart, "style") || strings.Contains(chart, "<script") || strings.Contains(chart, " on") {
			t.Errorf("the chart has what the policy refuses: %s", chart)
		}
		_, fresh := s.issue(httpkey.Token{User: "ada"})
		body = tokenPageOf(s, fresh)
		text = strings.Join(strings.Fields(textOf(body)), " ")
		if !strings.Contains(text, "Last 24 hours: no requests") || strings.Contains(body, "<rect") ||
			strings.Contains(text, " by ") {
			t.Errorf("the page of a new token says %s", text)
		}
	})
}

// If the usage is not known, the page shows the token all the same, and soon. The failure is audited.
func TestUsageIsNotKnown(t *testing.T) {
	t.Parallel()
	down := errors.New("the database said secret things")
	for name, fail := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return down },
		"stall": func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("%w: %w", down, ctx.Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, counts, token := usedSite(t)
				counts.fail = fail
				start := time.Now()
				body := tokenPageOf(s, token)
				if took := time.Since(start); took > time.Second {
					t.Errorf("the page took %v", took)
				}
				if !strings.Contains(body, "The requests cannot be shown now.") || strings.Contains(body, "<svg") ||
					strings.Contains(body, "secret things") || !strings.Contains(body, "used") {
					t.Errorf("the page is %s", textOf(body))
				}
				w := s.send("ada", "GET", "/"+token.ID+"/usage/", "")
				if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret things") {
					t.Errorf("the API answers %d %s", w.Code, w.Body)
				}
				told := 0
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, e := range s.events {
					if errors.Is(e.Err, down) && e.Token.ID == token.ID {
						told++
					}
				}
				if told != 2 {
					t.Errorf("%d failures are audited, want 2: %v", told, s.events)
				}
			})
		})
	}
}

// Bars stand on each other within the drawing, whatever the numbers are, and the smallest is seen.
func TestChartIsDrawn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 15, 30, 0, 0, time.FixedZone("east", 5*3600))
	start := hours.first(now)
	at := func(i int, passed, throttled, refused int64) usage.Interval {
		c := usage.Counts{Passed: passed, Throttled: throttled, Refused: refused}
		return usage.Interval{Start: start.Add(time.Duration(i) * time.Hour), Counts: c}
	}
	for name, intervals := range map[string][]usage.Interval{
		"none":       nil,
		"one":        {at(23, 1, 0, 0)},
		"each":       {at(0, 1, 1, 1), at(5, 9, 0, 3), at(23, 0, 2, 0)},
		"far apart":  {at(1, 1<<40, 1, 1), at(2, 1, 0, 1)},
		"negative":   {at(1, -1, 0, 2), at(2, 5, 0, 0)},
		"only lost":  {at(1, -1, 0, 0)},
		"huge":       {at(3, 1<<61, 1<<60, 1<<60)},
		"elsewhere":  {at(-1, 5, 0, 0), at(24, 5, 0, 0), at(2, 1, 0, 0)},
		"all at the": {at(4, 100, 0, 0), at(5, 100, 0, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ch := hours.chart(intervals, now)
			if ch.Width != 240 || ch.Step != "hour" {
				t.Errorf("the chart is %+v", ch)
			}
			want := 0
			for _, i := range intervals {
				if i.Start.Before(start) || !i.Start.Before(start.Add(24*time.Hour)) {
					continue
				}
				for _, n := range outcomesOf(&i.Counts) {
					if n > 0 {
						want++
					}
				}
			}
			if len(ch.Bars) != want {
				t.Errorf("%d bars, want %d", len(ch.Bars), want)
			}
			floor := make(map[int]int)
			for _, b := range ch.Bars {
				if floor[b.X] == 0 {
					floor[b.X] = ch.Height
				}
				if b.Height < leastHeight || b.Y < 0 || b.Y+b.Height != floor[b.X] || b.X < 0 || b.X+b.Width > ch.Width {
					t.Errorf("a bar is %+v, on %d", b, floor[b.X])
				}
				floor[b.X] = b.Y
			}
			if ch.Passed < 0 || ch.Throttled < 0 || ch.Refused < 0 {
				t.Errorf("the sums are %+v", ch)
			}
		})
	}
}

// Each reason for which a known token is refused has a text.
func TestEveryUsageReasonHasAText(t *testing.T) {
	t.Parallel()
	token := ownPages(t)["token"]
	for _, reason := range []httpkey.Reason{
		httpkey.ReasonInactive, httpkey.ReasonExpired, httpkey.ReasonNetwork, httpkey.ReasonLimit, httpkey.ReasonScope,
		httpkey.ReasonKind, httpkey.ReasonWorkspace, httpkey.ReasonLimiter, httpkey.ReasonStore, "new_reason",
	} {
		var b strings.Builder
		if err := token.ExecuteTemplate(&b, "usage-reason", reasonView{2, string(reason)}); err != nil {
			t.Fatal(err)
		}
		named := string(reason) == strings.TrimPrefix(b.String(), "2 ")
		if isNew := reason == "new_reason"; named != isNew && reason != httpkey.ReasonExpired {
			t.Errorf("%s is %q", reason, b.String())
		}
	}
}

package integration

import (
	"context"
	"fmt"
	"net/http"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
)

// budget is the default of Options.Timeout.
const budget = 100 * time.Millisecond

// slow is more than any answer takes by itself, on a machine that does other things too. What
// an answer takes is asserted in bubbles of testing/synctest; here it is told.
const slow = 5 * time.Second

// slowly is a limit of which nothing comes back during a test: 20,000 in a hundred days.
var slowly = httpkey.Limit{Rate: 20_000, Period: 2400 * time.Hour}

// outage is one of a server, and the site that has to live through it.
type outage struct {
	site    *site
	proxy   *proxy             // between the two
	limiter httpkey.Limiter    // the site's, but that it asks the server itself
	warm    func()             // makes as many connections as the site may have
	down    func() (up func()) // makes the server fail; up ends the failure
	answers bool               // the store does, if late, so that for it that is no outage
	lasts   time.Duration      // 0: two seconds
	leaks   func() error       // reports remains of the outage
}

// inOutage needs a test that has called labelGoroutines before it made the site.
func inOutage(t *testing.T, o *outage, callers int) {
	s := o.site
	once, known, madeUpKey := s.issue(t, callers, slowly), s.issue(t, callers, slowly), madeUpKeySource()
	o.warm()
	for i := range callers {
		s.enter(t, once[i].key)
		s.enter(t, known[i].key)
	}
	goroutines := func() int { return goroutinesOf(t) - int(o.proxy.passing.Load()) }
	before := goroutines()

	up := o.down()
	var herd timings
	each(callers, func(i int) { herd.add(s.expect(t, once[i].key, http.StatusOK)) })
	var unknown timings
	askUnknown := func() {
		answers := []int{http.StatusServiceUnavailable}
		if o.answers { // on a busy machine, an answer that is late may be there before the request gives up
			answers = append(answers, http.StatusUnauthorized)
		}
		unknown.add(s.expect(t, madeUpKey(), answers...))
	}
	each(callers, func(int) { askUnknown() })
	s.load(t, callers, max(o.lasts, 2*time.Second), func(i int) {
		herd.add(s.expect(t, known[i].key, http.StatusOK))
		askUnknown()
	})
	// Now the breakers are open. With one caller that of the store is not: failed lookups of one key in
	// memory are no outage. Then an unknown key would wait for the store each time, as above.
	storeDowns := min(1, callers-1)
	var afterwards, afterwardsUnknown timings
	for range 300 {
		afterwards.add(s.expect(t, known[0].key, http.StatusOK))
		if storeDowns > 0 && !o.answers {
			afterwardsUnknown.add(s.expect(t, madeUpKey(), http.StatusServiceUnavailable))
		}
	}

	up()
	limits := eventually(t, 10*time.Second, func() error {
		s.get(known[0].key)
		if s.times(httpkey.EventLimiterUp) == 0 {
			return fmt.Errorf("limits do not come from the server again")
		}
		return nil
	})
	keys := limits + eventually(t, 10*time.Second, func() error {
		if status := s.get(madeUpKey()); status != http.StatusUnauthorized {
			return fmt.Errorf("an unknown key is answered %d", status)
		}
		return nil
	})
	t.Logf("quote | known %v | unknown %v | open: known %v, unknown %v | limits back %v, keys back %v",
		&herd, &unknown, afterwards.median(), afterwardsUnknown.median(),
		limits.Round(time.Millisecond), keys.Round(time.Millisecond))

	for what, got := range map[string]time.Duration{
		"known keys": herd.quantile(1000), "unknown keys": unknown.quantile(1000),
		"known keys, after the breaker opened":   afterwards.median(),
		"unknown keys, after the breaker opened": afterwardsUnknown.median(),
	} {
		if got > slow {
			t.Errorf("%s: %v, more than %v", what, got, slow)
		}
	}
	eventually(t, 5*time.Second, func() error { // a change is told just after it shows
		stores := s.times(cachestore.EventStoreDown)
		limiterDown, limiterUp := s.times(httpkey.EventLimiterDown), s.times(httpkey.EventLimiterUp)
		if limiterDown != 1 || limiterUp != 1 ||
			stores != s.times(cachestore.EventStoreUp) || stores != storeDowns && !o.answers {
			return fmt.Errorf("told were %v", s.told)
		}
		return nil
	})
	checkCharges(t, o, once)
	eventually(t, 20*time.Second, func() error { // pgx gives a connection 15 s to end well
		if n := goroutines(); n > before {
			return fmt.Errorf("%d goroutines, %d before", n, before)
		}
		if o.leaks != nil {
			return o.leaks()
		}
		return nil
	})
}

// checkCharges checks what the buckets have lost on the server, now that it is back. A caller
// that asked once before and once in the outage was charged twice at most, and one that
// comes now, once.
func checkCharges(t *testing.T, o *outage, once []holder) {
	t.Helper()
	charged := func(h holder) int {
		var r httpkey.Result
		eventually(t, 5*time.Second, func() (err error) {
			r, err = o.limiter.Allow(t.Context(), of("token:"+h.id, 0, slowly))
			return err
		})
		return r.Limit.Burst - r.Remaining
	}
	counts := make(map[int]int)
	for _, h := range once {
		counts[charged(h)]++
	}
	if counts[1]+counts[2] != len(once) {
		t.Errorf("of callers that asked twice, this many were charged as often: %v", counts)
	}
	eventually(t, 10*time.Second, func() error { // on a busy machine, a request may still be too late for the server
		now := o.site.issue(t, 1, slowly)[0]
		status, charges := o.site.get(now.key), charged(now)
		if charges > 1 {
			t.Fatalf("back again, a request was charged %d times", charges)
		}
		if status != http.StatusOK || charges != 1 {
			return fmt.Errorf("back again, a request is answered %d and charged %d times", status, charges)
		}
		return nil
	})
}

// labelGoroutines labels the goroutine of a test. The goroutines that it starts inherit the label, so
// goroutinesOf does not count those of tests that run beside it.
func labelGoroutines(t *testing.T) {
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("test", t.Name())))
}

// goroutinesOf counts the goroutines with the label of a test.
func goroutinesOf(t *testing.T) int {
	t.Helper()
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	label := fmt.Sprintf(`"test":%q`, t.Name())
	count := 0
	_, entries, _ := strings.Cut(profile.String(), "\n") // the first line is a heading
	for entry := range strings.SplitSeq(entries, "\n\n") {
		var n int
		if _, err := fmt.Sscanf(entry, "%d @", &n); err == nil && strings.Contains(entry, label) {
			count += n
		}
	}
	if count == 0 {
		t.Fatal("labelGoroutines was not called")
	}
	return count
}

// enter sends a request that the server answers, however busy the machine is: the limiter charges it once, and
// the cache knows its key.
func (s *site) enter(t *testing.T, key string) {
	t.Helper()
	if w := httpkeytest.Get(s.patient, key); w.Code != http.StatusOK {
		t.Fatalf("answered %d", w.Code)
	}
}

// expect sends a request, which has one of these answers, and returns how long it took.
func (s *site) expect(t *testing.T, key string, statuses ...int) time.Duration {
	t.Helper()
	start := time.Now()
	got := s.get(key)
	took := time.Since(start)
	if !slices.Contains(statuses, got) {
		t.Errorf("answered %d, want %v", got, statuses)
	}
	return took
}

// each calls f for each caller, all at once.
func each(callers int, f func(i int)) {
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { f(i) })
	}
	group.Wait()
}

// load has callers call f every 50 ms, so that what is measured is the wait and not the CPU.
func (s *site) load(t *testing.T, callers int, duration time.Duration, f func(i int)) {
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	each(callers, func(i int) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			f(i)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// timings are what requests took.
type timings struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *timings) add(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, took)
}

// quantile returns what this many of a thousand did not exceed.
func (l *timings) quantile(perMille int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0
	}
	slices.Sort(l.all)
	return l.all[min(len(l.all)*perMille/1000, len(l.all)-1)].Round(time.Microsecond)
}

func (l *timings) median() time.Duration { return l.quantile(500) }

func (l *timings) String() string {
	return fmt.Sprintf("%d requests, median %v, p99 %v, max %v", len(l.all), l.median(), l.quantile(990), l.quantile(1000))
}

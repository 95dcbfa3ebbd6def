package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var (
	errDown = errors.New("the store is down")
	errCut  = errors.New("the feed is cut")
)

// backend is a store in memory that fails on demand, and whose feed can be cut.
type backend struct {
	*httpkeytest.Store
	memory *memstore.Store

	mu    sync.Mutex
	isCut bool
	end   context.CancelCauseFunc // of the feed
}

func newBackend() *backend {
	memory := memstore.New()
	return &backend{Store: httpkeytest.NewStore(memory), memory: memory}
}

// Changes implements [httpkey.ChangeFeed].
func (b *backend) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	feed, end := context.WithCancelCause(ctx)
	defer end(nil)
	b.mu.Lock()
	isCut := b.isCut
	b.end = end
	b.mu.Unlock()
	if isCut {
		return errCut
	}
	_ = b.memory.Changes(feed, ready, changed)
	return context.Cause(feed)
}

// cut breaks the feed. It stays broken until mend.
func (b *backend) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isCut = true
	b.end(errCut)
}

func (b *backend) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isCut = false
}

// run follows the feed in a bubble until the returned function is called.
func run(t *testing.T, w *Watcher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	}
}

// site is a Guard over a backend in a bubble, with a Watcher.
type site struct {
	*httpkey.Guard
	*backend
	live *Watcher
}

func newSite(t *testing.T, opts *Options) *site {
	t.Helper()
	b := newBackend()
	guard := httpkey.New(b, httpkey.Unlimited, nil)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	return &site{guard, b, New(b, opts)}
}

// open issues a token and opens a stream.
func (s *site) open(t *testing.T, token httpkey.Token) (httpkey.Token, *opened) {
	t.Helper()
	issued := httpkeytest.Issue(t, s.Guard, token).Token
	return issued, s.openOf(t, issued)
}

func (s *site) openOf(t *testing.T, token httpkey.Token) *opened {
	t.Helper()
	ctx, stop := s.live.Watch(t.Context(), token)
	return &opened{ctx, stop}
}

type opened struct {
	context.Context
	stop context.CancelFunc
}

// isEnded reports whether the Watcher has ended a stream.
func (o *opened) isEnded() bool {
	return o.Err() != nil && errors.Is(context.Cause(o), ErrEnded)
}

func (o *opened) want(t *testing.T, isEnded bool, when string) {
	t.Helper()
	synctest.Wait()
	if o.isEnded() != isEnded {
		t.Errorf("%s: ended %t, want %t (%v)", when, o.isEnded(), isEnded, context.Cause(o))
	}
}

// wantEmpty checks that a Watcher keeps nothing of streams that are over.
func wantEmpty(t *testing.T, w *Watcher) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.tokens) + w.queue.urgent.Len() + w.queue.due.Len() + w.queue.lookups; n != 0 {
		t.Errorf("after the last stream, %d tokens, %d+%d in the queue and %d goroutines are left",
			len(w.tokens), w.queue.urgent.Len(), w.queue.due.Len(), w.queue.lookups)
	}
}

// changes of a token, and the time after which they end its streams; negative: never.
var changes = []struct {
	name string
	do   func(ctx context.Context, s *site, t httpkey.Token) error
	ends time.Duration
}{
	{"revoked", func(ctx context.Context, s *site, t httpkey.Token) error { return s.Revoke(ctx, t.ID, "lost") }, 0},
	{"deleted", func(ctx context.Context, s *site, t httpkey.Token) error { return s.Delete(ctx, t.ID) }, 0},
	{"expired", expiring(0), 0},
	{"to expire soon", expiring(time.Minute), time.Minute},
	{"to expire later", expiring(3 * time.Hour), 3 * time.Hour},
	{"rotated", func(ctx context.Context, s *site, t httpkey.Token) error {
		_, err := s.Rotate(ctx, t.ID, 0)
		return err
	}, 0},
	{"rotated with grace", func(ctx context.Context, s *site, t httpkey.Token) error {
		_, err := s.Rotate(ctx, t.ID, 10*time.Minute)
		return err
	}, 10 * time.Minute},
	{"relabeled", func(ctx context.Context, s *site, t httpkey.Token) error {
		_, err := s.Update(ctx, t.ID, func(t *httpkey.Token) error { t.Label = "new"; return nil })
		return err
	}, -1},
}

// expiring returns a change of the expiry.
func expiring(after time.Duration) func(context.Context, *site, httpkey.Token) error {
	return func(ctx context.Context, s *site, t httpkey.Token) error {
		_, err := s.Update(ctx, t.ID, func(t *httpkey.Token) error {
			t.ExpiredAt = time.Now().Add(after)
			return nil
		})
		return err
	}
}

// A change that the feed reports ends the streams of its token at once, or at the very moment
// of an expiry, and no others. A token of an hour stands for one whose life is prolonged or cut
// short.
func TestChangesEndStreams(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{0, time.Hour} {
		for _, change := range changes {
			t.Run(fmt.Sprintf("%s, life %v", change.name, life), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, nil)
					defer run(t, s.live)()
					var expiry time.Time
					if life > 0 {
						expiry = time.Now().Add(life)
					}
					token, one := s.open(t, httpkey.Token{ExpiredAt: expiry})
					two := s.openOf(t, token)
					_, other := s.open(t, httpkey.Token{})
					ends := change.ends
					if ends < 0 && life > 0 {
						ends = life
					}
					if err := change.do(t.Context(), s, token); err != nil {
						t.Fatal(err)
					}
					if ends > 0 {
						httpkeytest.Elapse(ends - 1)
						one.want(t, false, "a nanosecond before the end")
						httpkeytest.Elapse(1)
					}
					one.want(t, ends >= 0, "at the end")
					two.want(t, ends >= 0, "at the end, the second stream")
					httpkeytest.Elapse(5 * time.Hour)
					one.want(t, ends >= 0, "hours later")
					other.want(t, false, "a stream of another token")
					one.stop()
					two.stop()
					other.stop()
					wantEmpty(t, s.live)
				})
			})
		}
	}
}

// Without Run, and while the feed is cut, a change ends streams within the TTL, and an expiry
// that is known at its moment.
func TestStreamsEndWithinTheTTL(t *testing.T) {
	t.Parallel()
	for _, option := range []time.Duration{0, 100 * time.Millisecond, time.Second, 10 * time.Minute} {
		for name, isCut := range map[string]bool{"no Run": false, "feed cut": true} {
			t.Run(fmt.Sprintf("%s, TTL %v", name, option), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, &Options{TTL: option})
					ttl := cmp.Or(option, 30*time.Second)
					if isCut {
						defer run(t, s.live)()
						s.cut()
					}
					revoked, one := s.open(t, httpkey.Token{})
					_, expiring := s.open(t, httpkey.Token{ExpiredAt: time.Now().Add(5*ttl + ttl/4)})
					_, other := s.open(t, httpkey.Token{})
					httpkeytest.Elapse(3*ttl + ttl/2)
					if err := s.Revoke(t.Context(), revoked.ID, "lost"); err != nil {
						t.Fatal(err)
					}
					httpkeytest.Elapse(ttl)
					one.want(t, true, "the TTL after the revocation")
					httpkeytest.Elapse(5*ttl + ttl/4 - (4*ttl + ttl/2) - 1)
					expiring.want(t, false, "a nanosecond before the expiry")
					httpkeytest.Elapse(1)
					expiring.want(t, true, "at the expiry")
					httpkeytest.Elapse(10 * ttl)
					other.want(t, false, "a stream of another token")
					for _, o := range []*opened{one, expiring, other} {
						o.stop()
					}
					wantEmpty(t, s.live)
				})
			})
		}
	}
}

// Each token costs one Lookup in each TTL, however many streams it has.
func TestOneLookupPerTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		defer run(t, s.live)()
		token, _ := s.open(t, httpkey.Token{})
		for range 99 {
			s.openOf(t, token)
		}
		httpkeytest.Elapse(firstCheck)
		synctest.Wait()
		before := s.Calls("Lookup")
		httpkeytest.Elapse(time.Hour)
		synctest.Wait()
		if n := s.Calls("Lookup") - before; n != 120 {
			t.Errorf("%d Lookups in an hour, want 120", n)
		}
		s.live.mu.Lock()
		streams := s.live.tokens[token.Digest].streams
		s.live.mu.Unlock()
		if len(streams) != 100 {
			t.Errorf("%d streams are open", len(streams))
		}
		if err := s.Delete(t.Context(), token.ID); err != nil {
			t.Fatal(err)
		}
		wantEmpty(t, s.live)
	})
}

// Changes that the feed missed end streams when it is back, whatever the TTL is. The observer
// is told once that the feed is down, once that it is up, and of each token whose streams end.
func TestStreamsEndWhenTheFeedIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen events
		s := newSite(t, &Options{TTL: 24 * time.Hour, Observers: []httpkey.Observer{&seen}})
		defer run(t, s.live)()
		token, one := s.open(t, httpkey.Token{User: "ann"})
		_, other := s.open(t, httpkey.Token{})
		httpkeytest.Elapse(time.Minute)
		s.cut()
		synctest.Wait()
		if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(time.Minute)
		one.want(t, false, "while the feed is cut")
		s.mend()
		httpkeytest.Elapse(5 * time.Second)
		one.want(t, true, "when the feed is back")
		other.want(t, false, "a stream of another token")
		other.stop()
		want := fmt.Sprintf("%s the feed is cut, %s, %s %s ann", EventFeedDown, EventFeedUp, EventEnded, token.ID)
		if got := seen.all(); got != want {
			t.Errorf("observed %q, want %q", got, want)
		}
		wantEmpty(t, s.live)
	})
}

// events collects what an Observer is told of.
type events struct {
	mu   sync.Mutex
	told []string
}

func (e *events) Observe(_ context.Context, event *httpkey.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := string(event.Type)
	if event.Err != nil {
		text += " " + event.Err.Error()
	}
	if event.Token.ID != "" {
		text += " " + event.Token.ID + " " + event.Token.User
	}
	if event.Token.Digest != (httpkey.Digest{}) {
		text += " with its digest"
	}
	e.told = append(e.told, text)
}

func (e *events) all() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.told, ", ")
}

// A token that was revoked before its stream was open, and after the Guard found it, ends the
// stream a second later, though the feed reported the revocation earlier.
func TestRevocationBeforeTheStreamIsOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		defer run(t, s.live)()
		token := httpkeytest.Issue(t, s.Guard, httpkey.Token{}).Token
		if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		one := s.openOf(t, token)
		httpkeytest.Elapse(firstCheck - 1)
		one.want(t, false, "before the first check")
		httpkeytest.Elapse(1)
		one.want(t, true, "after the first check")
		wantEmpty(t, s.live)
	})
}

// A Guard that still knows an older expiry, or a newer one, makes the Watcher ask the store.
func TestStreamsOfOneTokenWithTwoExpiries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil) // without Run
		old, one := s.open(t, httpkey.Token{ExpiredAt: time.Now().Add(time.Hour)})
		httpkeytest.Elapse(firstCheck)
		synctest.Wait()
		if err := expiring(10*time.Second)(t.Context(), s, old); err != nil {
			t.Fatal(err)
		}
		fresh, err := s.Get(t.Context(), old.ID)
		if err != nil {
			t.Fatal(err)
		}
		two := s.openOf(t, fresh)
		three := s.openOf(t, old)
		httpkeytest.Elapse(10*time.Second - 1)
		one.want(t, false, "before the new expiry")
		httpkeytest.Elapse(1)
		for _, o := range []*opened{one, two, three} {
			o.want(t, true, "at the new expiry")
		}
		wantEmpty(t, s.live)
	})
}

// A store that fails ends no stream. When it is back, a revocation ends its streams within
// the TTL, and at once if the feed reports it then.
func TestStoreErrorsEndNoStream(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]httpkeytest.Fault{
		"fails":  httpkeytest.Fail(errDown, "Lookup"),
		"stalls": httpkeytest.Stall("Lookup"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, nil)
				defer run(t, s.live)()
				revoked, one := s.open(t, httpkey.Token{})
				later, two := s.open(t, httpkey.Token{})
				_, other := s.open(t, httpkey.Token{})
				_, expiring := s.open(t, httpkey.Token{ExpiredAt: time.Now().Add(time.Minute)})
				s.Before(fault)
				if err := s.Revoke(t.Context(), revoked.ID, "lost"); err != nil {
					t.Fatal(err)
				}
				httpkeytest.Elapse(time.Minute)
				expiring.want(t, true, "at its expiry, in the outage")
				httpkeytest.Elapse(time.Hour)
				one.want(t, false, "in the outage")
				before := s.Calls("Lookup")
				httpkeytest.Elapse(time.Hour)
				synctest.Wait()
				if n := s.Calls("Lookup") - before; n < 3*100 || n > 3*120 {
					t.Errorf("%d Lookups in an hour of the outage, want one of each token in a TTL", n)
				}
				s.Before(nil)
				if err := s.Revoke(t.Context(), later.ID, "lost"); err != nil {
					t.Fatal(err)
				}
				if name == "stalls" {
					httpkeytest.Elapse(lookupTimeout) // a Lookup that began before
				}
				two.want(t, true, "as soon as the feed tells")
				httpkeytest.Elapse(30 * time.Second)
				one.want(t, true, "the TTL after the outage")
				other.want(t, false, "a stream of another token")
				other.stop()
				wantEmpty(t, s.live)
			})
		})
	}
}

// A Lookup that fails is repeated soon, so that a short failure does not delay a revocation by
// the TTL. So it is after a failure that is long past.
func TestFailedLookupsAreRepeatedSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &Options{TTL: time.Hour})
		defer run(t, s.live)()
		token, one := s.open(t, httpkey.Token{})
		s.Before(httpkeytest.Fail(errDown, "Lookup"))
		httpkeytest.Elapse(3 * time.Hour)
		s.Before(nil)
		httpkeytest.Elapse(3 * time.Hour)
		s.Before(httpkeytest.Fail(errDown, "Lookup"))
		if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(minRetry / 2)
		s.Before(nil)
		httpkeytest.Elapse(minRetry / 2)
		one.want(t, true, "after the pause")
		wantEmpty(t, s.live)
	})
}

// lag is how late and old an answer of the store is in some tests.
const lag = 300 * time.Millisecond

// A Lookup that is under way when its token is revoked does not hide the revocation, and its
// token is not looked up twice at once.
func TestRevocationOvertakesALookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		defer run(t, s.live)()
		token, one := s.open(t, httpkey.Token{})
		httpkeytest.Elapse(2 * firstCheck)
		s.After(httpkeytest.Lag(lag, "Lookup"))
		before := s.Calls("Lookup")
		if err := expiring(time.Hour)(t.Context(), s, token); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(lag / 3)
		if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.Calls("Lookup") - before; n != 1 {
			t.Errorf("%d Lookups at once", n)
		}
		httpkeytest.Elapse(2 * lag / 3)
		one.want(t, false, "after the old answer")
		httpkeytest.Elapse(lag)
		one.want(t, true, "after the second Lookup")
		wantEmpty(t, s.live)
	})
}

// The TTL runs from the beginning of a Lookup, because the answer may be as old as that.
func TestTTLRunsFromTheBeginningOfALookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const ttl = time.Second
		s := newSite(t, &Options{TTL: ttl}) // without Run
		s.After(httpkeytest.Lag(lag, "Lookup"))
		token, one := s.open(t, httpkey.Token{})
		httpkeytest.Elapse(ttl + lag/2) // the first Lookup is in progress
		if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(ttl + lag/2)
		one.want(t, true, "the TTL and the time of a Lookup later")
		wantEmpty(t, s.live)
	})
}

// The answer of a Lookup says nothing of streams that opened after all streams of the token had
// been over, and leaves no timer.
func TestStreamsOpenAnewDuringALookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil) // without Run
		token, one := s.open(t, httpkey.Token{})
		s.After(httpkeytest.Lag(lag, "Lookup"))
		if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(firstCheck + lag/2)
		s.live.mu.Lock()
		closed := s.live.tokens[token.Digest]
		s.live.mu.Unlock()
		one.stop()
		two := s.openOf(t, token)
		httpkeytest.Elapse(firstCheck)
		two.want(t, false, "after the answer for the first stream")
		httpkeytest.Elapse(lag)
		two.want(t, true, "after its own first check")
		one.want(t, false, "the stream that was over before")
		if closed.check.Stop() || closed.expiry.Stop() {
			t.Error("a timer is left")
		}
		wantEmpty(t, s.live)
	})
}

// A stream that is over leaves no timer.
func TestStreamsThatAreOverLeaveNoTimer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	token, one := s.open(t, httpkey.Token{ExpiredAt: time.Now().Add(time.Hour)})
	kept := s.live.tokens[token.Digest]
	one.stop()
	if kept.check.Stop() || kept.expiry.Stop() {
		t.Error("a timer is left")
	}
}

// Streams last for days, and an expiry after days ends them at its moment, although the timers
// are shorter.
func TestStreamsLastForDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &Options{TTL: 10_000 * time.Hour})
		_, expiring := s.open(t, httpkey.Token{ExpiredAt: time.Now().Add(60 * time.Hour)})
		_, other := s.open(t, httpkey.Token{})
		httpkeytest.Elapse(60*time.Hour - 1)
		expiring.want(t, false, "before the expiry")
		httpkeytest.Elapse(1)
		expiring.want(t, true, "at the expiry")
		httpkeytest.Elapse(1000 * time.Hour)
		other.want(t, false, "a stream without an expiry")
		other.stop()
		wantEmpty(t, s.live)
	})
}

// However many tokens are due, few Lookups are in progress. A revocation does not wait for
// them all, and an expiry for none.
func TestLookupsAreBounded(t *testing.T) {
	t.Parallel()
	const tokens = 500
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &Options{TTL: time.Hour})
		var mu sync.Mutex
		var atOnce, most int
		s.Before(func(ctx context.Context, method string) error {
			if method == "Lookup" {
				mu.Lock()
				atOnce++
				most = max(most, atOnce)
				mu.Unlock()
				httpkeytest.Elapse(100 * time.Millisecond)
				mu.Lock()
				atOnce--
				mu.Unlock()
			}
			return nil
		})
		var all []*opened
		for range tokens {
			_, one := s.open(t, httpkey.Token{})
			all = append(all, one)
		}
		revoked, one := s.open(t, httpkey.Token{})
		_, expiring := s.open(t, httpkey.Token{ExpiredAt: time.Now().Add(3 * time.Second)})
		const start = firstCheck/2 + 30*time.Millisecond // no Lookup begins with the first check
		httpkeytest.Elapse(start)
		defer run(t, s.live)() // all tokens are due
		httpkeytest.Elapse(time.Second)
		if err := s.Revoke(t.Context(), revoked.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(200 * time.Millisecond)
		one.want(t, true, "before the other tokens are looked up")
		if n := s.Calls("Lookup"); n > tokens/2 {
			t.Errorf("%d Lookups were before that of the revoked token", n)
		}
		httpkeytest.Elapse(3*time.Second - start - 1200*time.Millisecond)
		expiring.want(t, true, "at its expiry")
		httpkeytest.Elapse(tokens * 100 * time.Millisecond / maxLookups)
		synctest.Wait()
		if n := s.Calls("Lookup"); n < tokens+1 || n > tokens+3 { // none of the expired one, or two of the revoked one
			t.Errorf("%d Lookups, want one of each of %d tokens", n, tokens+2)
		}
		if most != maxLookups {
			t.Errorf("up to %d Lookups at once, want %d", most, maxLookups)
		}
		for _, one := range all {
			one.want(t, false, "a stream of another token")
			one.stop()
		}
		wantEmpty(t, s.live)
	})
}

// Streams that are over leave nothing in the queue, even if the store never answers.
func TestQueueForgetsStreamsThatAreOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		release := make(chan bool)
		s.Before(func(_ context.Context, method string) error {
			if method == "Lookup" {
				<-release // ignores its context
			}
			return nil
		})
		for range 100 {
			_, one := s.open(t, httpkey.Token{})
			httpkeytest.Elapse(firstCheck)
			synctest.Wait()
			one.stop()
		}
		s.live.mu.Lock()
		if n := len(s.live.tokens) + s.live.queue.due.Len() + s.live.queue.urgent.Len(); n != 0 {
			t.Errorf("%d are left", n)
		}
		if s.live.queue.lookups != maxLookups {
			t.Errorf("%d Lookups are in progress", s.live.queue.lookups)
		}
		s.live.mu.Unlock()
		close(release)
		wantEmpty(t, s.live)
	})
}

// 10,000 streams of one token end together, and nothing else does.
func TestManyStreamsOfOneToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen events
		s := newSite(t, &Options{Observers: []httpkey.Observer{&seen}})
		defer run(t, s.live)()
		token := httpkeytest.Issue(t, s.Guard, httpkey.Token{}).Token
		var others, all []*opened
		for n := range 10_000 {
			all = append(all, s.openOf(t, token))
			if n%10 == 0 {
				_, other := s.open(t, httpkey.Token{})
				others = append(others, other)
			}
			if n%3 == 0 {
				all[n].stop() // is not ended later
			}
		}
		if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for n, one := range all {
			if one.isEnded() != (n%3 != 0) || one.Err() == nil {
				t.Fatalf("stream %d: %v", n, context.Cause(one))
			}
			one.stop() // also after the end
		}
		for _, other := range others {
			if other.Err() != nil {
				t.Fatal("a stream of another token was ended")
			}
			other.stop()
		}
		if n := strings.Count(seen.all(), string(EventEnded)); n != 1 {
			t.Errorf("%d events", n)
		}
		wantEmpty(t, s.live)
	})
}

// Streams open and close while their tokens are revoked. None outlives its token, and none
// ends without need.
func TestStreamsOpenAndCloseDuringRevocations(t *testing.T) {
	t.Parallel()
	const tokens, workers = 50, 8
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		defer run(t, s.live)()
		var working sync.WaitGroup
		var mu sync.Mutex
		open := make([][]*opened, tokens)
		for n := range tokens {
			token := httpkeytest.Issue(t, s.Guard, httpkey.Token{}).Token
			for range workers {
				working.Go(func() {
					for range 50 {
						one := s.openOf(t, token)
						if one.Err() != nil && !one.isEnded() {
							t.Error("a stream ended by itself")
						}
						one.stop()
					}
					mu.Lock()
					open[n] = append(open[n], s.openOf(t, token))
					mu.Unlock()
				})
			}
			if n%2 == 0 {
				working.Go(func() {
					if err := s.Revoke(t.Context(), token.ID, "lost"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		working.Wait()
		httpkeytest.Elapse(firstCheck)
		for n := range tokens {
			for _, one := range open[n] {
				one.want(t, n%2 == 0, fmt.Sprint("a stream of token ", n))
				one.stop()
			}
		}
		wantEmpty(t, s.live)
	})
}

// The end of its parent ends a stream too, with the parent's cause, and stop with none.
func TestStreamsEndWithTheirRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		token := httpkeytest.Issue(t, s.Guard, httpkey.Token{}).Token
		gone := errors.New("the client is gone")
		for name, watched := range map[string]httpkey.Token{"token": token, "session": {ID: "session", IsActive: true}} {
			parent, cancel := context.WithCancelCause(t.Context())
			one, stop := s.live.Watch(parent, watched)
			two, stopTwo := s.live.Watch(context.Background(), watched)
			cancel(gone)
			if cause := context.Cause(one); !errors.Is(cause, gone) {
				t.Errorf("%s: the cause is %v", name, cause)
			}
			if two.Err() != nil {
				t.Errorf("%s: the other stream is over: %v", name, two.Err())
			}
			stopTwo()
			if cause := context.Cause(two); !errors.Is(cause, context.Canceled) || errors.Is(cause, ErrEnded) {
				t.Errorf("%s: after stop, the cause is %v", name, cause)
			}
			stop()
			stop()
		}
		wantEmpty(t, s.live)
	})
}

// behind returns what a Guard and a Watcher make of a handler.
func (s *site) behind(handle http.HandlerFunc) http.Handler { return s.Handler(s.live.Handler(handle)) }

// The middleware ends the request of a revoked key, and that of no other. It hands on the
// token and the response, and forgets a request whose handler returns or panics.
func TestHandlerEndsRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		defer run(t, s.live)()
		handler := s.behind(func(w http.ResponseWriter, r *http.Request) {
			token, _ := httpkey.FromContext(r.Context())
			<-r.Context().Done()
			_, _ = fmt.Fprintf(w, "%s: %v", token.User, context.Cause(r.Context()))
		})
		responses := make(map[string]chan *httptest.ResponseRecorder)
		ids := make(map[string]string)
		ctx, hangUp := context.WithCancel(t.Context())
		for _, user := range []string{"ann", "bob", "eve"} {
			created := httpkeytest.Issue(t, s.Guard, httpkey.Token{User: user})
			ids[user], responses[user] = created.Token.ID, make(chan *httptest.ResponseRecorder, 1)
			go func() {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httpkeytest.Request("GET", "/", created.Secret.Reveal()).WithContext(ctx))
				responses[user] <- w
			}()
		}
		synctest.Wait()
		for _, user := range []string{"ann", "bob"} {
			if len(responses[user]) > 0 {
				t.Errorf("the request of %s is over", user)
			}
			if err := s.Revoke(t.Context(), ids[user], "lost"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			w := <-responses[user]
			if want := user + ": " + ErrEnded.Error(); w.Body.String() != want {
				t.Errorf("body %q, want %q", w.Body, want)
			}
		}
		if len(responses["eve"]) > 0 {
			t.Error("the request of eve is over")
		}
		hangUp()
		if w := <-responses["eve"]; w.Body.String() != "eve: context canceled" {
			t.Errorf("body %q", w.Body)
		}
		wantEmpty(t, s.live)
	})
}

// A request without a token, or whose token has no Digest, passes unchanged.
func TestHandlerPassesRequestsWithoutAKey(t *testing.T) {
	t.Parallel()
	w := New(memstore.New(), nil)
	for name, ctx := range map[string]context.Context{
		"no token": t.Context(),
		"session":  httpkey.NewContext(t.Context(), httpkey.Token{ID: "session", User: "ann", IsActive: true}),
	} {
		reached := false
		w.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if reached = true; r.Context().Err() != nil {
				t.Errorf("%s: %v", name, r.Context().Err())
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.tokens) != 0 {
				t.Errorf("%s: it is kept", name)
			}
		})).ServeHTTP(httptest.NewRecorder(), httpkeytest.Request("GET", "/", "").WithContext(ctx))
		if !reached {
			t.Errorf("%s: it did not pass", name)
		}
	}
}

func TestHandlerForgetsAfterAPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		key := httpkeytest.Issue(t, s.Guard, httpkey.Token{}).Secret.Reveal()
		var seen context.Context
		func() {
			defer func() {
				if caught := recover(); caught != any(http.ErrAbortHandler) {
					t.Errorf("the panic is %v", caught)
				}
			}()
			httpkeytest.Get(s.behind(func(_ http.ResponseWriter, r *http.Request) {
				seen = r.Context()
				panic(http.ErrAbortHandler)
			}), key)
		}()
		if seen.Err() == nil {
			t.Error("the context goes on")
		}
		wantEmpty(t, s.live)
	})
}

// Requests that are short cost no Lookup.
func TestShortRequestsCostNoLookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		defer run(t, s.live)()
		key := httpkeytest.Issue(t, s.Guard, httpkey.Token{}).Secret.Reveal()
		handler := s.behind(func(http.ResponseWriter, *http.Request) { httpkeytest.Elapse(firstCheck - 1) })
		for range 100 {
			httpkeytest.Get(handler, key)
		}
		if n := s.Calls("Lookup"); n != 100 {
			t.Errorf("%d Lookups for 100 requests", n)
		}
		wantEmpty(t, s.live)
	})
}

// Without a feed, Run says so, and the TTL holds.
func TestRunWithoutFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		live := New(store, nil)
		if err := live.Run(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Run returned %v", err)
		}
		guard := httpkey.New(store, httpkey.Unlimited, nil)
		token := httpkeytest.Issue(t, guard, httpkey.Token{}).Token
		ctx, stop := live.Watch(t.Context(), token)
		defer stop()
		if err := guard.Revoke(t.Context(), token.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		<-ctx.Done()
		if took := time.Since(start); took > 30*time.Second || !errors.Is(context.Cause(ctx), ErrEnded) {
			t.Errorf("after %v: %v", took, context.Cause(ctx))
		}
	})
}

// A store that ignores case, or compares prefixes, keeps no stream of another key open.
func TestDigestIsComparedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		other := httpkey.Token{ID: "other", Digest: httpkey.Digest{1, 2}, IsActive: true}
		live := New(httpkey.LookupOnly{
			ByDigest: func(context.Context, httpkey.Digest) (httpkey.Token, error) { return other, nil },
		}, nil)
		ctx, stop := live.Watch(t.Context(), httpkey.Token{ID: "one", Digest: httpkey.Digest{1, 1}, IsActive: true})
		defer stop()
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), ErrEnded) {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		store httpkey.TokenStore
		opts  *Options
		says  string
	}{
		"no store":     {nil, nil, "needs a store"},
		"a cache":      {cachestore.New(memstore.New(), nil), nil, "the store behind the cache"},
		"negative TTL": {memstore.New(), &Options{TTL: -1}, "TTL is -1ns"},
		"nil Observer": {memstore.New(), &Options{Observers: []httpkey.Observer{nil}}, "Observers has a nil Observer"},
	} {
		func() {
			defer func() {
				if caught := fmt.Sprint(recover()); !strings.Contains(caught, tt.says) {
					t.Errorf("%s: the panic is %q, want %q in it", name, caught, tt.says)
				}
			}()
			New(tt.store, tt.opts)
		}()
	}
}

// A printed Watcher shows no digest of its tokens.
func TestFormatHidesDigests(t *testing.T) {
	t.Parallel()
	w := New(memstore.New(), nil)
	ctx, stop := w.Watch(t.Context(), httpkey.Token{ID: "one", Digest: httpkey.Digest{0: 0xab, 31: 0xcd}})
	defer stop()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, value := range []any{w, ctx} {
			text := strings.ToLower(fmt.Sprintf(verb, value))
			if strings.Contains(text, "ab00") || strings.Contains(text, "171 0") || strings.Contains(text, "0xab, 0x0") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}

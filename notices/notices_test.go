package notices_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/notices"
)

const day = 24 * time.Hour

// post keeps the mails of all processes.
type post struct {
	mu    sync.Mutex
	mails []mail
	fault func(ctx context.Context) error // nil: none
}

type mail struct {
	user    string
	notices []string // the tokens' IDs, and the thresholds
}

// send is what a Notifier calls.
func (p *post) send(ctx context.Context, user string, due []notices.Notice) error {
	p.mu.Lock()
	fault := p.fault
	p.mu.Unlock()
	if fault != nil {
		if err := fault(ctx); err != nil {
			return err
		}
	}
	m := mail{user: user}
	for _, n := range due {
		m.notices = append(m.notices, fmt.Sprintf("%s %d", n.Token.ID, n.Threshold/day))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mails = append(p.mails, m)
	return nil
}

// take returns the mails since the last call, in the order of their users.
func (p *post) take() (mails []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.mails {
		mails = append(mails, m.user+": "+strings.Join(m.notices, ", "))
	}
	p.mails = nil
	slices.Sort(mails)
	return mails
}

// world is a store, a Guard on it, and a Notifier that posts.
type world struct {
	*httpkey.Guard
	*notices.Notifier
	post  post
	store *httpkeytest.Store
}

func newWorld(opts *notices.Options) *world {
	w := &world{store: httpkeytest.NewStore(memstore.New())}
	w.Guard, w.Notifier = w.process(opts)
	return w
}

// process returns what one process has.
func (w *world) process(opts *notices.Options) (*httpkey.Guard, *notices.Notifier) {
	guard := httpkey.New(w.store, httpkey.Unlimited, nil)
	return guard, notices.New(guard, w.post.send, opts)
}

// issue issues a token that expires after a time.
func (w *world) issue(t *testing.T, id, user string, life time.Duration) httpkey.Created {
	t.Helper()
	token := httpkey.Token{ID: id, User: user}
	if life > 0 {
		token.ExpiredAt = time.Now().Add(life)
	}
	return httpkeytest.Issue(t, w.Guard, token)
}

// expect sends and compares the mails.
func (w *world) expect(t *testing.T, n *notices.Notifier, want ...string) {
	t.Helper()
	sent, err := n.Send(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := w.post.take()
	if !slices.Equal(got, want) {
		t.Errorf("the mails are %q, want %q", got, want)
	}
	told := 0
	for _, m := range got {
		told += 1 + strings.Count(m, ", ")
	}
	if sent != told {
		t.Errorf("Send counts %d notices of %d", sent, told)
	}
}

func (w *world) update(t *testing.T, id string, change func(*httpkey.Token)) {
	t.Helper()
	_, err := w.store.Update(t.Context(), id, func(t *httpkey.Token) error {
		change(t)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A token is noticed once at each threshold, whenever Send is called.
func TestEachThresholdOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		opts  *notices.Options
		life  time.Duration
		every time.Duration
		want  []string // the days of the mails, and the thresholds
	}{
		{"every hour", nil, 60 * day, time.Hour, []string{"30 30", "53 7", "59 1"}},
		{"every ten days", nil, 60 * day, 10 * day, []string{"30 30"}},
		{"two at once", nil, 60 * day, 29 * day, []string{"58 7"}},
		{"as old as a threshold", nil, 30 * day, time.Hour, []string{"23 7", "29 1"}},
		{"a little older", nil, 30*day + time.Hour, time.Hour, []string{"0 30", "23 7", "29 1"}},
		{"short-lived", nil, 12 * time.Hour, time.Hour, nil},
		{"never", nil, 0, day, nil},
		{"own thresholds", &notices.Options{Thresholds: []time.Duration{2 * day, 5 * day}}, 60 * day, time.Hour,
			[]string{"55 5", "58 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(tt.opts)
				begun := time.Now()
				w.issue(t, "t", "ann", tt.life)
				var got []string
				for time.Since(begun) < 70*day {
					if _, err := w.Send(t.Context()); err != nil {
						t.Fatal(err)
					}
					for _, m := range w.post.take() {
						got = append(got, fmt.Sprint(int(time.Since(begun)/day), strings.TrimPrefix(m, "ann: t")))
					}
					httpkeytest.Elapse(tt.every)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("the mails are %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// Four processes tell each owner once, in one mail.
func TestProcessesTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		w.post.fault = func(context.Context) error {
			httpkeytest.Elapse(time.Second) // so that the others meet the claim
			return nil
		}
		w.store.Before(httpkeytest.Lag(time.Millisecond, "Update")) // so that they claim at the same time
		want := make(map[string]int)
		for i := range 200 {
			id, user := fmt.Sprintf("token-%03d", i), fmt.Sprintf("user-%02d", i%20)
			w.issue(t, id, user, 31*day)
			want[id+" 30"]++
		}
		httpkeytest.Elapse(day)
		var all sync.WaitGroup
		for range 4 {
			_, n := w.process(nil)
			all.Go(func() {
				for range 3 {
					if _, err := n.Send(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		got, mails := make(map[string]int), make(map[string]int)
		for _, m := range w.post.mails {
			mails[m.user]++
			for _, n := range m.notices {
				got[n]++
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%d notices, want each of %d once: %v", len(got), len(want), got)
		}
		if len(mails) != 20 || len(w.post.mails) != 20 {
			t.Errorf("%d mails to %d owners, want 1 to each of 20", len(w.post.mails), len(mails))
		}
	})
}

// A process is killed between its claim and the mail. Another tells the owner after the lease, once.
func TestKilledBeforeTheMail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts := &notices.Options{Lease: time.Minute}
		w := newWorld(opts)
		w.issue(t, "a", "ann", 31*day)
		w.issue(t, "b", "ann", 31*day)
		httpkeytest.Elapse(day)
		_, victim := w.process(opts)
		mailing, end := context.WithCancel(context.Background())
		defer end()
		stopped := make(chan struct{})
		w.post.fault = func(context.Context) error {
			<-mailing.Done()
			return errors.New("killed")
		}
		go func() {
			defer close(stopped)
			_, _ = victim.Send(context.Background())
		}()
		synctest.Wait()
		w.post.mu.Lock()
		w.post.fault = nil
		w.post.mu.Unlock()
		w.expect(t, w.Notifier)
		httpkeytest.Elapse(time.Minute - 1)
		w.expect(t, w.Notifier)
		httpkeytest.Elapse(1)
		w.expect(t, w.Notifier, "ann: a 30, b 30")
		end() // a process that was only frozen goes on, and changes nothing of what the other has marked
		<-stopped
		w.expect(t, w.Notifier)
	})
}

// A process is killed between the mail and the mark, or the store fails there: the mail comes again
// after the lease.
func TestKilledBeforeTheMark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(&notices.Options{Lease: time.Minute})
		w.issue(t, "a", "ann", 31*day)
		httpkeytest.Elapse(day)
		down := errors.New("down")
		w.post.fault = func(context.Context) error {
			w.store.Before(httpkeytest.Fail(down))
			return nil
		}
		sent, err := w.Send(t.Context())
		if sent != 1 || !errors.Is(err, down) || !strings.Contains(err.Error(), "told again") {
			t.Errorf("sent %d, %v", sent, err)
		}
		w.store.Before(nil)
		w.post.fault = nil
		if got := w.post.take(); !slices.Equal(got, []string{"ann: a 30"}) {
			t.Errorf("the mails are %q", got)
		}
		w.expect(t, w.Notifier)
		httpkeytest.Elapse(time.Minute)
		w.expect(t, w.Notifier, "ann: a 30")
		w.expect(t, w.Notifier)
	})
}

// A process that was frozen for days marks what it told, and undoes no later mark.
func TestFrozenForDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		w.issue(t, "a", "ann", 31*day)
		httpkeytest.Elapse(day)
		w.post.fault = func(context.Context) error {
			w.post.fault = nil
			httpkeytest.Elapse(23 * day)
			w.expect(t, w.Notifier, "ann: a 7")
			return nil
		}
		w.expect(t, w.Notifier, "ann: a 30")
		w.expect(t, w.Notifier)
	})
}

// A mail that fails is sent again at once, and the other owners have theirs.
func TestMailFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		w.issue(t, "a", "ann", 31*day)
		w.issue(t, "b", "bob", 31*day)
		httpkeytest.Elapse(day)
		refused, first := errors.New("refused"), true
		w.post.fault = func(context.Context) error {
			if first {
				first = false
				return refused
			}
			return nil
		}
		sent, err := w.Send(t.Context())
		if sent != 1 || !errors.Is(err, refused) || !strings.HasPrefix(err.Error(), "httpkey: notices: ") {
			t.Errorf("sent %d, %v", sent, err)
		}
		before := w.post.take()
		if sent, err := w.Send(t.Context()); sent != 1 || err != nil {
			t.Errorf("then sent %d, %v", sent, err)
		}
		both := slices.Sorted(slices.Values(append(before, w.post.take()...)))
		if !slices.Equal(both, []string{"ann: a 30", "bob: b 30"}) {
			t.Errorf("the mails are %q", both)
		}
	})
}

// The context of a mail ends with the claim. What was mailed is marked even if the caller's context
// has ended.
func TestContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(&notices.Options{Lease: time.Minute})
		w.issue(t, "a", "ann", 31*day)
		httpkeytest.Elapse(day)
		w.post.fault = func(ctx context.Context) error {
			begun := time.Now()
			<-ctx.Done()
			if took := time.Since(begun); took != time.Minute {
				t.Errorf("a mail may take %v, want the lease", took)
			}
			return ctx.Err()
		}
		if sent, err := w.Send(t.Context()); sent != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("sent %d, %v", sent, err)
		}
		w.store.Before(func(ctx context.Context, _ string) error { return ctx.Err() })
		ctx, cancel := context.WithCancel(t.Context())
		w.post.fault = func(context.Context) error {
			cancel()
			return nil
		}
		if sent, err := w.Send(ctx); sent != 1 || err != nil {
			t.Errorf("sent %d, %v", sent, err)
		}
		w.post.take()
		w.expect(t, w.Notifier)
		httpkeytest.Elapse(23 * day)
		if sent, err := w.Send(ctx); sent != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("after the end, sent %d, %v", sent, err)
		}
		w.expect(t, w.Notifier, "ann: a 7")
	})
}

// A token that changes after it was noticed, or between the list and the claim.
func TestChangedTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		change        func(*testing.T, *world)
		noticed, then []string // by a Send that has listed before the change, and by one 23 days later
	}{
		{"revoked", func(t *testing.T, w *world) {
			if err := w.Revoke(t.Context(), "a", ""); err != nil {
				t.Error(err)
			}
		}, nil, nil},
		{"deleted", func(t *testing.T, w *world) {
			if err := w.store.Delete(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		}, nil, nil},
		{"rotated", func(t *testing.T, w *world) {
			if _, err := w.Rotate(t.Context(), "a", 30*day-time.Hour); err != nil {
				t.Error(err)
			}
		}, nil, []string{"ann: successor 7"}},
		{"prolonged", func(t *testing.T, w *world) {
			w.update(t, "a", func(t *httpkey.Token) { t.ExpiredAt = t.ExpiredAt.Add(20 * day) })
		}, nil, []string{"ann: a 30"}},
		{"made to last", func(t *testing.T, w *world) {
			w.update(t, "a", func(t *httpkey.Token) { t.ExpiredAt = time.Time{} })
		}, nil, nil},
		{"expired", func(*testing.T, *world) { httpkeytest.Elapse(30 * day) }, nil, nil},
		{"edited", func(t *testing.T, w *world) {
			w.update(t, "a", func(t *httpkey.Token) { t.Label, t.Metadata = "new", map[string]string{"plan": "free"} })
		}, []string{"ann: a 30"}, []string{"ann: a 7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(nil)
				w.issue(t, "a", "ann", 31*day)
				httpkeytest.Elapse(day)
				w.store.After(func(_ context.Context, method string) error {
					if method == "List" {
						w.store.After(nil)
						tt.change(t, w)
					}
					return nil
				})
				w.expect(t, w.Notifier, tt.noticed...)
				httpkeytest.Elapse(23 * day)
				if _, err := w.Send(t.Context()); err != nil {
					t.Fatal(err)
				}
				got := w.post.take()
				for i := range got { // the ID of a successor is random
					if !strings.HasPrefix(got[i], "ann: a ") {
						got[i] = "ann: successor" + got[i][strings.LastIndexByte(got[i], ' '):]
					}
				}
				if !slices.Equal(got, tt.then) {
					t.Errorf("then the mails are %q, want %q", got, tt.then)
				}
			})
		})
	}
}

// A token that was noticed has a new expiry, or a successor: they are noticed anew.
func TestNoticedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		w.issue(t, "a", "ann", 31*day)
		w.issue(t, "b", "bob", 31*day)
		httpkeytest.Elapse(25 * day)
		w.expect(t, w.Notifier, "ann: a 7", "bob: b 7")
		w.update(t, "a", func(t *httpkey.Token) { t.ExpiredAt = t.ExpiredAt.Add(30 * day) })
		b, err := w.Rotate(t.Context(), "b", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		w.expect(t, w.Notifier)
		httpkeytest.Elapse(6*day - time.Hour)
		w.expect(t, w.Notifier, "bob: "+b.Token.ID+" 1")
		httpkeytest.Elapse(day + time.Hour)
		w.expect(t, w.Notifier, "ann: a 30")
	})
}

// An expiry that changes during the mail is not marked as noticed.
func TestProlongedDuringTheMail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		w.issue(t, "a", "ann", 31*day)
		httpkeytest.Elapse(day)
		w.post.fault = func(context.Context) error {
			w.post.fault = nil
			w.update(t, "a", func(t *httpkey.Token) { t.ExpiredAt = t.ExpiredAt.Add(day) })
			return nil
		}
		w.expect(t, w.Notifier, "ann: a 30")
		w.expect(t, w.Notifier)
		httpkeytest.Elapse(day)
		w.expect(t, w.Notifier, "ann: a 30")
		w.expect(t, w.Notifier)
	})
}

// repeating is a store that repeats an update whose answer it has lost.
type repeating struct{ *memstore.Store }

func (s repeating) Update(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	if _, err := s.Store.Update(ctx, id, change); err != nil {
		return httpkey.Token{}, err
	}
	return s.Store.Update(ctx, id, change)
}

func TestStoreRepeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{store: httpkeytest.NewStore(repeating{memstore.New()})}
		w.Guard, w.Notifier = w.process(nil)
		w.issue(t, "a", "ann", 31*day)
		httpkeytest.Elapse(day)
		w.expect(t, w.Notifier, "ann: a 30")
		w.expect(t, w.Notifier)
	})
}

// A notice changes nothing but the mark. What an app replaces does not remove the mark, and a
// property of a later version stays.
func TestMarkIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		token := httpkey.Token{ID: "a", Kind: httpkey.APIKey, User: "ann", IsActive: true,
			ExpiredAt: time.Now().Add(31 * day), Scopes: []string{"read"},
			Metadata: map[string]string{"plan": "free"}, Limits: []httpkey.Limit{httpkey.PerHour(3)}, CreatedBy: "bob",
			CreatedAt: time.Now()}
		httpkeytest.Issue(t, w.Guard, token)
		w.update(t, "a", func(t *httpkey.Token) {
			if err := t.SetMore(strings.Replace(t.More(), "{", `{"later":[1],`, 1)); err != nil {
				panic(err)
			}
		})
		before, err := w.store.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(day)
		w.expect(t, w.Notifier, "ann: a 30")
		after, err := w.store.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if more := after.More(); !strings.Contains(more, `"later":[1]`) || len(more) > len(before.More())+120 {
			t.Errorf("it has %s, and had %s", more, before.More())
		}
		if err := after.SetMore(before.More()); err != nil || !reflect.DeepEqual(after, before) {
			t.Errorf("the token is %+v, %v, and was %+v", after, err, before)
		}
		w.update(t, "a", func(t *httpkey.Token) { t.Metadata = nil })
		w.update(t, "a", func(t *httpkey.Token) { *t = token }) // as an app that knows its own fields alone
		w.expect(t, w.Notifier)
	})
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		w.issue(t, "a", "ann", 31*day)
		httpkeytest.Elapse(day)
		down := errors.New("down")
		for _, method := range []string{"List", "Update"} {
			w.store.Before(httpkeytest.Fail(down, method))
			if sent, err := w.Send(t.Context()); sent != 0 || !errors.Is(err, down) ||
				!strings.HasPrefix(err.Error(), "httpkey: notices: ") {
				t.Errorf("without %s, sent %d, %v", method, sent, err)
			}
		}
		w.store.Before(nil)
		w.expect(t, w.Notifier, "ann: a 30")
	})
	lookups := httpkey.New(httpkey.LookupOnly{ByDigest: func(context.Context, httpkey.Digest) (httpkey.Token, error) {
		return httpkey.Token{}, httpkey.ErrNotFound
	}}, httpkey.Unlimited, nil)
	if _, err := notices.New(lookups, new(post).send, nil).Send(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store that only looks keys up: %v", err)
	}
}

func TestInvalidOptions(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), httpkey.Unlimited, nil)
	send := new(post).send
	before := func(thresholds ...time.Duration) *notices.Options {
		return &notices.Options{Thresholds: thresholds}
	}
	for want, create := range map[string]func(){
		"notices.New needs a Guard":     func() { notices.New(nil, send, nil) },
		"needs a function":              func() { notices.New(guard, nil, nil) },
		"Thresholds is empty":           func() { notices.New(guard, send, before([]time.Duration{}...)) },
		"Thresholds has 0s":             func() { notices.New(guard, send, before(day, 0)) },
		"Lease is -1s":                  func() { notices.New(guard, send, &notices.Options{Lease: -time.Second}) },
		"Lease is 1ms, it must be at l": func() { notices.New(guard, send, &notices.Options{Lease: time.Millisecond}) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "httpkey: ") || !strings.Contains(got, want) {
					t.Errorf("it panics with %q, want %q", got, want)
				}
			}()
			create()
		}()
	}
	if err := (*notices.Options)(nil).Validate(); err != nil {
		t.Error(err)
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(nil)
		expires := w.issue(t, "a", "ann", 31*day+time.Millisecond)
		lasts := w.issue(t, "b", "ann", 0)
		api := notices.Header(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		for _, tt := range []struct {
			name    string
			handler http.Handler
			key     string
			want    string
		}{
			{"expires", w.Handler(api), expires.Secret.Reveal(), "Tue, 01 Feb 2000 00:00:00 GMT"},
			{"lasts", w.Handler(api), lasts.Secret.Reveal(), ""},
			{"refused", w.Handler(api), "made up", ""},
			{"without a Guard", api, expires.Secret.Reveal(), ""},
			{"in a zone", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				at := time.Date(2027, 1, 1, 1, 0, 0, 0, time.FixedZone("CET", 3600))
				api.ServeHTTP(w, r.WithContext(httpkey.NewContext(r.Context(), httpkey.Token{ID: "a", ExpiredAt: at})))
			}), "", "Fri, 01 Jan 2027 00:00:00 GMT"},
		} {
			if got := httpkeytest.Get(tt.handler, tt.key).Header().Get("X-Api-Key-Expires"); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
		if _, err := w.Rotate(t.Context(), "a", day); err != nil {
			t.Fatal(err)
		}
		got := httpkeytest.Get(w.Handler(api), expires.Secret.Reveal()).Header().Get("X-Api-Key-Expires")
		if got != "Sun, 02 Jan 2000 00:00:00 GMT" {
			t.Errorf("in its grace: %q", got)
		}
	})
}

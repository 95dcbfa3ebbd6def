package console

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// storeMeanwhile is a store in which others do something, once, right before a call of Get.
type storeMeanwhile struct {
	httpkey.TokenStore
	gets   int // the calls to go
	others func(httpkey.TokenStore)
}

func (s *storeMeanwhile) Get(ctx context.Context, id string) (httpkey.Token, error) {
	if s.gets--; s.gets == 0 {
		s.others(s.TokenStore)
	}
	return s.TokenStore.Get(ctx, id)
}

// Whenever another process ends a key while it is changed here, it stays ended.
func TestChangesDoNotProlongWhatOthersEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*site) *httptest.ResponseRecorder
		status []int // if it is ended while the limiter is asked, and before each Get
	}{
		"label": {func(s *site) *httptest.ResponseRecorder { return s.api("ada", "PATCH", "/id/", `{"label":"y"}`) }, []int{200, 200, 200}},
		"label and expiry": {func(s *site) *httptest.ResponseRecorder {
			return s.api("ada", "PATCH", "/id/", `{"label":"y","expired_at":"2000-03-01T00:00:00Z"}`)
		}, []int{409, 409, 409}},
		"the page": {func(s *site) *httptest.ResponseRecorder { return s.submit("ada", "/id/", "label=y&expiry=30") }, []int{409, 409, 409, 409}},
		"rotate":   {func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/id/rotate/", `{"grace":60}`) }, []int{409, 409, 409}},
	} {
		for gets, status := range tt.status {
			t.Run(fmt.Sprint(name, gets), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := &storeMeanwhile{TokenStore: memstore.New()}
					end := func(store httpkey.TokenStore) {
						if _, _, err := httpkey.New(store, httpkey.Unlimited, nil).Rotate(t.Context(), "id", 0); err != nil {
							t.Error(err)
						}
					}
					opts := Options{MaxLifetime: 90 * day}
					if gets == 0 {
						opts.Limiter = limiterFunc(func() { end(store.TokenStore) })
					}
					s := newSiteOn(t, store, opts)
					s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
					store.gets, store.others = gets, end
					if w := tt.change(s); w.Code != status {
						t.Errorf("%d %s, want %d", w.Code, w.Body, status)
					}
					if got := s.get("id"); !got.Expired(time.Now()) {
						t.Errorf("the key lives until %v", got.ExpiredAt)
					}
				})
			})
		}
	}
}

// slowStore takes its time to create and to delete.
type slowStore struct {
	httpkey.TokenStore
	takes time.Duration
}

func (s *slowStore) Create(ctx context.Context, t httpkey.Token) error {
	elapse(s.takes)
	return s.TokenStore.Create(ctx, t)
}

func (s *slowStore) Delete(ctx context.Context, id string) error {
	elapse(s.takes)
	return s.TokenStore.Delete(ctx, id)
}

func TestOfTwoRotationsAtOnceOneIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{TokenStore: memstore.New()}
		s := newSiteOn(t, store, Options{})
		s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
		store.takes = time.Second
		statuses := make(chan int, 2)
		for range cap(statuses) {
			go func() { statuses <- s.api("ada", "POST", "/id/rotate/", `{"grace":60}`).Code }()
		}
		if first, second := <-statuses, <-statuses; min(first, second) != 201 || max(first, second) != 409 {
			t.Errorf("answered %d and %d, want 201 and 409", first, second)
		}
		if successors, _ := store.List(t.Context(), httpkey.Filter{RotatedFrom: "id"}); len(successors) != 1 {
			t.Errorf("there are %d successors", len(successors))
		}
	})
}

// Who waits for a store that hangs for somebody else is told so, and nothing hangs for ever.
func TestNobodyWaitsForLongForATurn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*site) *httptest.ResponseRecorder{
		"update": func(s *site) *httptest.ResponseRecorder { return s.api("ada", "PATCH", "/id/", `{"label":"y"}`) },
		"rotate": func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/id/rotate/", `{"grace":60}`) },
		"revoke": func(s *site) *httptest.ResponseRecorder { return s.submit("ada", "/id/revoke/", "name=x") },
		"delete": func(s *site) *httptest.ResponseRecorder { return s.api("ada", "DELETE", "/id/", "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &slowStore{TokenStore: memstore.New()}
				s := newSiteOn(t, store, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				store.takes = time.Minute
				go s.api("ada", "DELETE", "/id/", "")
				synctest.Wait()
				start := time.Now()
				s.want(503, change(s))
				if waited := time.Since(start); waited != changeTimeout {
					t.Errorf("it was answered after %v, want %v", waited, changeTimeout)
				}
				if told := s.told(); len(told) != 1 || string(told[0].Action) != name || !errors.Is(told[0].Err, context.DeadlineExceeded) {
					t.Errorf("told %+v", told)
				}
				elapse(time.Minute)
				s.want(404, s.api("ada", "PATCH", "/id/", `{"label":"y"}`)) // the turn was given back
			})
		})
	}
}

// hangingUp is a store that heeds the context, and whose client hangs up once a token is created.
type hangingUp struct {
	httpkey.TokenStore
	hangUp context.CancelFunc
}

func (s *hangingUp) Create(ctx context.Context, t httpkey.Token) error {
	defer s.hangUp()
	return s.TokenStore.Create(ctx, t)
}

func (s *hangingUp) Update(ctx context.Context, t httpkey.Token) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.TokenStore.Update(ctx, t)
}

func TestClientThatHangsUpLeavesNoHalfRotation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	store := &hangingUp{memstore.New(), func() {}}
	s := newSiteOn(t, store, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	store.hangUp = cancel
	r := httptest.NewRequestWithContext(ctx, "POST", "/id/rotate/", strings.NewReader(`{"grace":0}`))
	r.Header.Set("Login", "ada")
	r.Header.Set("Content-Type", "application/json")
	s.handler.ServeHTTP(httptest.NewRecorder(), r)
	if got := s.get("id"); ctx.Err() == nil || !got.Expired(time.Now()) {
		t.Errorf("the old key lives until %v", got.ExpiredAt)
	}
}

// A key that never expires may have a successor all the same, where it could not be
// ended: then it can be later.
func TestWhatWasRotatedCanBeEnded(t *testing.T) {
	t.Parallel()
	store := &storeWith{TokenStore: memstore.New(), update: func() error { return errors.New("down") }}
	s := newSiteOn(t, store, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	s.created(s.api("ada", "POST", "/id/rotate/", `{"grace":0}`))
	store.update = nil
	s.want(200, s.api("ada", "PATCH", "/id/", `{"expired_at":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`))
	s.want(409, s.api("ada", "PATCH", "/id/", `{"expired_at":null}`))
}

// failingLimiter is a limiter that is down.
type failingLimiter struct{ err error }

func (l failingLimiter) Allow(context.Context, string, httpkey.Limit, int) (httpkey.Result, error) {
	return httpkey.Result{}, l.err
}

func TestLimiterThatFailsIsToldOfOnce(t *testing.T) {
	t.Parallel()
	down, standInDown := errors.New("down"), errors.New("stand-in down")
	for action, change := range map[Action]func(*site) *httptest.ResponseRecorder{
		ActionCreate: func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/", `{"label":"y"}`) },
		ActionUpdate: func(s *site) *httptest.ResponseRecorder { return s.api("ada", "PATCH", "/id/", `{"label":"y"}`) },
		ActionRotate: func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/id/rotate/", `{"grace":60}`) },
		ActionRevoke: func(s *site) *httptest.ResponseRecorder { return s.submit("ada", "/id/revoke/", "name=x") },
		ActionDelete: func(s *site) *httptest.ResponseRecorder { return s.api("ada", "DELETE", "/id/", "") },
	} {
		for _, standIn := range []error{nil, standInDown} {
			s := newSite(t, Options{Limiter: failingLimiter{down}})
			want := error(nil)
			if standIn != nil {
				s.handler.(*console).standIn, want = failingLimiter{standIn}, standIn
			}
			s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
			w := change(s)
			if failed := w.Code == 503; failed != (standIn != nil) {
				t.Errorf("%s: %d %s", action, w.Code, w.Body)
			}
			told := s.told()
			if len(told) != 2 || told[0].Action != action || !errors.Is(told[0].Err, down) || told[1].Action != action || !errors.Is(told[1].Err, want) {
				t.Errorf("%s: told %+v", action, told)
			}
		}
	}
}

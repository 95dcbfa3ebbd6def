package console

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
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// changes are those of the token "id" of Ada.
var changes = map[string]struct {
	send  func(*site) *httptest.ResponseRecorder
	calls []string // of the store
	ended int      // the status if others have ended the token
}{
	"label": {
		func(s *site) *httptest.ResponseRecorder { return s.api("ada", "PATCH", "/id/", `{"label":"y"}`) },
		[]string{"Get", "Update"}, 200,
	},
	"label and expiry": {
		func(s *site) *httptest.ResponseRecorder {
			return s.api("ada", "PATCH", "/id/", `{"label":"y","expired_at":"2000-03-01T00:00:00Z"}`)
		},
		[]string{"Get", "Update"}, 409,
	},
	"the page": {
		func(s *site) *httptest.ResponseRecorder { return s.submit("ada", "/id/", "label=y&expiry=30") },
		[]string{"Get", "Update"}, 409,
	},
	"rotate": {
		func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/id/rotate/", `{"grace":60}`) },
		[]string{"Get", "List", "Get", "Create", "Update"}, 409,
	},
}

// A key that another process ends while it is changed here stays ended.
func TestChangesDoNotProlongWhatOthersEnd(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(context.Context, *httpkey.Guard) error{
		"revoke": func(ctx context.Context, guard *httpkey.Guard) error { return guard.Revoke(ctx, "id", "") },
		"rotate": func(ctx context.Context, guard *httpkey.Guard) error {
			_, err := guard.Rotate(ctx, "id", 0)
			return err
		},
	} {
		for what, change := range changes {
			for i := range len(change.calls) + 1 { // right before each call, and while the limiter is asked
				t.Run(fmt.Sprintf("%s/%s/%d", how, what, i), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						inner := memstore.New()
						store := httpkeytest.NewStore(inner)
						ended := false
						others := func() {
							ended = true
							if err := end(t.Context(), httpkey.New(inner, httpkey.Unlimited, nil)); err != nil {
								t.Error(err)
							}
						}
						opts := Options{MaxLifetime: 90 * day}
						if i == len(change.calls) {
							opts.Limiter = meanwhile(others)
						}
						s := newSiteOn(t, store, opts)
						s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
						n := 0
						store.Before(func(_ context.Context, method string) error {
							if !ended && n < len(change.calls) && method != change.calls[n] {
								t.Errorf("call %d is %s, want %s", n, method, change.calls[n])
							}
							if n++; n == i+1 {
								others()
							}
							return nil
						})

						want := change.ended
						if w := change.send(s); w.Code != want || !ended {
							t.Errorf("%d %s, want %d", w.Code, w.Body, want)
						}
						if got := s.get("id"); !hasEnded(got, time.Now()) {
							t.Errorf("the key lives until %v", got.ExpiredAt)
						}
					})
				})
			}
		}
	}
}

// A token that others delete while it is changed here is not found.
func TestTokenThatOthersDelete(t *testing.T) {
	t.Parallel()
	for what, change := range changes {
		for i, call := range change.calls {
			t.Run(fmt.Sprint(what, " ", i, " ", call), func(t *testing.T) {
				t.Parallel()
				inner := memstore.New()
				store := httpkeytest.NewStore(inner)
				s := newSiteOn(t, store, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				n := 0
				store.Before(func(ctx context.Context, _ string) error {
					if n++; n == i+1 {
						return inner.Delete(ctx, "id")
					}
					return nil
				})
				want := 404
				if what == "rotate" && i > 2 {
					want = 201 // only the successor is left
				}
				s.want(want, change.send(s))
			})
		}
	}
}

// twiceStore calls each change twice, as a store does if another change comes in between.
type twiceStore struct{ httpkey.TokenStore }

func (s twiceStore) Update(
	ctx context.Context, id string, change func(*httpkey.Token) error,
) (httpkey.Token, error) {
	t, err := s.Get(ctx, id)
	if err != nil {
		return httpkey.Token{}, err
	}
	_, _ = t.Apply(change)
	return s.TokenStore.Update(ctx, id, change)
}

func TestStoreMayRepeatAChange(t *testing.T) {
	t.Parallel()
	s := newSiteOn(t, twiceStore{memstore.New()}, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	w := s.want(400, s.api("ada", "PATCH", "/id/", `{"description":"`+strings.Repeat("z", 4097)+`"}`))
	const want = "description too_long: Ensure this field has no more than 4096 characters."
	if got := refusalIn(t, w); got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
	s.want(200, s.api("ada", "PATCH", "/id/", `{"label":"y","description":"z"}`))
	s.want(200, s.api("ada", "PATCH", "/id/", `{"label":"y"}`))
	s.want(201, s.api("ada", "POST", "/id/rotate/", `{"grace":60}`))
	s.want(200, s.api("ada", "PATCH", "/id/", `{"is_active":false}`))
	if got := s.get("id"); got.IsActive || got.Label != "y" || got.Description != "z" || len(s.told()) != 3 {
		t.Errorf("the store has %+v, told was %+v", got, s.told())
	}
}

// A token that expires right before the write is answered as an expired one.
func TestTokenThatExpiresMeanwhile(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	store.Before(httpkeytest.Fail(fmt.Errorf("store: %w", httpkey.ErrInactive), "Update"))
	s.want(409, s.api("ada", "PATCH", "/id/", `{"expired_at":"2099-01-01T00:00:00Z"}`))
	s.want(409, s.api("ada", "POST", "/id/rotate/", `{"grace":60}`))
	if told := s.told(); len(told) != 0 {
		t.Errorf("told %+v", told)
	}
}

// An expiry that others set while one is set here is not overwritten.
func TestExpiryThatOthersChangeIsAConflict(t *testing.T) {
	t.Parallel()
	var (
		theirs = time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		ours   = theirs.Add(day).Format(time.RFC3339)
	)
	for body, want := range map[string]int{
		`{"label":"y","expired_at":"` + ours + `"}`:                                  409,
		`{"label":"y","expired_at":null}`:                                            200, // which leaves it as it was seen
		`{"label":"y"}`:                                                              200,
		`{"label":"y","expired_at":"` + theirs.Format(time.RFC3339) + `"}`:           200,
		`{"label":"y","description":"z","expired_at":"` + ours + `","colour":"red"}`: 400,
	} {
		var s *site
		s = newSite(t, Options{Limiter: meanwhile(func() {
			if _, err := s.store.Update(t.Context(), "id", func(t *httpkey.Token) error {
				t.ExpiredAt = theirs
				return nil
			}); err != nil {
				t.Error(err)
			}
		})})
		s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
		if w := s.api("ada", "PATCH", "/id/", body); w.Code != want {
			t.Errorf("%s: %d %s, want %d", body, w.Code, w.Body, want)
		}
		if got := s.get("id"); !got.ExpiredAt.Equal(theirs) || (got.Label == "y") != (want == 200) {
			t.Errorf("%s: the store has %+v", body, got)
		}
	}
}

// Changes of one token at once are all made or refused, and none undoes a revocation.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	later := time.Now().Add(day).UTC().Truncate(time.Second)
	refused, undone := 0, 0
	for i := range 300 {
		id := fmt.Sprint(i)
		s.issue(httpkey.Token{ID: id, Label: "x", User: "ada"})
		var (
			group  sync.WaitGroup
			expiry int
		)
		patch := func(body string) int { return s.api("ada", "PATCH", "/"+id+"/", body).Code }
		group.Go(func() {
			if status := patch(`{"label":"y"}`); status != 200 {
				t.Errorf("the label: %d", status)
			}
		})
		group.Go(func() {
			if status := patch(`{"description":"z"}`); status != 200 {
				t.Errorf("the description: %d", status)
			}
		})
		group.Go(func() { expiry = patch(`{"expired_at":"` + later.Format(time.RFC3339) + `"}`) })
		group.Go(func() {
			if err := s.guard.Revoke(t.Context(), id, "leaked"); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		got := s.get(id)
		if got.IsActive || got.RevokedFor != "leaked" {
			undone++
		}
		if got.Label != "y" || got.Description != "z" || got.ExpiredAt.Equal(later) != (expiry == 200) {
			t.Errorf("a change is lost: %+v, the expiry was answered %d", got, expiry)
		}
		if expiry == 409 {
			refused++
		}
	}
	if undone > 0 {
		t.Errorf("%d of 300 revocations were undone", undone)
	}
	t.Logf("%d of 300 expiries came too late", refused)
}

func TestOfTwoRotationsAtOnceOneIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		s := newSiteOn(t, store, Options{})
		s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
		store.Before(httpkeytest.Lag(time.Second, "Create"))
		statuses := make(chan int, 2)
		for range cap(statuses) {
			go func() { statuses <- s.api("ada", "POST", "/id/rotate/", `{"grace":60}`).Code }()
		}
		if first, second := <-statuses, <-statuses; min(first, second) != 201 || max(first, second) != 409 {
			t.Errorf("answered %d and %d, want 201 and 409", first, second)
		}
		successors, _ := store.List(t.Context(), httpkey.Filter{RotatedFrom: "id"})
		if len(successors) != 1 || s.get("id").RotatedTo != successors[0].ID {
			t.Errorf("there are %d successors, and the token was rotated to %q", len(successors), s.get("id").RotatedTo)
		}
	})
}

// A change is answered in time though the store hangs, and the audit hears of it.
func TestNoChangeHangsForEver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		action Action
		stalls string
		change func(*site) *httptest.ResponseRecorder
	}{
		{ActionCreate, "Create",
			func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/", `{"label":"y"}`) }},
		{ActionUpdate, "Update", changes["label"].send},
		{ActionRotate, "Create", changes["rotate"].send},
		{ActionRotate, "Update", changes["rotate"].send},
		{ActionRevoke, "Update",
			func(s *site) *httptest.ResponseRecorder { return s.submit("ada", "/id/revoke/", "name=x") }},
		{ActionDelete, "Delete", func(s *site) *httptest.ResponseRecorder { return s.api("ada", "DELETE", "/id/", "") }},
	} {
		t.Run(fmt.Sprint(tt.action, " ", tt.stalls), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := memstore.New()
				store := httpkeytest.NewStore(inner)
				s := newSiteOn(t, store, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				stall := httpkeytest.Stall(tt.stalls)
				store.Before(func(ctx context.Context, method string) error {
					return cmp.Or(ctx.Err(), stall(ctx, method))
				})
				start := time.Now()
				s.want(503, tt.change(s))
				if waited := time.Since(start); waited != timeout {
					t.Errorf("it was answered after %v, want %v", waited, timeout)
				}
				if all, _ := inner.List(t.Context(), httpkey.Filter{}); len(all) != 1 {
					t.Errorf("there are %d tokens, want 1", len(all))
				}
				told := s.told()
				if len(told) != 1 || told[0].Action != tt.action || !errors.Is(told[0].Err, context.DeadlineExceeded) {
					t.Errorf("told %+v", told)
				}
			})
		})
	}
}

func TestClientThatHangsUpLeavesNoHalfRotation(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	store.Before(func(ctx context.Context, _ string) error { return ctx.Err() })
	store.After(func(_ context.Context, method string) error {
		if method == "Create" {
			hangUp()
		}
		return nil
	})
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/id/rotate/", strings.NewReader(`{"grace":0}`))
	r.Header.Set("Login", "ada")
	r.Header.Set("Content-Type", "application/json")
	s.want(201, s.serve(r))
	if got := s.get("id"); ctx.Err() == nil || !got.Expired(time.Now()) {
		t.Errorf("the old key lives until %v", got.ExpiredAt)
	}
}

// A token that an older version has rotated does not name its successor, and never expires
// if that version could not end it. The successor names it, and it can be ended.
func TestTokenThatAnOlderVersionRotated(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	_, old := s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	successor := old
	successor.ID, successor.Digest, successor.RotatedFrom = "successor", httpkey.Digest{1}, "id"
	if _, err := s.store.Create(t.Context(), successor); err != nil {
		t.Fatal(err)
	}
	if body := s.page("ada", "/id/").Body.String(); !strings.Contains(body, "Replaced by") ||
		strings.Contains(body, `name="expiry"`) {
		t.Errorf("the page does not tell of the rotation: %s", body)
	}
	s.want(409, s.page("ada", "/id/rotate/"))
	s.want(409, s.api("ada", "POST", "/id/rotate/", `{"grace":60}`))
	s.want(200, s.api("ada", "PATCH", "/id/", `{"expired_at":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`))
	if body := s.page("ada", "/id/").Body.String(); !strings.Contains(body, "Rotated, ends") {
		t.Errorf("the page does not tell until when: %s", body)
	}
	s.want(409, s.api("ada", "PATCH", "/id/", `{"expired_at":null}`))
}

func TestLimiterThatFailsIsToldOfOnce(t *testing.T) {
	t.Parallel()
	down, standInDown := errors.New("down"), errors.New("stand-in down")
	failing := func(err error) httpkey.Limiter {
		limiter := httpkeytest.NewLimiter(httpkey.Unlimited)
		limiter.Before(httpkeytest.Fail(err))
		return limiter
	}
	for action, change := range map[Action]func(*site) *httptest.ResponseRecorder{
		ActionCreate: func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/", `{"label":"y"}`) },
		ActionUpdate: changes["label"].send,
		ActionRotate: changes["rotate"].send,
		ActionDelete: func(s *site) *httptest.ResponseRecorder { return s.api("ada", "DELETE", "/id/", "") },
	} {
		for _, standIn := range []error{nil, standInDown} {
			s := newSite(t, Options{Limiter: failing(down)})
			want := error(nil)
			if standIn != nil {
				s.handler.(*console).standIn, want = failing(standIn), standIn
			}
			s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
			w := change(s)
			if failed := w.Code == 503; failed != (standIn != nil) {
				t.Errorf("%s: %d %s", action, w.Code, w.Body)
			}
			told := s.told()
			if len(told) != 2 || told[0].Action != action || !errors.Is(told[0].Err, down) ||
				told[1].Action != action || !errors.Is(told[1].Err, want) {
				t.Errorf("%s: told %+v", action, told)
			}
		}
	}
}

package console

import (
	"context"
	"fmt"
	"net/http/httptest"
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

package integration

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/redisstore"
)

// A revocation stays, whichever change comes at the same moment, with a millisecond of
// network each way. The other change stays too.
func TestRedisUpdatesRaceARevocation(t *testing.T) {
	t.Parallel()
	const races, network = 300, time.Millisecond
	server := startRedis(t)
	far := func() string {
		p := startProxy(t, server.address())
		p.lag.Store(int64(network))
		p.delay.Store(int64(network))
		return p.address()
	}
	revoker := newSite(t, far(), redisLimiters[0].new, cachestore.Options{})
	writer := redisstore.New(connect(t, far(), patientDial), nil)
	refused := 0
	for i := range races {
		token := httpkeytest.Issue(t, revoker.Guard, httpkey.Token{Label: "before"}).Token
		change := func(t *httpkey.Token) error {
			t.Label = "after"
			return nil
		}
		isStale := i%2 == 1 // a whole token that was read before
		if isStale {
			change = func(t *httpkey.Token) error {
				*t = token
				t.Label = "after"
				return nil
			}
		}
		var (
			group  sync.WaitGroup
			update error
		)
		group.Go(func() { _, update = writer.Update(t.Context(), token.ID, change) })
		group.Go(func() {
			if err := revoker.Revoke(t.Context(), token.ID, "lost"); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		isRefused := isStale && errors.Is(update, httpkey.ErrInactive)
		if isRefused {
			refused++
		} else if update != nil {
			t.Errorf("race %d: %v", i, update)
		}
		found, err := writer.Get(t.Context(), token.ID)
		if err != nil || found.IsActive || found.RevokedAt.IsZero() || found.RevokedFor != "lost" {
			t.Errorf("race %d: the revocation was undone: %+v, %v", i, found, err)
		}
		if !isRefused && found.Label != "after" {
			t.Errorf("race %d: the change was lost: %+v", i, found)
		}
	}
	t.Logf("of %d races, in %d a whole token came too late and was refused", races, refused)
	if refused == 0 || refused == races/2 {
		t.Error("the revocation came first never, or always: that shows little")
	}
}

package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// history is what a test knows of a token whose streams are open.
type history struct {
	token   httpkey.Token
	streams []*opened
	invalid time.Time // since when it is; zero: it is valid, until its expiry
	isTold  bool      // of that or a later change, by a feed and with a store that were up
}

// A stream of a valid token does not end. Another stream ends at once if the feed and the store
// are up, and otherwise within the TTL after the store is up.
func TestStreamsAgreeWithAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { agree(t, rand.New(rand.NewPCG(seed, 2))) })
		})
	}
}

func agree(t *testing.T, random *rand.Rand) {
	const ttl = 10 * time.Second
	s := newSite(t, &Options{TTL: ttl})
	defer run(t, s.live)()
	var all []*history
	isCut, isDown := false, false
	lastUp := time.Now() // when the store was up again
	change := func(h *history, change func(*httpkey.Token)) {
		changed, err := s.memory.Update(t.Context(), h.token.ID, func(t *httpkey.Token) error { change(t); return nil })
		if err != nil {
			return // it has ended
		}
		h.token = changed
		h.isTold = !isCut && !isDown
	}
	for range 300 {
		if len(all) < 5 || random.IntN(10) == 0 {
			token := httpkey.Token{}
			if random.IntN(3) == 0 {
				token.ExpiredAt = time.Now().Add(upTo(random, 10*ttl)).Truncate(time.Microsecond).Add(time.Microsecond)
			}
			all = append(all, &history{token: httpkeytest.Issue(t, s.Guard, token).Token})
		}
		h := all[random.IntN(len(all))]
		switch random.IntN(12) {
		case 0, 1, 2:
			if h.invalid.IsZero() {
				h.streams = append(h.streams, s.openOf(t, h.token))
			}
		case 3:
			if n := len(h.streams); n > 0 {
				h.streams[n-1].stop()
				h.streams = h.streams[:n-1]
			}
		case 4:
			if h.invalid.IsZero() {
				h.invalid = time.Now()
			}
			change(h, func(t *httpkey.Token) { t.IsActive = false })
		case 5:
			if !isCut && !isDown { // else the Watcher ends it by the expiry that it knows
				change(h, func(t *httpkey.Token) { t.ExpiredAt = time.Now().Add(upTo(random, 5*ttl)) })
			}
		case 6:
			change(h, func(t *httpkey.Token) { t.Label += "'" })
		case 7:
			if isCut = !isCut; isCut {
				s.cut()
			} else {
				s.mend()
				httpkeytest.Elapse(6 * time.Second)
			}
		case 8:
			if isDown = !isDown; isDown {
				s.Before(httpkeytest.Fail(errDown, "Lookup"))
			} else {
				s.Before(nil)
				lastUp = time.Now()
			}
		default:
			httpkeytest.Elapse(upTo(random, ttl/2))
		}
		synctest.Wait()
		now := time.Now()
		for _, h := range all {
			if h.invalid.IsZero() && h.token.Expired(now) {
				h.invalid = h.token.ExpiredAt
			}
			mustEnd := !h.invalid.IsZero() && (h.isTold || h.token.Expired(now) ||
				!isDown && now.After(later(h.invalid, lastUp).Add(ttl)))
			for _, one := range h.streams {
				switch isEnded := one.isEnded(); {
				case isEnded && h.invalid.IsZero():
					t.Fatalf("a stream of a valid token has ended: %v", h.token)
				case !isEnded && mustEnd:
					t.Fatalf("at %v, feed cut %t, store down %t since %v: a stream goes on of a token that is invalid since %v",
						now, isCut, isDown, lastUp, h.invalid)
				}
			}
		}
	}
	for _, h := range all {
		for _, one := range h.streams {
			one.stop()
		}
	}
	wantEmpty(t, s.live)
}

func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// BenchmarkWatch opens and closes a stream, as a short request does.
func BenchmarkWatch(b *testing.B) {
	w, token := New(newBackend(), nil), httpkey.Token{ID: "one", Digest: httpkey.Digest{1}}
	b.ReportAllocs()
	for b.Loop() {
		_, stop := w.Watch(context.Background(), token)
		stop()
	}
}

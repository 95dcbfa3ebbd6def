package cachestore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// Every answer of a cache is that of a plain store, after any sequence of calls, and while
// tokens are evicted and expire.
func TestAnswersLikeAPlainStore(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 10, 100} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const ids, digests = 20, 30
				random := rand.New(rand.NewPCG(1, uint64(size)))
				cache, model := New(memstore.New(), &Options{Size: size}), memstore.New()
				for step := range 30_000 {
					made := token(random.IntN(ids))
					made.Digest = digest(random.IntN(digests)) // an ID may come back with another
					made.Label = fmt.Sprint(step)
					var got, want any
					var err, wantErr error
					op := random.IntN(10)
					switch op {
					case 0:
						got, err = cache.Create(t.Context(), made)
						want, wantErr = model.Create(t.Context(), made)
					case 1:
						change := func(t *httpkey.Token) error { *t = made; return nil }
						got, err = cache.Update(t.Context(), made.ID, change)
						want, wantErr = model.Update(t.Context(), made.ID, change)
					case 2:
						err, wantErr = cache.Delete(t.Context(), made.ID), model.Delete(t.Context(), made.ID)
					case 3:
						got, err = cache.Get(t.Context(), made.ID)
						want, wantErr = model.Get(t.Context(), made.ID)
					case 4:
						got, err = cache.List(t.Context(), httpkey.Filter{})
						want, wantErr = model.List(t.Context(), httpkey.Filter{})
					case 5:
						httpkeytest.Elapse(time.Duration(random.Int64N(int64(10 * time.Second))))
					default:
						got, err = cache.Lookup(t.Context(), made.Digest)
						want, wantErr = model.Lookup(t.Context(), made.Digest)
					}
					if !errors.Is(err, wantErr) || !reflect.DeepEqual(got, want) {
						t.Fatalf("step %d, operation %d: %+v and %v, a plain store says %+v and %v",
							step, op, got, err, want, wantErr)
					}
				}
			})
		})
	}
}

// With many callers at once, the token that a Lookup returns is no older than the last
// change of it that was acknowledged before the Lookup began.
func TestNeverOlderThanTheLastAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	const tokens, readers, versions = 4, 4, 1500
	b := newBackend()
	s := New(b, &Options{TTL: 50 * time.Microsecond, Size: 3})
	var mu sync.Mutex
	var acknowledged [tokens]int64
	for n := range tokens {
		create(t, s, token(n))
	}
	var writers, all sync.WaitGroup
	for n := range tokens {
		writers.Go(func() {
			for version := int64(1); version <= versions; version++ {
				_, err := s.Update(t.Context(), token(n).ID, func(t *httpkey.Token) error {
					t.CreatedAt = time.UnixMicro(version)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				acknowledged[n] = version
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	for r := range readers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(r)))
			for {
				select {
				case <-done:
					return
				default:
				}
				n := random.IntN(tokens)
				mu.Lock()
				least := acknowledged[n]
				mu.Unlock()
				got, err := s.Lookup(t.Context(), digest(n))
				if err != nil || least > 0 && got.CreatedAt.UnixMicro() < least {
					t.Errorf("version %d was acknowledged, Lookup returned %d (%v)", least, got.CreatedAt.UnixMicro(), err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	all.Wait()
}

package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// size is the time and the memory that httpkey needs with this many tokens.
type size struct {
	row
	tokens        int
	token, bucket float64 // bytes, beyond the strings of the token
}

// grow measures httpkey with more and more tokens, all of them in use.
func grow(o options) ([]size, error) {
	sizes := make([]size, len(o.growth))
	for i, n := range o.growth {
		o.keys = n
		sizes[i].tokens = n
		sizes[i].token, sizes[i].bucket = memory(issue(n))
		rows, err := compare(uniform, fresh, []contestant{ours, bare}, o)
		if err != nil {
			return nil, err
		}
		sizes[i].row = rows[0]
	}
	return sizes, nil
}

func (s *size) collection() time.Duration {
	return slices.MinFunc(s.rounds, func(a, b result) int { return cmp.Compare(a.Collection, b.Collection) }).Collection
}

func (s *size) pause() time.Duration {
	return slices.MaxFunc(s.rounds, func(a, b result) int { return cmp.Compare(a.Pause, b.Pause) }).Pause
}

// memory returns the bytes that a token takes in the store, and those that its
// bucket takes from its first request on.
func memory(keys []string) (token, bucket float64) {
	ids := make([]string, len(keys))
	for i := range ids {
		ids[i] = fmt.Sprintf("%036d", i) // as long as a UUID
	}
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	empty := heap()
	var strings int
	for i, key := range keys {
		t := httpkey.Token{
			ID: ids[i], Digest: sha256.Sum256([]byte(key)), Kind: httpkey.APIKey,
			Label: "bench", User: "u-1", IsActive: true, CreatedAt: time.UnixMicro(int64(i)),
		}
		_ = must(store.Create(context.Background(), t))
		strings += len(t.ID) + len(t.Kind) + len(t.Label) + len(t.User)
	}
	stored := heap()
	load{keys: keys}.warm(guard.Handler(ok))
	_ = guard.Close(context.Background()) // pending uses are no part of a bucket
	used := heap()
	runtime.KeepAlive(guard)
	runtime.KeepAlive(ids)
	runtime.KeepAlive(keys)
	n := float64(len(keys))
	return (stored - empty - float64(strings)) / n, (used - stored) / n
}

// heap returns the bytes of live objects.
func heap() float64 {
	runtime.GC()
	runtime.GC() // an object with a finalizer survives the first
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

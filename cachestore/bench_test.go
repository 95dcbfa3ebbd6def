package cachestore

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// BenchmarkLookup looks up 100,000 tokens in turn, all of them in memory.
func BenchmarkLookup(b *testing.B) {
	const tokens = 100_000
	for name, scopes := range map[string][]string{"NoScopes": nil, "Scopes": {"read", "write"}} {
		b.Run(name, func(b *testing.B) {
			backend := memstore.New()
			cache := New(backend, &Options{Size: 2 * tokens, TTL: 1 << 40})
			digests := make([]httpkey.Digest, tokens)
			for i := range digests {
				binary.LittleEndian.PutUint64(digests[i][:], uint64(i)*0x9e3779b97f4a7c15)
				create(b, backend, httpkey.Token{ID: fmt.Sprintf("%036d", i), Digest: digests[i], Scopes: scopes})
				if _, err := cache.Lookup(b.Context(), digests[i]); err != nil {
					b.Fatal(err)
				}
			}
			for name, store := range map[string]httpkey.TokenStore{"cachestore": cache, "memstore": backend} {
				b.Run(name, func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for i := 0; pb.Next(); i++ {
							if _, err := store.Lookup(b.Context(), digests[i*7919%tokens]); err != nil {
								b.Fatal(err)
							}
						}
					})
				})
			}
		})
	}
}

// BenchmarkMemory fills a cache and reports the bytes of a token, without its text.
func BenchmarkMemory(b *testing.B) {
	const tokens = 100_000
	for b.Loop() {
		s := New(new(endless), &Options{Size: tokens, TTL: 1 << 50})
		before := heap()
		for n := range tokens {
			if _, err := s.Lookup(b.Context(), digest(n)); err != nil {
				b.Fatal(err)
			}
		}
		text := len(digest(0)) // the ID that endless gives
		b.ReportMetric(float64(heap()-before)/float64(s.tokens.Len())-float64(text), "B/token")
		runtime.KeepAlive(s)
	}
}

package memstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

// BenchmarkAllow takes from 100,000 buckets in turn.
func BenchmarkAllow(b *testing.B) {
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("%036d", i)
	}
	for name, newLimiter := range newLimiters {
		b.Run(name, func(b *testing.B) {
			limiter := newLimiter()
			limits := []httpkey.Limit{{Rate: 1_000_000, Period: 24 * time.Hour}}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c := &httpkey.Charge{Bucket: keys[i%len(keys)], Limits: limits, Cost: 1}
					if _, err := limiter.Allow(b.Context(), c); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

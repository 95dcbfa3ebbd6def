//go:build race

package httpkey_test

// Under the race detector, a sync.Pool forgets at random.
func init() { forgotten = 8 }

//go:build race

package failures_test

// The race detector makes a million keys take a minute.
const keys = 200_000

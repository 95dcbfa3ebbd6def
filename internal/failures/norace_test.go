//go:build !race

package failures_test

const keys = 1_000_000

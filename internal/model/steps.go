package model

import "testing"

// raceDetector is set where the race detector, which finds nothing in one goroutine, makes each
// step ten times as slow.
var raceDetector bool

// Steps returns how many of so many steps a test takes: a tenth of them under the race detector
// and with -short.
func Steps(all int) int {
	if raceDetector || testing.Short() {
		return all / 10
	}
	return all
}

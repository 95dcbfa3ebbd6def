//go:build unix

package main

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time that this process has taken, in user and system mode.
func processCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

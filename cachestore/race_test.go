//go:build race

package cachestore

func init() { raceDetector = true }

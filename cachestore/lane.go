package cachestore

import "container/list"

// lane bounds the loads of unknown digests, so that made-up keys cannot take all connections
// of the store. A load that waits has no goroutine.
//
// The newest waiting load comes first. If the store is overloaded, the older loads have little
// of their time left. The store would answer them after their callers have left.
type lane struct {
	free    int       // loads that may start
	waiting list.List // of *load, the newest in front
}

// enter reports whether the load may start now. Otherwise the load waits.
func (l *lane) enter(load *load) bool {
	if l.free > 0 {
		l.free--
		return true
	}
	load.place = l.waiting.PushFront(load)
	return false
}

// renew puts a waiting load in front, because another caller has joined it.
func (l *lane) renew(load *load) {
	if load.place != nil {
		l.waiting.MoveToFront(load.place)
	}
}

// abandon removes a waiting load.
func (l *lane) abandon(load *load) {
	l.waiting.Remove(load.place)
	load.place = nil
}

// leave ends the turn of a load, and returns the load whose turn it is now, or nil.
func (l *lane) leave() *load {
	newest := l.waiting.Front()
	if newest == nil {
		l.free++
		return nil
	}
	next := newest.Value.(*load)
	l.abandon(next)
	return next
}

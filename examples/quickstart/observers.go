package main

import (
	"context"

	"github.com/httpkey/httpkey"
)

// observers tells each of several observers of every event.
type observers []httpkey.Observer

// Observe implements [httpkey.Observer].
func (all observers) Observe(ctx context.Context, e *httpkey.Event) {
	for _, o := range all {
		o.Observe(ctx, e)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// simulation uses two of the samples as their owners would.
type simulation struct {
	guard                        *httpkey.Guard
	websiteSecret, readerSecret httpkey.Secret
}

// newSimulation gives the two samples new keys: stores keep no keys, so that those of an
// earlier start are gone. A sample that a person has revoked or deleted gets none.
func newSimulation(ctx context.Context, b *backend) (*simulation, error) {
	return nil, nil
}

// run sends requests until ctx is over.
func (s *simulation) run(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		// send
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renewKey stores a token anew with another key, which it returns. The secret is empty if
// the token is gone or has ended.
func renewKey(ctx context.Context, store httpkey.TokenStore, id string) (httpkey.Secret, error) {
	t, err := store.Get(ctx, id)
	if errors.Is(err, httpkey.ErrNotFound) || err == nil && (!t.IsActive || t.Expired(time.Now())) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the sample %s: %w", id, err)
	}
	if err := store.Delete(ctx, id); err != nil {
		return "", fmt.Errorf("the sample %s: %w", id, err)
	}
	return createWithKey(ctx, store, t)
}

package docs

import (
	"context"
	"errors"
	"net/http"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/sqlstore"
)

var plans = map[string][]httpkey.Limit{
	"free": {httpkey.PerMinute(60), httpkey.PerMonth(10_000)},
	"team": {httpkey.PerMinute(600)},
}

func withPlans(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		Charge: func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			if limits, ok := plans[t.Metadata["plan"]]; ok {
				c.Limits = limits
			}
			if t.Workspace != "" {
				c.Bucket = "workspace:" + t.Workspace // all keys of a workspace share
			}
		},
	})
	return guard
}

// planned is a store that writes the plan of the workspace into each new token.
type planned struct {
	*sqlstore.Store
	planOf func(ctx context.Context, workspace string) (string, error)
}

func (s planned) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	plan, err := s.planOf(ctx, t.Workspace)
	if err != nil {
		return httpkey.Token{}, err
	}
	t.Metadata = map[string]string{"plan": plan}
	return s.Store.Create(ctx, t)
}

func cached(store *sqlstore.Store, planOf func(context.Context, string) (string, error)) *cachestore.Store {
	cache := cachestore.New(planned{store, planOf}, nil)
	return cache
}

func changePlan(ctx context.Context, guard *httpkey.Guard, workspace, plan string) error {
	store, filter := guard.Store(), httpkey.Filter{Workspace: workspace}
	for {
		page, err := store.List(ctx, filter)
		if err != nil {
			return err
		}
		for _, token := range page {
			_, err := store.Update(ctx, token.ID, func(t *httpkey.Token) error {
				t.Metadata = map[string]string{"plan": plan}
				return nil
			})
			if err != nil && !errors.Is(err, httpkey.ErrNotFound) { // deleted meanwhile
				return err
			}
		}
		if len(page) < filter.PageSize() {
			return nil
		}
		filter.After = page[len(page)-1].Cursor()
	}
}

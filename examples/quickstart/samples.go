package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

const day = 24 * time.Hour

// The samples whose keys the simulation uses.
const (
	website    = "demo-website"
	cardReader = "demo-card-reader"
)

// samples returns tokens in every state, as months of use leave them.
func samples(now time.Time) []httpkey.Token {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	in := now.Add
	return []httpkey.Token{
		{ // active
			ID: "demo-laptop", Label: "Laptop", User: ada.ID,
			Scopes: []string{readCards, writeCards}, CreatedAt: ago(20 * day), LastUsed: ago(3 * time.Minute),
		},
		{ // about to expire
			ID: "demo-release", Label: "Release script", User: ada.ID, Workspace: engine,
			Scopes: []string{runEngine}, CreatedAt: ago(27 * day), LastUsed: ago(5 * time.Hour), ExpiredAt: in(3 * day),
		},
		{ // old
			ID: "demo-tables", Label: "Tables of sines", User: ada.ID,
			Scopes: []string{readCards}, CreatedAt: ago(140 * day), LastUsed: ago(2 * time.Hour),
		},
		{ // unused
			ID: "demo-import", Label: "Import of the Jacquard cards", User: ada.ID, Workspace: engine,
			Scopes: []string{writeCards}, CreatedAt: ago(200 * day), LastUsed: ago(120 * day),
		},
		{ // rotated, with the old key in use
			ID: website, Label: "Website", User: ada.ID,
			CreatedAt: ago(100 * day), LastUsed: ago(time.Minute), ExpiredAt: in(5 * day), RotatedTo: "demo-website-2",
		},
		{
			ID: "demo-website-2", Label: "Website", User: ada.ID,
			CreatedAt: ago(2 * day), RotatedFrom: website,
		},
		{ // rotated, with the new key in use
			ID: "demo-mill", Label: "Mill controller", Kind: httpkey.ServiceToken, Workspace: engine, CreatedBy: ada.ID,
			Scopes: []string{runEngine}, CreatedAt: ago(95 * day), LastUsed: ago(6*day + time.Hour), ExpiredAt: in(day),
			RotatedTo: "demo-mill-2",
		},
		{
			ID: "demo-mill-2", Label: "Mill controller", Kind: httpkey.ServiceToken, Workspace: engine, CreatedBy: ada.ID,
			Scopes: []string{runEngine}, CreatedAt: ago(6 * day), LastUsed: ago(10 * time.Minute), RotatedFrom: "demo-mill",
		},
		{ // a service token with several limits
			ID: cardReader, Label: "Card reader", Kind: httpkey.ServiceToken, Workspace: engine, CreatedBy: ada.ID,
			Description: "Reads the cards of the night shift.", Scopes: []string{readCards, writeCards},
			Limits:    []httpkey.Limit{httpkey.PerMinute(12), httpkey.PerMonth(200_000)},
			CreatedAt: ago(40 * day), LastUsed: ago(time.Minute),
		},
		{ // in its network alone
			ID: "demo-print-room", Label: "Print room", User: charles.ID, Workspace: engine, CreatedBy: ada.ID,
			Networks:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
			CreatedAt: ago(30 * day), LastUsed: ago(26 * time.Hour),
		},
		{ // expired
			ID: "demo-exhibition", Label: "Exhibition of 1862", User: charles.ID, Workspace: engine,
			CreatedAt: ago(42 * day), LastUsed: ago(13 * day), ExpiredAt: ago(12 * day),
		},
		{ // revoked
			ID: "demo-notebook", Label: "Notebook", User: charles.ID,
			Scopes: []string{readCards}, CreatedAt: ago(60 * day), LastUsed: ago(9*day + time.Hour),
			RevokedAt: ago(9 * day), RevokedBy: ada.ID, RevokedFor: "Found in a public repository",
		},
		{ // never used
			ID: "demo-phone", Label: "Phone", User: charles.ID,
			Scopes: []string{readCards}, CreatedAt: ago(2 * time.Hour), ExpiredAt: in(90 * day),
		},
	}
}

// isNew reports whether a store has no token. It does not count samples: a server that was
// stopped too early may have left some.
func isNew(ctx context.Context, store httpkey.TokenStore) (bool, error) {
	known := samples(time.Now())
	tokens, err := store.List(ctx, httpkey.Filter{Limit: len(known) + 1})
	if err != nil {
		return false, fmt.Errorf("the store of HTTPKEY_DSN: %w", err)
	}
	isSample := func(t httpkey.Token) bool {
		return slices.ContainsFunc(known, func(k httpkey.Token) bool { return k.ID == t.ID })
	}
	return !slices.ContainsFunc(tokens, func(t httpkey.Token) bool { return !isSample(t) }), nil
}

// addSamples adds the samples that the store does not have.
func addSamples(ctx context.Context, store httpkey.TokenStore) error {
	for _, t := range samples(time.Now().Truncate(time.Second)) {
		t.IsActive = t.RevokedAt.IsZero()
		_, err := createWithKey(ctx, store, t)
		if err != nil && !errors.Is(err, httpkey.ErrConflict) {
			return fmt.Errorf("the sample %s: %w", t.ID, err)
		}
	}
	return nil
}

// createWithKey stores t as it is, for a new key. [httpkey.Guard.Issue] would make it a token of today.
func createWithKey(ctx context.Context, store httpkey.TokenStore, t httpkey.Token) (httpkey.Secret, error) {
	elsewhere := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created, err := elsewhere.Issue(ctx, httpkey.Token{Kind: t.Kind})
	if err != nil {
		return "", err
	}
	t.Digest, t.Hint, t.Kind = created.Token.Digest, created.Token.Hint, created.Token.Kind
	if _, err := store.Create(ctx, t); err != nil {
		return "", err
	}
	return created.Secret, nil
}

package main

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// startOnce starts a server and stops it. It returns the IDs of the tokens in its database.
func startOnce(t *testing.T, dsn string) []string {
	t.Helper()
	stdout, stop := launch(t, in(dsn))
	if _, err := stdout.Read(make([]byte, 1<<12)); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b, err := open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	tokens, err := b.store.List(t.Context(), httpkey.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return ids(tokens)
}

func ids(tokens []httpkey.Token) (ids []string) {
	for _, t := range tokens {
		ids = append(ids, t.ID)
	}
	slices.Sort(ids)
	return ids
}

// A second start makes nothing twice, and nothing that a person has deleted.
func TestSamplesAreMadeOnce(t *testing.T) {
	t.Parallel()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "httpkey.db")
	first := startOnce(t, dsn)
	if want := len(samples(time.Now())) + 2; len(first) != want {
		t.Fatalf("the first start made %d tokens, want %d", len(first), want)
	}
	b, err := open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"demo-laptop", website} {
		if err := b.store.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	_ = b.Close()
	want := slices.DeleteFunc(first, func(id string) bool { return id == "demo-laptop" || id == website })
	if second := startOnce(t, dsn); !slices.Equal(second, want) {
		t.Errorf("the second start left %v, want %v", second, want)
	}
}

// A database with other tokens gets no samples.
func TestNoSamplesBesideOtherTokens(t *testing.T) {
	t.Parallel()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "httpkey.db")
	if err := issue(t.Context(), dsn, "mine", io.Discard); err != nil {
		t.Fatal(err)
	}
	if made := startOnce(t, dsn); len(made) != 1 {
		t.Errorf("the database has %v", made)
	}
}

// A server that was stopped among the samples makes the others when it starts again.
func TestSamplesAreCompleted(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	for _, sample := range samples(time.Now())[:3] {
		sample.IsActive = true
		if _, err := createWithKey(t.Context(), store, sample); err != nil {
			t.Fatal(err)
		}
	}
	if fresh, err := isNew(t.Context(), store); err != nil || !fresh {
		t.Fatalf("isNew: %v, %v", fresh, err)
	}
	if err := addSamples(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	tokens, err := store.List(t.Context(), httpkey.Filter{Limit: 100})
	if err != nil || len(tokens) != len(samples(time.Now())) {
		t.Errorf("%v, %v", ids(tokens), err)
	}
}

// There is a token in every state that a page shows.
func TestSamplesHaveEveryState(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	if err := addSamples(context.Background(), store); err != nil {
		t.Fatal(err)
	}
	tokens, err := store.List(t.Context(), httpkey.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	find := func(id string) httpkey.Token {
		return tokens[slices.IndexFunc(tokens, func(t httpkey.Token) bool { return t.ID == id })]
	}
	now := time.Now()
	works := func(t httpkey.Token) bool { return t.IsActive && !t.Expired(now) }
	endsWithin := func(t httpkey.Token, d time.Duration) bool {
		return !t.ExpiredAt.IsZero() && t.ExpiredAt.Sub(now) < d
	}
	for name, is := range map[string]func(httpkey.Token) bool{
		"active": func(t httpkey.Token) bool {
			return works(t) && t.ExpiredAt.IsZero() && now.Sub(t.CreatedAt) < 90*day && now.Sub(t.LastUsed) < time.Hour
		},
		"expiring": func(t httpkey.Token) bool { return works(t) && t.RotatedTo == "" && endsWithin(t, 7*day) },
		"old": func(t httpkey.Token) bool {
			return works(t) && now.Sub(t.CreatedAt) > 90*day && now.Sub(t.LastUsed) < day
		},
		"unused": func(t httpkey.Token) bool { return works(t) && now.Sub(t.LastUsed) > 90*day && !t.LastUsed.IsZero() },
		"never used": func(t httpkey.Token) bool {
			return works(t) && t.LastUsed.IsZero() && t.RotatedFrom == ""
		},
		"rotating, the old key in use": func(t httpkey.Token) bool {
			return works(t) && t.RotatedTo != "" && find(t.RotatedTo).RotatedFrom == t.ID &&
				t.LastUsed.After(find(t.RotatedTo).CreatedAt) && find(t.RotatedTo).LastUsed.IsZero()
		},
		"rotating, the old key not in use": func(t httpkey.Token) bool {
			return works(t) && t.RotatedTo != "" && find(t.RotatedTo).RotatedFrom == t.ID &&
				t.LastUsed.Before(find(t.RotatedTo).CreatedAt)
		},
		"expired": func(t httpkey.Token) bool { return t.IsActive && t.Expired(now) },
		"revoked": func(t httpkey.Token) bool {
			return !t.IsActive && !t.RevokedAt.IsZero() && t.RevokedFor != "" && t.RevokedBy == ada.ID
		},
		"service token": func(t httpkey.Token) bool {
			return t.Kind == httpkey.ServiceToken && t.User == "" && t.CreatedBy == ada.ID && t.Workspace == engine
		},
		"several limits": func(t httpkey.Token) bool {
			isMonthly := func(l httpkey.Limit) bool { return l.Calendar == "month" }
			return len(t.Limits) > 1 && slices.ContainsFunc(t.Limits, isMonthly)
		},
		"networks": func(t httpkey.Token) bool { return len(t.Networks) > 0 },
	} {
		if !slices.ContainsFunc(tokens, is) {
			t.Errorf("no token is %s", name)
		}
	}
}

package main

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

// The simulation uses two samples, until its context is over.
func TestSimulation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{memstore.New(), memstore.NewLimiter(), io.NopCloser(nil)}
		if err := addSamples(t.Context(), b.store); err != nil {
			t.Fatal(err)
		}
		recorder := usage.NewRecorder(usage.NewMemory(), nil)
		owners, err := newSimulation(t.Context(), b, recorder)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		owners.run(ctx)
		if lasted := time.Since(begin); lasted != time.Minute {
			t.Errorf("it ran for %v", lasted)
		}
		if err := owners.guard.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := recorder.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, isThrottled := range map[string]bool{website: false, cardReader: true} {
			total, err := recorder.Total(t.Context(), id, begin.Add(-day), begin.Add(day))
			if err != nil || total.Passed < 12 || total.Refused > 0 || (total.Throttled > 0) != isThrottled {
				t.Errorf("%s was used %v times, %v", id, total, err)
			}
		}
		for _, sample := range samples(begin) {
			used, err := b.store.Get(t.Context(), sample.ID)
			if err != nil {
				t.Fatal(err)
			}
			isIn := sample.ID == website || sample.ID == cardReader
			if got := used.LastUsed.After(begin); got != isIn {
				t.Errorf("%s was used: %v", sample.ID, got)
			}
		}
	})
}

// A sample that a person has revoked or deleted stays so, and is not used.
func TestSimulationRespectsPeople(t *testing.T) {
	t.Parallel()
	b := &backend{memstore.New(), memstore.NewLimiter(), io.NopCloser(nil)}
	if err := addSamples(t.Context(), b.store); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Delete(t.Context(), cardReader); err != nil {
		t.Fatal(err)
	}
	if err := httpkey.New(b.store, b.limiter, nil).Revoke(t.Context(), website, ""); err != nil {
		t.Fatal(err)
	}
	owners, err := newSimulation(t.Context(), b, usage.NewRecorder(usage.NewMemory(), nil))
	if err != nil || len(owners.keys) > 0 {
		t.Errorf("%v, keys of %d samples", err, len(owners.keys))
	}
	if token, err := b.store.Get(t.Context(), website); err != nil || token.IsActive {
		t.Errorf("%s is active: %v, %v", website, token.IsActive, err)
	}
}

// A sample keeps what people have changed when it gets another key.
func TestSimulationKeepsTheToken(t *testing.T) {
	t.Parallel()
	b := &backend{memstore.New(), memstore.NewLimiter(), io.NopCloser(nil)}
	if err := addSamples(t.Context(), b.store); err != nil {
		t.Fatal(err)
	}
	before, err := b.store.Update(t.Context(), website, func(t *httpkey.Token) error {
		t.Label = "Renamed"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newSimulation(t.Context(), b, usage.NewRecorder(usage.NewMemory(), nil)); err != nil {
		t.Fatal(err)
	}
	after, err := b.store.Get(t.Context(), website)
	if err != nil || after.Digest == before.Digest {
		t.Errorf("%v, the key is the same: %v", err, after.Digest == before.Digest)
	}
	if after.Label != "Renamed" || !after.CreatedAt.Equal(before.CreatedAt) || after.RotatedTo != before.RotatedTo {
		t.Errorf("the token is %v, before %v", after, before)
	}
}

package main

import (
	"testing"
	"time"

	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

// The history of a sample lies between its creation and its last use, and is what the page can show.
func TestHistoryAgreesWithTheTokens(t *testing.T) {
	t.Parallel()
	store, counts := memstore.New(), usage.NewMemory()
	now := time.Now()
	if err := addSamples(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "demo-laptop"); err != nil { // a person may have done so
		t.Fatal(err)
	}
	if err := addHistory(t.Context(), store, counts, now); err != nil {
		t.Fatal(err)
	}
	var all usage.Counts
	for _, sample := range samples(now) {
		hours, err := counts.Of(t.Context(), sample.ID, now.Add(-30*day), now, usage.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, hour := range hours {
			all.Add(hour.Counts)
			if hour.Start.Before(sample.CreatedAt.Add(-time.Hour)) || hour.Start.After(sample.LastUsed) {
				t.Errorf("%s was used at %v", sample.ID, hour.Start)
			}
		}
		isUsed := sample.ID != "demo-laptop" && sample.LastUsed.After(now.Add(-25*day))
		if (len(hours) > 0) != isUsed {
			t.Errorf("%s has counts of %d hours, is used: %v", sample.ID, len(hours), isUsed)
		}
	}
	if all.Passed == 0 || all.Throttled == 0 || all.Refused == 0 {
		t.Errorf("the history is %+v", all)
	}
}

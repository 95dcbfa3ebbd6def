package ietf_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey/internal/ietf"
)

// The policies of a response have different names, whatever the Names of the limits are.
func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	names := []string{"", "default", "day", "month", "1m0s", "a", "a-1m0s", "a-day", "default-1m0s"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		var policies []ietf.Policy
		for range 1 + random.IntN(8) {
			p := ietf.Policy{Name: names[random.IntN(len(names))], Quota: 5, Window: time.Minute}
			switch random.IntN(4) {
			case 0:
				p.Window = time.Hour
			case 1:
				p.Calendar = "day"
			case 2:
				p.Calendar = "month"
			}
			policies = append(policies, p)
		}
		seen := make(map[string]bool)
		policy, _ := ietf.Fields(policies)
		for item := range strings.SplitSeq(policy[0], ", ") {
			name, _, _ := strings.Cut(item, ";")
			if seen[name] {
				t.Fatalf("%s has two policies %s", policy, name)
			}
			seen[name] = true
		}
	}
}

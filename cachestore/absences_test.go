package cachestore

import (
	"fmt"
	"testing"
)

// The absences that came last are known, and there are never more than the size.
func TestAbsencesForgetTheOldest(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 2, 3, 10, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			a := newAbsences(size)
			for n := range 5*size + 10 {
				a.add(digest(n), reading{changes: uint64(n)})
				for age := range max(1, size/2) {
					if r, ok := a.find(digest(n - age)); n >= age && (!ok || r.changes != uint64(n-age)) {
						t.Fatalf("of the absences up to %d, %d is found: %t, with %+v", n, n-age, ok, r)
					}
				}
				if kept := len(a.young) + len(a.old); kept > max(2, size) {
					t.Fatalf("%d absences are kept", kept)
				}
			}
		})
	}
}

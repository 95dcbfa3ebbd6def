package httpkey

import (
	"strings"
	"testing"
)

func TestHintIsTheEndOfTheSecret(t *testing.T) {
	t.Parallel()
	for length := range 60 {
		secret := strings.Repeat("x", length)
		if got, want := Secret(secret).hint(), secret[max(0, length-4):]; got != want {
			t.Errorf("the hint of %d bytes is %q, want %q", length, got, want)
		}
	}
}

// A digest that differs in any bit is another.
func TestDigestsAreComparedInFull(t *testing.T) {
	t.Parallel()
	digest := Digest{1, 2, 3}
	if same := digest; !digest.equal(&same) {
		t.Error("a digest is not equal to itself")
	}
	for bit := range 8 * len(digest) {
		other := digest
		other[bit/8] ^= 1 << (bit % 8)
		if digest.equal(&other) {
			t.Errorf("bit %d is not compared", bit)
		}
	}
}

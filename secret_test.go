package httpkey

import (
	"strings"
	"testing"
)

// Issue makes secrets of at least 37 characters. The hint of a shorter secret would reveal much.
func TestHintIsTheEndOfALongSecret(t *testing.T) {
	t.Parallel()
	for length := range 60 {
		secret, want := strings.Repeat("x", length), ""
		if length >= 32 {
			want = "xxxx"
		}
		if got := Secret(secret).hint(); got != want {
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

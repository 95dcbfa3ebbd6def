package httpkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/httpkey/httpkey/internal/keyformat"
)

func TestDigests(t *testing.T) {
	t.Parallel()
	secret := keyformat.Format{Prefix: "hk"}.Generate(false)
	if keyformat.NewDigester("")(secret) != sha256.Sum256([]byte(secret)) {
		t.Error("without a pepper, the digest is not SHA-256")
	}
	pepper := strings.Repeat("p", 32)
	mac := hmac.New(sha256.New, []byte(pepper))
	mac.Write([]byte(secret))
	if got := keyformat.NewDigester(pepper)(secret); string(got[:]) != string(mac.Sum(nil)) {
		t.Error("with a pepper, the digest is not HMAC-SHA-256")
	}
}

// A secret of any length that a Guard accepts is digested as a whole, and has a hint.
func TestDigestsOfEveryLength(t *testing.T) {
	t.Parallel()
	for length := range keyformat.MaxImported + 1 {
		secret := strings.Repeat("x", length)
		if keyformat.NewDigester("")(secret) != sha256.Sum256([]byte(secret)) {
			t.Errorf("the digest of %d bytes is cut short", length)
		}
		if got, want := Secret(secret).hint(), secret[max(0, length-4):]; got != want {
			t.Errorf("the hint of %d bytes is %q, want %q", length, got, want)
		}
	}
}

// A digest that differs in any bit is another.
func TestDigestsAreComparedInFull(t *testing.T) {
	t.Parallel()
	digest := Digest(keyformat.NewDigester("")("secret"))
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

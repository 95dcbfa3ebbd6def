package keyformat

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash/crc32"
	"math"
	"regexp"
	"strings"
	"testing"
)

func TestKeysHaveTheDocumentedShape(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for service, shape := range map[bool]string{
		false: `^hk_k_[0-9A-Za-z]{33}$`,
		true:  `^hk_s_[0-9A-Za-z]{33}$`,
	} {
		for range 1000 {
			key := Format{Prefix: "hk"}.Generate(service)
			if !regexp.MustCompile(shape).MatchString(key) {
				t.Fatalf("%s does not match %s", key, shape)
			}
			if !(Format{Prefix: "hk"}).Accepts(key) {
				t.Fatalf("%s is not accepted", key)
			}
			if seen[key] {
				t.Fatal("the same key came twice")
			}
			seen[key] = true
		}
	}
	longest := Format{Prefix: strings.Repeat("p", MaxPrefix)}.Generate(false)
	if len(longest) != 55 {
		t.Errorf("the longest key has %d bytes, want 55: one block of SHA-256", len(longest))
	}
	if bits := randomLength * math.Log2(62); bits < 160 {
		t.Errorf("a key has %.1f random bits, want 160", bits)
	}
}

// Each digit is as likely as the others: a bias would cost bits.
func TestRandomDigitsAreUniform(t *testing.T) {
	t.Parallel()
	const draws = 62 * 10_000
	counts := make(map[rune]int)
	for _, digit := range randomBase62(draws) {
		counts[digit]++
	}
	if len(counts) != 62 {
		t.Errorf("%d different digits, want 62", len(counts))
	}
	chi2 := 0.0
	for _, n := range counts {
		chi2 += float64((n-10_000)*(n-10_000)) / 10_000
	}
	if chi2 > 150 { // 61 degrees of freedom: a fair source passes but for one run in 10^8
		t.Errorf("chi-square %.0f", chi2)
	}
}

// The checksum finds every single wrong character and every two neighbors that
// changed places.
func TestMistypedKeysAreRefused(t *testing.T) {
	t.Parallel()
	format := Format{Prefix: "hk"}
	for range 20 {
		key := format.Generate(false)
		for i := range len(key) {
			for c := range 256 {
				if byte(c) != key[i] && format.Accepts(key[:i]+string([]byte{byte(c)})+key[i+1:]) {
					t.Fatalf("%s is accepted with %q at %d", key, c, i)
				}
			}
			if i > 0 && key[i] != key[i-1] &&
				format.Accepts(key[:i-1]+key[i:i+1]+key[i-1:i]+key[i+1:]) {
				t.Fatalf("%s is accepted with %d and %d swapped", key, i-1, i)
			}
		}
		for _, wrong := range []string{key[:len(key)-1], key + "0", " " + key, key[1:], strings.ToLower(key),
			strings.ToUpper(key), "h" + key} {
			if format.Accepts(wrong) {
				t.Fatalf("%q is accepted", wrong)
			}
		}
		for i := len("hk"); i < len(key)-checksumLength; i++ {
			for c := range 256 {
				body := key[:i] + string([]byte{byte(c)}) + key[i+1:len(key)-checksumLength]
				sum := checksum(body)
				wellFormed := i >= len("hk_k_") && IsAlphanumeric(byte(c)) || body[:5] == "hk_k_" && i < 5 || body[:5] == "hk_s_"
				if got := format.Accepts(body + string(sum[:])); got != wellFormed {
					t.Fatalf("%q with its right checksum: accepted %v", body, got)
				}
			}
		}
		for _, body := range []string{"hk_x_" + key[5:32], "hk-k_" + key[5:32], "hk_k-" + key[5:32]} {
			sum := checksum(body)
			if format.Accepts(body + string(sum[:])) {
				t.Fatalf("%s, with its right checksum, is accepted", body)
			}
		}
		if (Format{Prefix: "kh"}).Accepts(key) {
			t.Fatalf("%s is accepted under another prefix", key)
		}
	}
}

// Keys of a previous prefix are accepted like those of the prefix, and no other keys are.
func TestPreviousPrefixes(t *testing.T) {
	t.Parallel()
	format := Format{Prefix: "hk", Previous: []string{"acme", "a_k", "a"}}
	for _, tt := range []struct {
		prefix string
		want   bool
	}{
		{"hk", true}, {"acme", true}, {"a_k", true}, {"a", true},
		{"acm", false}, {"acmes", false}, {"ac", false}, {"kh", false}, {"Acme", false}, {"ACME", false},
	} {
		for _, service := range []bool{false, true} {
			key := Format{Prefix: tt.prefix}.Generate(service)
			if format.Resembles(key) != tt.want || format.Accepts(key) != tt.want || format.IsOwn(key) != tt.want {
				t.Errorf("of the prefix %q, Resembles is %v, Accepts %v and IsOwn %v, want %v",
					tt.prefix, format.Resembles(key), format.Accepts(key), format.IsOwn(key), tt.want)
			}
			mistyped := key[:len(key)-1] + string(base62[(digitValues[key[len(key)-1]]+1)%62])
			if format.Resembles(mistyped) != tt.want || format.Accepts(mistyped) || format.IsOwn(mistyped) {
				t.Errorf("of the prefix %q, a mistyped key passes", tt.prefix)
			}
		}
	}
	if key := format.Generate(false); !strings.HasPrefix(key, "hk_k_") || format.Beginning(true) != "hk_s_" {
		t.Errorf("a new key is %s", key)
	}
}

func TestChecksumIsCRC32InBase62(t *testing.T) {
	t.Parallel()
	for n := range 1000 {
		body := randomBase62(n % 50)
		var value uint64
		for _, digit := range checksum(body) {
			value = value*62 + uint64(strings.IndexByte(base62, digit))
		}
		if want := uint64(crc32.ChecksumIEEE([]byte(body))); value != want {
			t.Fatalf("the checksum of %s is %d, want %d", body, value, want)
		}
	}
}

func TestImportedShapes(t *testing.T) {
	t.Parallel()
	format := Format{Prefix: "hk", MinImported: 20}
	for s, want := range map[string]bool{
		strings.Repeat("x", 19):             false,
		strings.Repeat("x", 20):             true,
		strings.Repeat("x", 255):            true,
		strings.Repeat("x", 256):            false,
		strings.Repeat("x", 20) + " ":       false,
		strings.Repeat("x", 20) + "\x00":    false,
		strings.Repeat("x", 20) + "é":       false,
		strings.Repeat("x", 20) + "\x7f":    false,
		"plane_api_0123456789abcdef+/=.~!,": true,
	} {
		if got := format.Accepts(s); got != want {
			t.Errorf("Accepts(%q) is %v", s, got)
		}
	}
	if !format.Accepts(format.Generate(false)) {
		t.Error("our own shape is not accepted any more")
	}
}

// The digests are those of the standard library, of a key of any length that is accepted and
// under a pepper of any length.
func TestDigests(t *testing.T) {
	t.Parallel()
	for length := range MaxImported + 1 {
		key := strings.Repeat("x", length)
		if NewDigester("")(key) != sha256.Sum256([]byte(key)) {
			t.Errorf("the digest of %d bytes is not SHA-256", length)
		}
		for _, pepperLength := range []int{1, 32, 63, 64, 65, 200} {
			pepper := strings.Repeat("p", pepperLength)
			mac := hmac.New(sha256.New, []byte(pepper))
			mac.Write([]byte(key))
			if got := NewDigester(pepper)(key); string(got[:]) != string(mac.Sum(nil)) {
				t.Errorf("the digest of %d bytes under a pepper of %d is not HMAC-SHA-256", length, pepperLength)
			}
		}
	}
}

func FuzzAccepts(f *testing.F) {
	for _, seed := range []string{
		"", "hk", "hk_k_", "hk_s_" + strings.Repeat("0", 33), "hk_x_" + strings.Repeat("a", 33),
		Format{Prefix: "hk"}.Generate(false), strings.Repeat("é", 19), "hk_k_\x00", strings.Repeat("k", 300),
	} {
		f.Add(seed)
	}
	own, importing := Format{Prefix: "hk"}, Format{Prefix: "hk", MinImported: 16}
	shape := regexp.MustCompile(`^hk_[ks]_[0-9A-Za-z]{33}$`)
	f.Fuzz(func(t *testing.T, s string) {
		sum := func() string { d := checksum(s[:len(s)-checksumLength]); return string(d[:]) }
		want := shape.MatchString(s) && strings.HasSuffix(s, sum())
		if got := own.Accepts(s); got != want {
			t.Errorf("Accepts(%q) is %v, want %v", s, got, want)
		}
		if importing.Accepts(s) && (len(s) < 16 || len(s) > MaxImported || strings.ContainsAny(s, " \x00\n\t")) {
			t.Errorf("%q is accepted as an imported key", s)
		}
	})
}

// Generate makes keys of at least 37 characters. The hint of a shorter key would reveal much.
func TestHintIsTheEndOfALongSecret(t *testing.T) {
	t.Parallel()
	for length := range 60 {
		secret, want := strings.Repeat("x", length), ""
		if length >= 32 {
			want = "xxxx"
		}
		if got := Hint(secret); got != want {
			t.Errorf("the hint of %d bytes is %q, want %q", length, got, want)
		}
	}
}

// A digest that differs in any bit is another.
func TestDigestsAreComparedInFull(t *testing.T) {
	t.Parallel()
	digest := [32]byte{1, 2, 3}
	if same := digest; !Equal(digest, same) {
		t.Error("a digest is not equal to itself")
	}
	for bit := range 8 * len(digest) {
		other := digest
		other[bit/8] ^= 1 << (bit % 8)
		if Equal(digest, other) {
			t.Errorf("bit %d is not compared", bit)
		}
	}
}

package httpkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash/crc32"
	"math"
	"regexp"
	"strings"
	"testing"
)

func TestSecretsHaveTheDocumentedShape(t *testing.T) {
	t.Parallel()
	seen := make(map[Secret]bool)
	for kind, shape := range map[Kind]string{
		APIKey:       `^hk_k_[0-9A-Za-z]{33}$`,
		ServiceToken: `^hk_s_[0-9A-Za-z]{33}$`,
	} {
		for range 1000 {
			secret := secretFormat{prefix: "hk"}.generate(kind)
			if !regexp.MustCompile(shape).MatchString(secret.Reveal()) {
				t.Fatalf("%s does not match %s", secret.Reveal(), shape)
			}
			if !(secretFormat{prefix: "hk"}).accepts(secret.Reveal()) {
				t.Fatalf("%s is not accepted", secret.Reveal())
			}
			if seen[secret] {
				t.Fatal("the same secret came twice")
			}
			seen[secret] = true
		}
	}
	longest := secretFormat{prefix: strings.Repeat("p", maxPrefixLength)}.generate(APIKey)
	if len(longest) != 55 {
		t.Errorf("the longest secret has %d bytes, want 55: one block of SHA-256", len(longest))
	}
	if bits := randomLength * math.Log2(62); bits < 160 {
		t.Errorf("a secret has %.1f random bits, want 160", bits)
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
func TestMistypedSecretsAreRefused(t *testing.T) {
	t.Parallel()
	format := secretFormat{prefix: "hk"}
	for range 20 {
		secret := format.generate(APIKey).Reveal()
		for i := range len(secret) {
			for c := range 256 {
				if byte(c) != secret[i] && format.accepts(secret[:i]+string([]byte{byte(c)})+secret[i+1:]) {
					t.Fatalf("%s is accepted with %q at %d", secret, c, i)
				}
			}
			if i > 0 && secret[i] != secret[i-1] &&
				format.accepts(secret[:i-1]+secret[i:i+1]+secret[i-1:i]+secret[i+1:]) {
				t.Fatalf("%s is accepted with %d and %d swapped", secret, i-1, i)
			}
		}
		for _, wrong := range []string{secret[:len(secret)-1], secret + "0", " " + secret, secret[1:], strings.ToLower(secret), strings.ToUpper(secret), "h" + secret} {
			if format.accepts(wrong) {
				t.Fatalf("%q is accepted", wrong)
			}
		}
		for i := len("hk"); i < len(secret)-checksumLength; i++ {
			for c := range 256 {
				body := secret[:i] + string([]byte{byte(c)}) + secret[i+1:len(secret)-checksumLength]
				sum := checksum(body)
				wellFormed := i >= len("hk_k_") && isAlphanumeric(byte(c)) || body[:5] == "hk_k_" && i < 5 || body[:5] == "hk_s_"
				if got := format.accepts(body + string(sum[:])); got != wellFormed {
					t.Fatalf("%q with its right checksum: accepted %v", body, got)
				}
			}
		}
		for _, body := range []string{"hk_x_" + secret[5:32], "hk-k_" + secret[5:32], "hk_k-" + secret[5:32]} {
			sum := checksum(body)
			if format.accepts(body + string(sum[:])) {
				t.Fatalf("%s, with its right checksum, is accepted", body)
			}
		}
		if (secretFormat{prefix: "kh"}).accepts(secret) {
			t.Fatalf("%s is accepted under another prefix", secret)
		}
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
	format := secretFormat{prefix: "hk", importedMinLength: 20}
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
		if got := format.accepts(s); got != want {
			t.Errorf("accepts(%q) is %v", s, got)
		}
	}
	if !format.accepts(format.generate(APIKey).Reveal()) {
		t.Error("our own shape is not accepted any more")
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()
	secret := secretFormat{prefix: "hk"}.generate(APIKey).Reveal()
	if newDigester("")(secret) != sha256.Sum256([]byte(secret)) {
		t.Error("without a pepper, the digest is not SHA-256")
	}
	pepper := strings.Repeat("p", 32)
	mac := hmac.New(sha256.New, []byte(pepper))
	mac.Write([]byte(secret))
	if got := newDigester(Secret(pepper))(secret); string(got[:]) != string(mac.Sum(nil)) {
		t.Error("with a pepper, the digest is not HMAC-SHA-256")
	}
	longest := strings.Repeat("x", maxImportedLength)
	if newDigester("")(longest) != sha256.Sum256([]byte(longest)) {
		t.Error("the digest of the longest secret is cut short")
	}
}

func FuzzSecretParser(f *testing.F) {
	for _, seed := range []string{
		"", "hk", "hk_k_", "hk_s_" + strings.Repeat("0", 33), "hk_x_" + strings.Repeat("a", 33),
		secretFormat{prefix: "hk"}.generate(APIKey).Reveal(), strings.Repeat("é", 19), "hk_k_\x00", strings.Repeat("k", 300),
	} {
		f.Add(seed)
	}
	own, importing := secretFormat{prefix: "hk"}, secretFormat{prefix: "hk", importedMinLength: 16}
	shape := regexp.MustCompile(`^hk_[ks]_[0-9A-Za-z]{33}$`)
	f.Fuzz(func(t *testing.T, s string) {
		sum := func() string { d := checksum(s[:len(s)-checksumLength]); return string(d[:]) }
		want := shape.MatchString(s) && strings.HasSuffix(s, sum())
		if got := own.accepts(s); got != want {
			t.Errorf("accepts(%q) is %v, want %v", s, got, want)
		}
		if importing.accepts(s) && (len(s) < 16 || len(s) > maxImportedLength || strings.ContainsAny(s, " \x00\n\t")) {
			t.Errorf("%q is accepted as an imported key", s)
		}
		_ = Secret(s).hint()
		if s != "" && len(s) <= maxImportedLength && digestSHA256(s) != sha256.Sum256([]byte(s)) {
			t.Errorf("the digest of %q is not its SHA-256", s)
		}
	})
}

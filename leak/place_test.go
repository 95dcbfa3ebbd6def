package leak

import (
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
)

func TestPlaceHasNothingHarmful(t *testing.T) {
	t.Parallel()
	const key = "hk_k_0123456789abcdefghij"
	const good = "https://github.com/a/b#issuecomment-1"
	long := "https://github.com/" + strings.Repeat("a", 300)
	for _, tt := range []struct {
		name, source, url string
		want, reason      string // want is the URL
	}{
		{"good", "commit", good, good, "leaked: commit, " + good},
		{"no URL", "commit", "", "", "leaked: commit"},
		{"no source", "", good, good, "leaked: unknown, " + good},
		{"http", "npm", "http://a.test/", "http://a.test/", "leaked: npm, http://a.test/"},
		{"a script", "npm", "javascript:alert(1)", "", "leaked: npm"},
		{"no host", "npm", "https:foo", "", "leaked: npm"},
		{"a password", "npm", "https://ann:secret@github.com/", "", "leaked: npm"},
		{"a line", "npm\nadmin", "https://github.com/\nSubject: x", "", "leaked: unknown"},
		{"HTML", "<b>", "https://github.com/<b>", "https://github.com/<b>", "leaked: unknown, https://github.com/<b>"},
		{"no UTF-8", "\xff", "https://github.com/\xff", "", "leaked: unknown"},
		{"a right-to-left mark", "\u202e", "https://github.com/\u202e", "", "leaked: unknown"},
		{"the key", key, "https://github.com/" + key, "", "leaked: unknown"},
		{"the key in a query", "npm", "https://github.com/?q=%&t=" + key, "", "leaked: npm"},
		{"the key escaped", "npm", "https://github.com/hk%5Fk%5F0123456789abcdefghij", "", "leaked: npm"},
		{"the key escaped twice", "npm", "https://github.com/hk%255Fk_0123456789abcdefghij", "", "leaked: npm"},
		{"the key escaped beside nonsense", "npm", "https://github.com/?q=%&hk%5Fk_0123456789abcdefghij", "", "leaked: npm"},
		{"escaped often", "npm", "https://github.com/%25252525252541", "", "leaked: npm"},
		{"a long URL", "npm", long, long, "leaked: npm, " + long[:255-len("leaked: npm, ")-3] + "..."},
		{"a longer URL", "npm", long + strings.Repeat("a", 2000), "", "leaked: npm"},
		{"a long source", strings.Repeat("a", 65), "", "", "leaked: unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := placeOf(key, tt.source, tt.url)
			if p.url != tt.want || p.reason() != tt.reason {
				t.Errorf("%+v, %q", p, p.reason())
			}
			token := httpkey.Token{ID: "1", Kind: httpkey.APIKey, RevokedFor: p.reason()}
			if err := token.Validate(); err != nil && strings.Contains(err.Error(), "RevokedFor") {
				t.Error(err)
			}
		})
	}
}

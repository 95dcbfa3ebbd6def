package docs

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

const (
	oldHMACKey = "an old key of HMAC, of 32 bytes or more"
	newPepper  = "a new pepper, of 32 bytes or more, too"
)

func TestOldKeysKeepWorking(t *testing.T) {
	t.Parallel()
	hmacOf := func(key string) string {
		mac := hmac.New(sha256.New, []byte(oldHMACKey))
		mac.Write([]byte(key))
		return fmt.Sprintf("%x", mac.Sum(nil))
	}
	store := memstore.New()
	guard := afterImport(store, memstore.NewLimiter(), oldHMACKey, newPepper)
	key := func(n int) string { return fmt.Sprintf("acme-4f0c0a4b9f2b4f%02d", n) }
	created := time.Now().Add(-1000 * time.Hour)
	for range 2 { // the second run changes nothing
		if err := importKeys(t.Context(), guard, []oldKey{
			{ID: "0", Key: key(0), Owner: "plaintext", Created: created},
			{ID: "1", Key: key(1), Owner: "revoked", Created: created, Revoked: true},
		}); err != nil {
			t.Fatal(err)
		}
		if err := importDigests(t.Context(), store, []oldKey{
			{ID: "2", Hash: hexOf(key(2)), Owner: "SHA-256", Created: created},
			{ID: "3", Hash: hmacOf(key(3)), Owner: "HMAC", Created: created},
		}); err != nil {
			t.Fatal(err)
		}
	}
	api := guard.Handler(http.HandlerFunc(hello))
	for n, want := range []string{"200 hello plaintext", "401", "200 hello SHA-256", "200 hello HMAC", "401"} {
		w := httpkeytest.Get(api, key(n))
		if got := fmt.Sprintf("%d %s", w.Code, w.Body); !strings.HasPrefix(got, want) {
			t.Errorf("key %d: %s, want %s", n, got, want)
		}
	}
	for _, err := range []error{
		importDigests(t.Context(), store, []oldKey{{ID: "row 9", Hash: "0a1b"}}),
		importKeys(t.Context(), guard, []oldKey{{ID: "row 9", Key: "short"}}),
	} {
		if err == nil || !strings.Contains(err.Error(), "row 9") {
			t.Errorf("a row that is too short: %v", err)
		}
	}
}

func TestAdoptedKeys(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	execute(t, db, "CREATE TABLE old_keys (id TEXT PRIMARY KEY, owner TEXT, hash BLOB, revoked BOOLEAN)")
	hash, err := bcrypt.GenerateFromPassword([]byte("a-secret-of-long-ago"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, db, "INSERT INTO old_keys VALUES ('17', 'ann', ?, FALSE), ('18', 'bob', ?, TRUE)", hash, hash)
	guard := adopting(memstore.New(), memstore.NewLimiter(), db)
	api := guard.Handler(http.HandlerFunc(hello))
	for key, want := range map[string]string{
		"17.a-secret-of-long-ago": "200 hello ann",
		"17.another-secret-of-it": "401",
		"18.a-secret-of-long-ago": "401",
		"19.a-secret-of-long-ago": "401",
		"a-secret-of-long-ago":    "401",
	} {
		w := untilAnswered(api, key)
		if got := fmt.Sprintf("%d %s", w.Code, w.Body); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if w := untilAnswered(api, "17.a-secret-of-long-ago"); w.Code != http.StatusOK {
		t.Errorf("an adopted key without the old table: status %d", w.Code)
	}
	if w := httpkeytest.Get(api, "20.a-secret-of-long-ago"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("another key without the old table: status %d", w.Code)
	}
}

func TestPrefixesOfBefore(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	before := httpkeytest.Issue(t, httpkey.New(store, httpkey.Unlimited, nil), httpkey.Token{}).Secret.Reveal()
	guard := renamed(store, memstore.NewLimiter())
	after := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	for _, key := range []string{before, after} {
		if w := httpkeytest.Get(guard.Handler(http.HandlerFunc(hello)), key); w.Code != http.StatusOK {
			t.Errorf("%s…: status %d", key[:5], w.Code)
		}
	}
	if before[:5] != "hk_k_" || after[:7] != "acme_k_" {
		t.Errorf("%s… and %s…", before[:5], after[:7])
	}
}

func TestKeyFromTheEnvironment(t *testing.T) {
	key := httpkeytest.Issue(t, httpkey.New(memstore.New(), httpkey.Unlimited, nil), httpkey.Token{}).Secret.Reveal()
	t.Setenv("OPERATOR_KEY", key)
	guard, _ := httpkeytest.New(t, nil)
	for range 2 {
		if err := ensureOperator(t.Context(), guard); err != nil {
			t.Fatal(err)
		}
	}
	if w := httpkeytest.Get(guard.Handler(http.HandlerFunc(hello)), key); w.Body.String() != "hello operator" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

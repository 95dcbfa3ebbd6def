package httpkey_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// The answer to any headers is a row of the contract, and only
// the one key that was issued gets in.
func FuzzHeaderPath(f *testing.F) {
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{IETFHeaders: true})
	key, _ := issue(f, guard, httpkey.Token{})
	for _, seed := range [][3]string{
		{"GET", "X-Api-Key", key}, {"HEAD", "x-api-key", " " + key}, {"OPTIONS", "X-Api-Key", ""},
		{"POST", "X-Api-Key", "hk_k_\x00"}, {"", "X-Api-Key", strings.Repeat("k", 1000)}, {"GET", "", key},
		{"PURGE", "X-API-KEY", "é\xff"}, {"GET", "X-Api-Key", "\t \t"}, {"GET", "Authorization", "Bearer " + key},
	} {
		f.Add(seed[0], seed[1], seed[2], false)
		f.Add(seed[0], seed[1], seed[2], true)
	}
	reached := false
	handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	f.Fuzz(func(t *testing.T, method, name, value string, twice bool) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method = method
		r.Header[name] = []string{value}
		if twice {
			r.Header[name] = append(r.Header[name], value)
		}
		w := httptest.NewRecorder()
		reached = false
		lookups := store.Calls("Lookup")
		handler.ServeHTTP(w, r)
		valid := !twice && name == "X-Api-Key" && strings.Trim(value, " \t") == key
		switch {
		case valid && w.Code != http.StatusOK && w.Code != http.StatusTooManyRequests:
			t.Errorf("the issued key got %d", w.Code)
		case !valid && (w.Code != http.StatusUnauthorized || reached || w.Header().Get("X-RateLimit-Limit") != ""):
			t.Errorf("%s %q: %q got %d %v, reached %v", method, name, value, w.Code, w.Header(), reached)
		case !valid && method != http.MethodHead && w.Body.String() != missing && w.Body.String() != invalid:
			t.Errorf("%q: %q got %s", name, value, w.Body)
		case !valid && store.Calls("Lookup") != lookups && len(value) < len(key):
			t.Errorf("%q made the store be asked", value)
		}
	})
}

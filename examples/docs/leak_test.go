package docs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/leak"
	"github.com/httpkey/httpkey/memstore"
)

// The tests of package leak send signed reports. This one shows that the page mounts the handler.
func TestReportsWithoutSignature(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	r := httptest.NewRequest(http.MethodPost, "/github/leaks", strings.NewReader("[]"))
	w := httptest.NewRecorder()
	withReports(guard, make(chan leak.Report)).ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestKeyOverPlainHTTP(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), httpkey.Unlimited, nil)
	key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann"}).Secret.Reveal()
	api := withoutPlainHTTP(guard, http.HandlerFunc(hello))
	for i, tt := range []struct {
		scheme string
		status int
	}{{"https", 200}, {"http", 403}, {"https", 401}} {
		w := get(api, "/", "X-Forwarded-Proto: "+tt.scheme, "X-Api-Key: "+key)
		if w.Code != tt.status {
			t.Errorf("request %d: %d %s", i, w.Code, w.Body)
		}
	}
}

package readme

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSeveralProcesses(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(context.Context, string) *httpkey.Guard{
		"README.md": severalProcesses, "redisstore/README.md": client,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			guard := connect(ctx, miniredis.RunT(t).Addr())
			key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
			var w *httptest.ResponseRecorder
			for range 50 { // a loaded machine may answer later than Options.Timeout
				if w = httpkeytest.Get(guard.Handler(http.NotFoundHandler()), key); w.Code != http.StatusServiceUnavailable {
					break
				}
			}
			if w.Code != http.StatusNotFound {
				t.Errorf("status %d, want that of the handler", w.Code)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	guard := limits(memstore.New(), memstore.NewLimiter())
	handler := guard.Handler(http.NotFoundHandler())
	post := func(token httpkey.Token) string {
		key := httpkeytest.Issue(t, guard, token).Secret.Reveal()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httpkeytest.Request(http.MethodPost, "/", key))
		return w.Header().Get("X-RateLimit-Remaining")
	}
	if got := post(httpkey.Token{}); got != "55" {
		t.Errorf("after a POST, %s of 60 remain, want 55", got)
	}
	team := httpkey.Token{Workspace: "w", Metadata: map[string]string{"plan": "team"}}
	if first, second := post(team), post(team); first != "595" || second != "590" {
		t.Errorf("after a POST by each of two keys of a team, %s and %s of 600 remain, want 595 and 590", first, second)
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	mux := http.NewServeMux()
	page(mux, guard, func(*http.Request) (console.Principal, error) { return console.Principal{User: "ada"}, nil })
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/settings/api-tokens/", http.NoBody))
	if w.Code != http.StatusOK {
		t.Errorf("the page answers %d", w.Code)
	}
}

package httpkey_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/httpkey/httpkey/httpkeytest"
)

// A ReverseProxy that forwards a 1xx answer removes the headers of the Guard from the final
// one (go.dev/issue/81207). The remedy in SECURITY.md keeps the response private, and
// no client can cause it.
func TestInterimAnswersOfAnUpstream(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hints" {
			w.WriteHeader(http.StatusEarlyHints)
		}
		_, _ = io.Copy(io.Discard, r.Body) // answers 100 to Expect
		_, _ = io.WriteString(w, "data")
	}))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	guard, key := httpkeytest.New(t, nil)
	server := httptest.NewServer(guard.Handler(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Expect")
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Header.Get("Cache-Control") == "" {
				r.Header.Set("Cache-Control", "private")
			}
			return nil
		},
	}))
	defer server.Close()
	for _, tt := range []struct {
		path, expect string
		quota        bool // the headers are there
	}{
		{"/", "", true},
		{"/", "100-continue", true},
		{"/hints", "", false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+tt.path, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Expect", tt.expect)
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if !slices.Contains(response.Header.Values("Cache-Control"), "private") {
			t.Errorf("%s with Expect %q: the headers are %v, without private", tt.path, tt.expect, response.Header)
		}
		if tt.quota && response.Header.Get("X-RateLimit-Limit") == "" {
			t.Errorf("%s with Expect %q: the headers are %v, without the limit", tt.path, tt.expect, response.Header)
		}
	}
}

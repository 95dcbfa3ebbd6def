package leak

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// plain returns an API behind PlainHTTP.
func (w *world) plain(opts *PlainHTTPOptions) http.Handler {
	return PlainHTTP(w.guard, opts)(w.guard.Handler(http.HandlerFunc(hello)))
}

func isForwarded(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }

// Requests without TLS are refused alike, whatever their key is. The options say what becomes of
// the key.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		revoke, isTold  bool
		ends, isNoticed bool
	}{
		{"refuse", false, false, false, false},
		{"notice", false, true, false, true},
		{"revoke", true, false, true, false},
		{"revoke and tell", true, true, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			opts := &PlainHTTPOptions{IsTLS: isForwarded, Revoke: tt.revoke}
			if tt.isTold {
				opts.OnLeak = w.onLeak
			}
			api := w.plain(opts)
			good := httpkeytest.Issue(t, w.guard, httpkey.Token{User: "ann"})
			revoked := httpkeytest.Issue(t, w.guard, httpkey.Token{})
			if err := w.guard.Revoke(t.Context(), revoked.Token.ID, "before"); err != nil {
				t.Fatal(err)
			}
			key := good.Secret.Reveal()
			last := "x"
			if strings.HasSuffix(key, "x") {
				last = "y"
			}
			want := ""
			for name, key := range map[string]string{
				"good": key, "revoked": revoked.Secret.Reveal(), "unknown": key[:len(key)-1] + last, "none": "", "malformed": "?",
			} {
				response := httptest.NewRecorder()
				api.ServeHTTP(response, httpkeytest.Request(http.MethodGet, "/api/pages", key))
				wantStatus(t, name, response, http.StatusForbidden)
				got := fmt.Sprint(response.Header(), response.Body)
				if want = max(want, got); got != want || response.Body.String() != `{"detail":"HTTPS is required."}` {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
			}
			token := w.token(t, good.Token.ID)
			if token.IsActive == tt.ends {
				t.Errorf("the token is %+v", token)
			}
			const reason = "leaked: plain http, http://example.com/api/pages"
			if tt.ends && (token.RevokedFor != reason || token.RevokedBy != "plain http") {
				t.Errorf("revoked by %q for %q", token.RevokedBy, token.RevokedFor)
			}
			told := w.told()
			if (len(told) == 2) != tt.isNoticed || len(told) != 0 != tt.isNoticed {
				t.Errorf("OnLeak got %+v", told)
			}
			for _, report := range told {
				if report.Again != (report.Token.ID == revoked.Token.ID) || report.Source != "plain http" ||
					report.URL != "http://example.com/api/pages" || report.Token.Digest != (httpkey.Digest{}) {
					t.Errorf("OnLeak got %+v", report)
				}
			}
		})
	}
}

// Requests that came with TLS, also to a proxy, pass.
func TestRequestsWithTLSPass(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		opts   *PlainHTTPOptions
		change func(*http.Request)
		status int
	}{
		{"TLS", nil, func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, 200},
		{"TLS to a proxy", &PlainHTTPOptions{IsTLS: isForwarded, Revoke: true}, func(r *http.Request) {
			r.Header.Set("X-Forwarded-Proto", "https")
		}, 200},
		{"plain to a proxy", &PlainHTTPOptions{IsTLS: isForwarded, Revoke: true}, func(r *http.Request) {
			r.Header.Set("X-Forwarded-Proto", "http")
		}, 403},
		{"a header that nobody asked for", nil, func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, 403},
		{"an address of https", nil, func(r *http.Request) { r.URL.Scheme = "https" }, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
			r := httpkeytest.Request(http.MethodGet, "/", created.Secret.Reveal())
			tt.change(r)
			response := httptest.NewRecorder()
			w.plain(tt.opts).ServeHTTP(response, r)
			if response.Code != tt.status || (response.Body.String() == "hello") != (tt.status == 200) {
				t.Errorf("%d %s", response.Code, response.Body)
			}
			if tt.status == 200 && !w.token(t, created.Token.ID).IsActive {
				t.Error("the key has ended")
			}
		})
	}
}

// The client has the response before the store is asked, so that its time tells nothing.
func TestPlainHTTPAnswersBeforeTheLookup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
	answered := make(chan bool)
	w.store.Before(func(context.Context, string) error { // it waits for the client
		<-answered
		return nil
	})
	ended := make(chan Report, 1)
	server := httptest.NewServer(w.plain(&PlainHTTPOptions{
		Revoke: true,
		OnLeak: func(_ context.Context, r Report) { ended <- r },
	}))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", created.Secret.Reveal())
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusForbidden || string(body) != `{"detail":"HTTPS is required."}` {
		t.Errorf("%s %s %v", response.Status, body, err)
	}
	close(answered)
	if report := <-ended; report.Token.ID != created.Token.ID || w.token(t, created.Token.ID).IsActive {
		t.Errorf("OnLeak got %+v", report)
	}
}

// A flood of plain requests asks the store about a few keys at once. A store that fails is told to
// the Observer.
func TestPlainHTTPUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		key := httpkeytest.Issue(t, w.guard, httpkey.Token{}).Secret.Reveal()
		api := w.plain(&PlainHTTPOptions{Revoke: true})
		var inProgress, most atomic.Int64
		w.store.Before(func(ctx context.Context, _ string) error {
			most.Store(max(most.Load(), inProgress.Add(1)))
			defer inProgress.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		})
		start := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { wantStatus(t, "plain", httpkeytest.Get(api, key), http.StatusForbidden) })
		}
		all.Wait()
		if elapsed := time.Since(start); elapsed > 2*callTimeout || most.Load() != maxCalls {
			t.Errorf("%d calls at once, in %v", most.Load(), elapsed)
		}
		for _, want := range []string{errBusy.Error(), context.DeadlineExceeded.Error()} {
			if log := w.log.String(); !strings.Contains(log, want) || strings.Contains(log, key) {
				t.Errorf("the Observer was not told %q: %s", want, log)
			}
		}
		w.store.Before(httpkeytest.Fail(errors.Join(errDown), "Update"))
		wantStatus(t, "plain", httpkeytest.Get(api, key), http.StatusForbidden)
		if log := w.log.String(); !strings.Contains(log, errDown.Error()) {
			t.Errorf("the Observer was not told: %s", log)
		}
	})
}

package inflight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// inProgress returns how many requests a Cap counts, by payer.
func inProgress(c *Cap) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.count)
}

func wantNone(t *testing.T, c *Cap) {
	t.Helper()
	if left := inProgress(c); len(left) != 0 {
		t.Errorf("a Cap without requests counts %v", left)
	}
}

// waiting is a handler whose requests last until they are released.
type waiting chan bool

func (w waiting) ServeHTTP(http.ResponseWriter, *http.Request) { <-w }

// start sends requests in a bubble. Their responses come later.
func start(handler http.Handler, key string, n int) chan *httptest.ResponseRecorder {
	responses := make(chan *httptest.ResponseRecorder, n)
	for range n {
		go func() { responses <- httpkeytest.Get(handler, key) }()
	}
	synctest.Wait()
	return responses
}

// A token has as many requests in progress as the cap says, another token its own. When one
// ends, one more passes.
func TestCapOfRequestsInProgress(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 3, 100} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard, ann := httpkeytest.New(t, &httpkey.Options{Limits: unlimited})
				bob := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
				c, release := New(most, nil), make(waiting)
				handler := guard.Handler(c.Handler(release))
				responses := start(handler, ann, most)
				for range 3 {
					if w := httpkeytest.Get(handler, ann); w.Code != http.StatusTooManyRequests {
						t.Errorf("over the cap, status %d", w.Code)
					}
				}
				responsesOfBob := start(handler, bob, most)
				if n := len(responses) + len(responsesOfBob); n != 0 {
					t.Errorf("%d requests are over", n)
				}
				release <- true
				synctest.Wait()
				if n := len(responses) + len(responsesOfBob); n != 1 {
					t.Errorf("%d requests are over, want 1", n)
				}
				both := append(slices.Repeat([]string{ann}, 2), slices.Repeat([]string{bob}, 2)...)
				var passed int
				for _, key := range both {
					response := start(handler, key, 1)
					if len(response) == 0 {
						passed++
					}
				}
				if passed != 1 {
					t.Errorf("%d requests passed after one has ended", passed)
				}
				close(release)
				synctest.Wait()
				wantNone(t, c)
			})
		})
	}
}

var unlimited = map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {}}

// The answer over the cap is that of a Guard over a limit, to the byte, and has the rate-limit
// headers of the request, which has paid for its limit.
func TestRefusalIsThatOfAGuard(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				send := func(guard *httpkey.Guard, key string, c *Cap, next http.Handler) *httptest.ResponseRecorder {
					w := httptest.NewRecorder()
					guard.Handler(c.Handler(next)).ServeHTTP(w, httpkeytest.Request(method, "/", key))
					return w
				}
				guard, key := httpkeytest.New(t, &httpkey.Options{
					Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerSecond(1)}},
				})
				send(guard, key, New(9, nil), waiting(nil).closed())
				want := send(guard, key, New(9, nil), waiting(nil).closed())

				guard, key = httpkeytest.New(t, nil)
				release, c := make(waiting), New(1, nil)
				go send(guard, key, c, release)
				synctest.Wait()
				got := send(guard, key, c, release)
				close(release)
				if got.Code != want.Code || got.Code != http.StatusTooManyRequests || got.Body.String() != want.Body.String() {
					t.Errorf("%d %q, want %d %q", got.Code, got.Body, want.Code, want.Body)
				}
				for name := range want.Header() {
					if strings.HasPrefix(name, "X-Ratelimit-") {
						want.Header().Set(name, map[string]string{
							"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "58",
							"X-Ratelimit-Reset": fmt.Sprint(time.Now().Add(2 * time.Second).Unix()),
						}[name])
					}
				}
				if !maps.EqualFunc(got.Header(), want.Header(), slices.Equal) {
					t.Errorf("headers %v\nwant    %v", got.Header(), want.Header())
				}
			})
		})
	}
}

func (waiting) closed() waiting {
	w := make(waiting)
	close(w)
	return w
}

// A response that passes is the same with a Cap as without.
func TestCapChangesNoOtherResponse(t *testing.T) {
	t.Parallel()
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		w.Header().Set("Cache-Control", "public")
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %T", token.User, r.URL, w)
	})
	synctest.Test(t, func(t *testing.T) {
		var answers []string
		for _, wrap := range []func(http.Handler) http.Handler{
			func(next http.Handler) http.Handler { return next }, New(1, nil).Handler,
		} {
			guard, _ := httpkeytest.New(t, nil)
			key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann"}).Secret.Reveal()
			var all strings.Builder
			for range 61 {
				w := httpkeytest.Get(guard.Handler(wrap(next)), key)
				_, _ = fmt.Fprintln(&all, w.Code, w.Header(), w.Body)
			}
			answers = append(answers, all.String())
		}
		if answers[0] != answers[1] {
			t.Errorf("without a Cap:\n%s\nwith a Cap:\n%s", answers[0], answers[1])
		}
	})
}

// A request counts until its handler returns, panics or exits, also after it has hijacked its
// connection.
func TestRequestEndsWithItsHandler(t *testing.T) {
	t.Parallel()
	during := func(c *Cap, t *testing.T) {
		if n := inProgress(c)["ann"]; n != 1 {
			t.Errorf("%d requests are in progress", n)
		}
	}
	for name, end := range map[string]func(http.ResponseWriter){
		"returns": func(http.ResponseWriter) {},
		"panics":  func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"exits":   func(http.ResponseWriter) { runtime.Goexit() },
		"flushes": func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"hijacks": func(w http.ResponseWriter) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_ = conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(1, &Options{Payer: func(*http.Request) string { return "ann" }})
			ended := make(chan bool)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { ended <- true }()
				c.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					during(c, t)
					end(w)
					during(c, t)
				})).ServeHTTP(w, r)
			}))
			defer server.Close()
			go func() {
				if response, err := server.Client().Get(server.URL); err == nil {
					_ = response.Body.Close()
				}
			}()
			<-ended
			wantNone(t, c)
			if name == "exits" {
				server.CloseClientConnections() // net/http does not
			}
		})
	}
}

// A request counts for the payer that the Cap is told, by default for the token, whose rotated
// keys count together. A request without one passes.
func TestPayers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, _ := httpkeytest.New(t, &httpkey.Options{
			Limits:    unlimited,
			Anonymous: func(*http.Request, *httpkey.Charge) bool { return true },
		})
		ann := httpkeytest.Issue(t, guard, httpkey.Token{Workspace: "acme"})
		bob := httpkeytest.Issue(t, guard, httpkey.Token{Workspace: "acme"})
		rotated, err := guard.Rotate(t.Context(), ann.Token.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		workspace := &Options{Payer: func(r *http.Request) string {
			token, _ := httpkey.FromContext(r.Context())
			return token.Workspace
		}}
		session := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), httpkey.Token{ID: "session of ann", IsActive: true})))
			})
		}
		none := func(next http.Handler) http.Handler { return next }
		for _, tt := range []struct {
			name     string
			opts     *Options
			first    string
			second   string
			in       func(http.Handler) http.Handler
			isPassed bool
		}{
			{"the same key", nil, ann.Secret.Reveal(), ann.Secret.Reveal(), guard.Handler, false},
			{"the key that came after", nil, ann.Secret.Reveal(), rotated.Secret.Reveal(), guard.Handler, false},
			{"another key", nil, ann.Secret.Reveal(), bob.Secret.Reveal(), guard.Handler, true},
			{"another key of the workspace", workspace, ann.Secret.Reveal(), bob.Secret.Reveal(), guard.Handler, false},
			{"anonymous", nil, "", "", guard.Handler, true},
			{"no workspace", workspace, "", "", guard.Handler, true},
			{"no Guard", nil, "", "", none, true},
			{"session", nil, "", "", session, false},
		} {
			c, release := New(1, tt.opts), make(waiting)
			handler := tt.in(c.Handler(release))
			first := start(handler, tt.first, 1)
			second := start(handler, tt.second, 1)
			if isPassed := len(second) == 0; isPassed != tt.isPassed {
				t.Errorf("%s: passed %t, want %t", tt.name, isPassed, tt.isPassed)
			}
			close(release)
			<-first
			<-second
			wantNone(t, c)
		}
	})
}

// events collects what an Observer is told of.
type events struct {
	mu   sync.Mutex
	told []httpkey.Event
}

func (e *events) Observe(_ context.Context, event *httpkey.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, *event)
}

// Under DryRun, all requests pass, and the Observer is told of those over the cap. Otherwise the
// Observer is told of the same requests. It learns the token without its digest.
func TestDryRunTellsAndPasses(t *testing.T) {
	t.Parallel()
	for _, isDry := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var seen events
			guard, key := httpkeytest.New(t, nil)
			c, release := New(2, &Options{DryRun: isDry, Observers: []httpkey.Observer{&seen}}), make(waiting)
			responses := start(guard.Handler(c.Handler(release)), key, 5)
			over := 3
			if isDry {
				over = 0
			}
			if len(responses) != over {
				t.Errorf("dry run %t: %d requests are refused, want %d", isDry, len(responses), over)
			}
			if len(seen.told) != 3 {
				t.Errorf("dry run %t: %d events, want 3", isDry, len(seen.told))
			}
			for _, e := range seen.told {
				if e.Type != EventOverCap || e.Token.ID == "" || e.Token.Digest != (httpkey.Digest{}) || e.Request == nil {
					t.Errorf("dry run %t: the event is %+v", isDry, e)
				}
			}
			close(release)
			synctest.Wait()
			wantNone(t, c)
		})
	}
}

// The ErrorHandler of the Guard in front answers, and finds the headers set.
func TestRefusalThroughTheErrorHandler(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, &httpkey.Options{
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ httpkey.Error) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "busy")
		},
	})
	c := New(1, &Options{Payer: func(*http.Request) string { return "ann" }})
	_, ok := c.Acquire(t.Context(), "ann")
	w, r := httptest.NewRecorder(), httpkeytest.Request("GET", "/", "")
	leave, isIn := c.Enter(w, r.WithContext(guard.NewContext(r.Context(), httpkey.Token{User: "ann"})))
	leave() // does no harm
	if !ok || isIn || w.Code != http.StatusServiceUnavailable || w.Body.String() != "busy" ||
		w.Header().Get("Retry-After") != "1" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%t, %t: %d %v %s", ok, isIn, w.Code, w.Header(), w.Body)
	}
	if n := inProgress(c)["ann"]; n != 1 {
		t.Errorf("%d are in progress", n)
	}
}

// A Cap agrees with a list of what is in progress, whatever begins and ends, and an end that is
// repeated.
func TestCapAgreesWithAModel(t *testing.T) {
	t.Parallel()
	type one struct {
		payer string
		leave func()
	}
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		most, isDry := 1+random.IntN(4), random.IntN(4) == 0
		c := New(most, &Options{DryRun: isDry})
		var running, over []one
		want := make(map[string]int)
		for range 500 {
			switch random.IntN(5) {
			case 0, 1, 2:
				payer := []string{"", "ann", "bob", "eve"}[random.IntN(4)]
				leave, ok := c.Acquire(t.Context(), payer)
				if wantOK := payer == "" || isDry || want[payer] < most; ok != wantOK {
					t.Fatalf("seed %d: with %v in progress, %q got %t", seed, want, payer, ok)
				}
				if ok && payer != "" {
					want[payer]++
					running = append(running, one{payer, leave})
				} else {
					over = append(over, one{payer, leave})
				}
			case 3:
				if len(running) > 0 {
					i := random.IntN(len(running))
					ended := running[i]
					running = slices.Delete(running, i, i+1)
					ended.leave()
					if want[ended.payer]--; want[ended.payer] == 0 {
						delete(want, ended.payer)
					}
					over = append(over, ended)
				}
			case 4:
				if len(over) > 0 {
					over[random.IntN(len(over))].leave()
				}
			}
			if got := inProgress(c); !maps.Equal(got, want) {
				t.Fatalf("seed %d: %v are in progress, want %v", seed, got, want)
			}
		}
	}
}

// Of many goroutines at once, no more are in progress than the cap says, and each that is
// refused had as many others beside it.
func TestCapOfManyAtOnce(t *testing.T) {
	t.Parallel()
	const most, workers, rounds = 5, 16, 2000
	c := New(most, nil)
	var running [2]atomic.Int64
	var passed, refused atomic.Int64
	var working sync.WaitGroup
	for n := range workers {
		working.Go(func() {
			for range rounds {
				payer := n % 2
				leave, ok := c.Acquire(t.Context(), fmt.Sprint(payer))
				if !ok {
					refused.Add(1)
					runtime.Gosched()
					continue
				}
				passed.Add(1)
				if at := running[payer].Add(1); at > most {
					t.Errorf("%d are in progress", at)
				}
				runtime.Gosched()
				running[payer].Add(-1)
				leave()
			}
		})
	}
	working.Wait()
	if passed.Load() < rounds || refused.Load() == 0 {
		t.Errorf("%d passed and %d were refused", passed.Load(), refused.Load())
	}
	wantNone(t, c)
}

func TestNewRefusesACapOfNothing(t *testing.T) {
	t.Parallel()
	for _, most := range []int{0, -1} {
		func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, httpkey.ErrInvalidOptions) {
					t.Errorf("a cap of %d: the panic is %v", most, err)
				}
			}()
			New(most, nil)
		}()
	}
}

func TestNewRefusesANilObserver(t *testing.T) {
	t.Parallel()
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, httpkey.ErrInvalidOptions) ||
			!strings.Contains(err.Error(), "Observers") {
			t.Errorf("the panic is %v", err)
		}
	}()
	New(1, &Options{Observers: []httpkey.Observer{nil}})
}

// A printed Cap shows no payer.
func TestFormatHidesPayers(t *testing.T) {
	t.Parallel()
	c := New(1, nil)
	c.Acquire(t.Context(), "token:ann")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, "ann") || strings.Contains(text, "616e6e") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

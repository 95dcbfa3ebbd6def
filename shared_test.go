package httpkey_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// spyStore is a memstore that counts calls and fails on demand.
type spyStore struct {
	*memstore.Store
	mu    sync.Mutex
	calls map[string]int
	fail  func(method string, call int) error // call counts from 1
	lose  func(method string) error           // the answer to what was done
	touch func(context.Context, map[string]time.Time) error
}

func newSpyStore() *spyStore {
	return &spyStore{Store: memstore.New(), calls: make(map[string]int)}
}

func (s *spyStore) failWith(fail func(method string, call int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *spyStore) enter(method string) error {
	s.mu.Lock()
	s.calls[method]++
	fail, call := s.fail, s.calls[method]
	s.mu.Unlock()
	if fail != nil {
		return fail(method, call)
	}
	return nil
}

func (s *spyStore) lost(method string) error {
	if s.lose == nil {
		return nil
	}
	return s.lose(method)
}

func (s *spyStore) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

func (s *spyStore) Create(ctx context.Context, t httpkey.Token) error {
	if err := s.enter("Create"); err != nil {
		return err
	}
	return errors.Join(s.Store.Create(ctx, t), s.lost("Create"))
}

func (s *spyStore) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if err := s.enter("Lookup"); err != nil {
		return httpkey.Token{}, err
	}
	return s.Store.Lookup(ctx, d)
}

func (s *spyStore) Get(ctx context.Context, id string) (httpkey.Token, error) {
	if err := s.enter("Get"); err != nil {
		return httpkey.Token{}, err
	}
	return s.Store.Get(ctx, id)
}

func (s *spyStore) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	if err := s.enter("List"); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, f)
}

func (s *spyStore) Update(ctx context.Context, t httpkey.Token) error {
	if err := s.enter("Update"); err != nil {
		return err
	}
	return errors.Join(s.Store.Update(ctx, t), s.lost("Update"))
}

func (s *spyStore) Touch(ctx context.Context, used map[string]time.Time) error {
	if err := s.enter("Touch"); err != nil {
		return err
	}
	if s.touch != nil {
		return s.touch(ctx, used)
	}
	return s.Store.Touch(ctx, used)
}

// limiterFunc is a limiter made of a function.
type limiterFunc func(key string, limit httpkey.Limit, n int) (httpkey.Result, error)

func (f limiterFunc) Allow(_ context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	return f(key, limit, n)
}

// events collects what an observer is told.
type events struct {
	mu  sync.Mutex
	all []httpkey.Event
}

func (e *events) Observe(_ context.Context, event httpkey.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// last returns the latest event.
func (e *events) last(t *testing.T) httpkey.Event {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.all) == 0 {
		t.Fatal("nothing was observed")
	}
	return e.all[len(e.all)-1]
}

func newGuard(opts *httpkey.Options) *httpkey.Guard {
	return httpkey.New(memstore.New(), memstore.NewLimiter(), opts)
}

func issue(t *testing.T, g *httpkey.Guard, token httpkey.Token) (string, httpkey.Token) {
	t.Helper()
	secret, token, err := g.Issue(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal(), token
}

// get sends a request with a key through handler, in memory.
func get(handler http.Handler, key string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if key != "" {
		r.Header.Set("X-Api-Key", key)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// ok is the handler behind the guard.
var ok = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte("ok"))
})

// sendRaw sends bytes as they are and returns the status of the response, 499
// if the server hangs up without one.
func sendRaw(t *testing.T, address, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 499
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// elapse lets d of a bubble's time elapse, which takes none: every caller is in [synctest.Test].
func elapse(d time.Duration) { time.Sleep(d) }

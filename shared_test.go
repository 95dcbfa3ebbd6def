package httpkey_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// limiterFunc is a limiter made of a function.
type limiterFunc func(context.Context, *httpkey.Charge) (httpkey.Result, error)

func (f limiterFunc) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return f(ctx, c)
}

// events is an Observer that collects its events.
type events struct {
	mu  sync.Mutex
	all []httpkey.Event
}

func (e *events) Observe(_ context.Context, event *httpkey.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, *event)
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

// types returns the types of all events, or of those that are of some types.
func (e *events) types(of ...httpkey.EventType) (types []httpkey.EventType) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if len(of) == 0 || slices.Contains(of, event.Type) {
			types = append(types, event.Type)
		}
	}
	return types
}

func newGuard(opts *httpkey.Options) *httpkey.Guard {
	return httpkey.New(memstore.New(), memstore.NewLimiter(), opts)
}

// issue returns a new key and its token.
func issue(t testing.TB, g *httpkey.Guard, token httpkey.Token) (string, httpkey.Token) {
	t.Helper()
	created := httpkeytest.Issue(t, g, token)
	return created.Secret.Reveal(), created.Token
}

// update changes a stored token.
func update(t *testing.T, store httpkey.TokenStore, id string, change func(*httpkey.Token)) httpkey.Token {
	t.Helper()
	token, err := store.Update(t.Context(), id, func(token *httpkey.Token) error {
		change(token)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// observers are those of a Guard.
func observers(o ...httpkey.Observer) []httpkey.Observer { return o }

// limits are those of a token that has its own.
func limits(l ...httpkey.Limit) []httpkey.Limit { return l }

// ok is the handler behind the guard.
var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
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

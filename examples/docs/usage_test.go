package docs

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/usage"
)

func TestUsageIsCounted(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	if err := sqlstore.Migrate(t.Context(), db, sqlstore.SQLite); err != nil {
		t.Fatal(err)
	}
	guard, recorder := counted(db, sqlstore.SQLite)
	created := httpkeytest.Issue(t, guard, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerHour(2)}})
	for range 3 {
		httpkeytest.Get(guard.Handler(http.HandlerFunc(hello)), created.Secret.Reveal())
	}
	if err := shutDown(t.Context(), &http.Server{ReadHeaderTimeout: time.Second}, recorder); err != nil {
		t.Fatal(err)
	}
	if err := lastDay(t.Context(), recorder, created.Token.ID); err != nil {
		t.Error(err)
	}
	if cost, err := invoice(t.Context(), recorder, created.Token.ID, time.Now().UTC()); err != nil || cost != 2 {
		t.Errorf("the invoice is about %d, %v, want 2", cost, err)
	}
}

func TestUsageOfClients(t *testing.T) {
	t.Parallel()
	recorder := withClients(usage.NewMemory())
	guard := httpkey.New(memstore.New(), httpkey.Unlimited, &httpkey.Options{Observers: []httpkey.Observer{recorder}})
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	r := httpkeytest.Request(http.MethodGet, "/", created.Secret.Reveal())
	r.RemoteAddr = "10.0.0.1:1234"
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	r.Header.Set("User-Agent", "curl/8.5.0")
	guard.Handler(http.HandlerFunc(hello)).ServeHTTP(httptest.NewRecorder(), r)
	last, err := recorder.LastClient(t.Context(), created.Token.ID)
	if err != nil || last.Addr.String() != "203.0.113.7" || last.UserAgent != "curl/8.5.0" {
		t.Errorf("the last client is %+v, %v", last, err)
	}
	if err := recorder.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

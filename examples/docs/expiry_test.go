package docs

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// outbox has the mails by their recipients.
type outbox struct {
	mu    sync.Mutex
	mails map[string][]string
}

func (o *outbox) mail(_ context.Context, to, text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mails == nil {
		o.mails = make(map[string][]string)
	}
	o.mails[to] = append(o.mails[to], text)
	return nil
}

// Four Guards on one database send one digest to each owner.
func TestDigestsOnSQLite(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	if err := sqlstore.Migrate(t.Context(), db, sqlstore.SQLite); err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	newGuard := func() *httpkey.Guard {
		return httpkey.New(sqlstore.New(db, sqlstore.SQLite, nil), httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 16})
	}
	guard, out := newGuard(), outbox{}
	ends := time.Now().Add(3 * day)
	want := make(map[string][]string)
	for user := range 10 {
		text := ""
		for key := range 3 {
			label := fmt.Sprintf("key %d-%d", user, key)
			secret := httpkey.Secret(fmt.Sprintf("a-key-from-elsewhere-%d-%d", user, key))
			_, err := guard.Import(t.Context(), secret, httpkey.Token{
				User: fmt.Sprint("user ", user), Label: label, IsActive: true,
				CreatedAt: ends.Add(-90*day + time.Duration(key)*time.Second), ExpiredAt: ends,
			})
			if err != nil {
				t.Fatal(err)
			}
			text += label + " (…) expires on " + ends.UTC().Format("2 January 2006") + ".\n"
		}
		want[fmt.Sprint("user ", user)] = []string{text}
	}
	var all sync.WaitGroup
	var mailing atomic.Bool
	var finished atomic.Int32
	others := make(chan struct{}) // closed when three have finished
	mail := func(ctx context.Context, to, text string) error {
		if mailing.CompareAndSwap(false, true) {
			<-others // so that they meet a claim
		}
		return out.mail(ctx, to, text)
	}
	for range 4 {
		notifier := digests(newGuard(), mail)
		all.Go(func() {
			for range 2 {
				if _, err := notifier.Send(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if finished.Add(1) == 3 {
				close(others)
			}
		})
	}
	all.Wait()
	if !maps.EqualFunc(out.mails, want, slices.Equal) {
		t.Errorf("the mails are %q, want %q", out.mails, want)
	}
}

func TestExpiryEveryHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, out := httpkey.New(memstore.New(), httpkey.Unlimited, nil), outbox{}
		key := httpkeytest.Issue(t, guard, httpkey.Token{
			User: "ann", Label: "laptop", Workspace: "acme", ExpiredAt: time.Now().AddDate(0, 0, 40),
		})
		ctx, cancel := context.WithCancel(t.Context())
		go sendHourly(ctx, digests(guard, out.mail))
		httpkeytest.Elapse(39 * 24 * time.Hour)
		synctest.Wait()
		cancel()
		text := "laptop (" + guard.Masked(key.Token) + ") expires on 10 February 2000.\n"
		if want := []string{text, text, text}; !slices.Equal(out.mails["ann"], want) {
			t.Errorf("the mails are %q, want %q", out.mails["ann"], want)
		}
		if err := printExpiring(t.Context(), guard); err != nil {
			t.Error(err)
		}
		w := httpkeytest.Get(withExpiry(guard, http.HandlerFunc(hello)), key.Secret.Reveal())
		if got := w.Header().Get("X-Api-Key-Expires"); got != "Thu, 10 Feb 2000 00:00:00 GMT" {
			t.Errorf("the key expires %q", got)
		}
	})
}

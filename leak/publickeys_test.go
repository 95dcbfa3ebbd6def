package leak

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/httpkeytest"
)

// step is a report, the time before it, and its answer. fetches counts from the beginning.
type step struct {
	name                  string
	wait                  time.Duration
	change                func(t *testing.T, f *fakeGitHub)
	key                   string
	status                int
	fetches, notModifieds int
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	publish := func(names ...string) func(*testing.T, *fakeGitHub) {
		return func(t *testing.T, f *fakeGitHub) { f.publish(t, names...) }
	}
	goDown := func(_ *testing.T, f *fakeGitHub) { f.set(func() { f.err = errors.New("no network") }) }
	fail := func(status int) func(*testing.T, *fakeGitHub) {
		return func(_ *testing.T, f *fakeGitHub) { f.set(func() { f.status = status }) }
	}
	comeBack := func(_ *testing.T, f *fakeGitHub) { f.set(func() { f.err, f.status, f.list = nil, 0, "" }) }
	for name, steps := range map[string][]step{
		"the list is fetched once, and after an hour by its ETag": {
			{"the first report", 0, nil, "one", 200, 1, 0},
			{"another", 59 * time.Minute, nil, "one", 200, 1, 0},
			{"after an hour", time.Minute, nil, "one", 200, 2, 1},
			{"304 counts as a fetch", 59 * time.Minute, nil, "one", 200, 2, 1},
			{"after two hours", time.Minute, nil, "one", 200, 3, 2},
		},
		"a new key is fetched": {
			{"the first report", 0, nil, "one", 200, 1, 0},
			{"with the new key", 5 * time.Minute, publish("one", "two"), "two", 200, 2, 0},
			{"with the old key", 0, nil, "one", 200, 2, 0},
		},
		"a new key within a minute of a fetch is to come again": {
			{"the first report", 0, nil, "one", 200, 1, 0},
			{"with the new key", 59 * time.Second, publish("one", "two"), "two", 503, 1, 0},
			{"again", time.Second, nil, "two", 200, 2, 0},
		},
		"a withdrawn key is of no use after an hour": {
			{"the first report", 0, nil, "one", 200, 1, 0},
			{"withdrawn", 59 * time.Minute, publish("two"), "one", 200, 1, 0},
			{"after an hour", time.Minute, nil, "one", 401, 2, 0},
			{"the new key", 0, nil, "two", 200, 2, 0},
		},
		"GitHub is down at first": {
			{"the first report", 0, goDown, "one", 503, 1, 0},
			{"within a minute", 59 * time.Second, comeBack, "one", 503, 1, 0},
			{"again", time.Second, nil, "one", 200, 2, 0},
		},
		"the list serves for a day while GitHub is down": {
			{"the first report", 0, nil, "one", 200, 1, 0},
			{"down", 2 * time.Hour, goDown, "one", 200, 2, 0},
			{"within a minute", 30 * time.Second, nil, "one", 200, 2, 0},
			{"an unknown identifier", 0, publish("one", "two"), "two", 503, 2, 0},
			{"nearly a day", 24*time.Hour - 2*time.Hour - time.Minute, nil, "one", 200, 3, 0},
			{"a day", time.Minute, nil, "one", 503, 4, 0},
			{"back", time.Minute, comeBack, "two", 200, 5, 0},
		},
		"GitHub refuses":       {{"the first report", 0, fail(403), "one", 503, 1, 0}},
		"a redirect":           {{"the first report", 0, fail(302), "one", 503, 1, 0}},
		"304 without a list":   {{"the first report", 0, fail(304), "one", 503, 1, 0}},
		"an error after a day": {{"good", 0, nil, "one", 200, 1, 0}, {"bad", 25 * time.Hour, fail(500), "one", 503, 2, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				for _, s := range steps {
					httpkeytest.Elapse(s.wait)
					if s.change != nil {
						s.change(t, w.github)
					}
					wantStatus(t, s.name, w.post(w.github.report(s.key, "[]")), s.status)
					if fetches, notModified := w.github.counts(); fetches != s.fetches || notModified != s.notModifieds {
						t.Errorf("%s: %d fetches and %d times 304, want %d and %d",
							s.name, fetches, notModified, s.fetches, s.notModifieds)
					}
				}
			})
		})
	}
}

// Reports with made-up identifiers fetch the list once a minute, also many at once, and do not
// keep a good report from being read.
func TestMadeUpIdentifiersDoNotHammer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for second := range 600 {
			var all sync.WaitGroup
			for i := range 5 {
				all.Go(func() {
					r := w.github.report("one", "[]")
					r.Header.Set("Github-Public-Key-Identifier", fmt.Sprint("made up ", second, i))
					if code := w.post(r).Code; code != http.StatusUnauthorized && code != http.StatusServiceUnavailable {
						t.Errorf("status %d", code)
					}
				})
			}
			all.Go(func() { wantStatus(t, "a good report", w.send("[]"), http.StatusOK) })
			all.Wait()
			httpkeytest.Elapse(time.Second)
		}
		if fetches, _ := w.github.counts(); fetches != 10 {
			t.Errorf("%d fetches in 10 minutes", fetches)
		}
	})
}

// A fetch that hangs delays a report of a known key not at all, and others for 5 seconds.
func TestFetchThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.handler = GitHub(w.guard, &GitHubOptions{Client: &http.Client{Transport: hanging{w.github}}})
		wantStatus(t, "the first report", w.send("[]"), http.StatusOK)
		httpkeytest.Elapse(2 * time.Minute)
		w.github.set(func() { w.github.status = hangs })
		unknown := w.github.report("one", "[]")
		unknown.Header.Set("Github-Public-Key-Identifier", "made up")
		start := time.Now()
		var other sync.WaitGroup
		other.Go(func() {
			wantStatus(t, "an unknown identifier", w.post(unknown), http.StatusServiceUnavailable)
			if elapsed := time.Since(start); elapsed != fetchTimeout {
				t.Errorf("the unknown identifier took %v", elapsed)
			}
		})
		synctest.Wait()
		wantStatus(t, "a known key", w.send("[]"), http.StatusOK)
		if elapsed := time.Since(start); elapsed != 0 {
			t.Errorf("the known key took %v", elapsed)
		}
		other.Wait()
	})
}

const hangs = -1 // a status that does not come

type hanging struct{ *fakeGitHub }

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	isHanging := h.status == hangs
	h.mu.Unlock()
	if isHanging {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return h.fakeGitHub.RoundTrip(r)
}

func TestLists(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := pemOf(&private.PublicKey)
	private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := pemOf(&private.PublicKey)
	list := func(keys ...string) string {
		var all []string
		for i, key := range keys {
			text, err := json.Marshal(key)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf(`{"key_identifier":"%d","key":%s}`, i, text))
		}
		return `{"public_keys":[` + strings.Join(all, ",") + `]}`
	}
	for _, tt := range []struct {
		name, list, err string
		keys            int
	}{
		{"a key", list(good), "", 1},
		{"a key among others", list("nonsense", other, good, strings.Replace(good, "M", "N", 1)), "", 1},
		{"another curve", list(other), "no key", 0},
		{"none", list(), "no key", 0},
		{"no identifier", strings.Replace(list(good), `"0"`, `""`, 1), "no key", 0},
		{"no JSON", "<html>", "invalid character", 0},
		{"another shape", `{"public_keys":{}}`, "cannot unmarshal", 0},
		{"too long", list(good) + strings.Repeat(" ", maxList), "bytes", 0},
		{"too many", list(strings.Split(strings.Repeat("x", 101), "")...), "101 keys", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys, err := readKeys(strings.NewReader(tt.list))
			if len(keys) != tt.keys || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%d keys, %v", len(keys), err)
			}
		})
	}
}

package endpoint_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var (
	addresses = []string{"192.0.2.1", "192.0.2.2", "10.1.2.3"}
	forClient = httpkey.Limit{Name: "revoke", Rate: 10, Period: time.Minute} // of RevokeSelf
)

// snapshot is all that a Guard keeps: the tokens as stored, and the buckets by their payers.
type snapshot struct {
	tokens  map[string]httpkey.Token
	buckets map[string]httpkey.Result
}

// look returns the present snapshot, with the uses that were not written before.
func (w *world) look(t *testing.T) snapshot {
	t.Helper()
	if err := w.guard.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := w.store.List(t.Context(), httpkey.Filter{Limit: 1000})
	if err != nil || len(all) == 1000 {
		t.Fatalf("listed %d tokens: %v", len(all), err)
	}
	now := snapshot{make(map[string]httpkey.Token), make(map[string]httpkey.Result)}
	ask := func(payer string, limits ...httpkey.Limit) {
		t.Helper()
		result, err := w.limiter.Allow(t.Context(), &httpkey.Charge{Bucket: payer, Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		now.buckets[payer] = result
	}
	for _, token := range all {
		now.tokens[token.ID] = token
		switch {
		case len(token.Limits) > 0:
			ask(token.Payer(), token.Limits...)
		case token.Kind == httpkey.ServiceToken:
			ask(token.Payer(), httpkey.PerMinute(300))
		default:
			ask(token.Payer(), httpkey.PerMinute(60))
		}
	}
	for _, address := range addresses {
		ask("anonymous:"+address, forClient)
	}
	return now
}

// differences returns what two snapshots do not share.
func (s snapshot) differences(other snapshot) (all []string) {
	for id, token := range s.tokens {
		if !reflect.DeepEqual(token, other.tokens[id]) {
			all = append(all, fmt.Sprintf("token %+v became %+v", token, other.tokens[id]))
		}
	}
	for payer, result := range s.buckets {
		if !reflect.DeepEqual(result, other.buckets[payer]) {
			all = append(all, fmt.Sprintf("bucket %s with %+v became %+v", payer, result, other.buckets[payer]))
		}
	}
	if len(s.tokens) != len(other.tokens) {
		all = append(all, fmt.Sprintf("%d tokens became %d", len(s.tokens), len(other.tokens)))
	}
	return all
}

// In random sequences of uses and questions, WhoAmI and Introspect change nothing at all.
// RevokeSelf ends the token of its key, and takes one from the limit of the client's address.
// RotateSelf costs what a request costs, and changes the token of its key as a rotation does.
func TestHandlersChangeWhatTheySayAndNothingElse(t *testing.T) {
	t.Parallel()
	for place, make := range map[string]func() (httpkey.TokenStore, httpkey.Limiter){
		"in memory": func() (httpkey.TokenStore, httpkey.Limiter) { return memstore.New(), memstore.NewLimiter() },
		"elsewhere": func() (httpkey.TokenStore, httpkey.Limiter) {
			return httpkeytest.NewStore(memstore.New()), httpkeytest.NewLimiter(memstore.NewLimiter())
		},
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			synctest.Test(t, func(t *testing.T) {
				store, limiter := make()
				w := newWorldOver(t, store, limiter, nil)
				random := rand.New(rand.NewPCG(seed, 1))
				counts := map[string]int{}
				for range 1000 {
					w.step(t, random, counts)
				}
				t.Log(counts)
				for _, what := range []string{"use 404", "WhoAmI 200", "WhoAmI 401", "Introspect 200", "RevokeSelf 204",
					"RevokeSelf 429", "ended", "RotateSelf 201", "RotateSelf 401", "RotateSelf 409"} {
					if counts[what] < 9 {
						t.Errorf("%q came %d times: %v", what, counts[what], counts)
					}
				}
			})
		})
	}
}

// bad are the states whose keys get no new one in their place.
var bad = []string{"missing", "malformed", "unknown", "revoked", "expired"}

// step sends one request and compares the world before and after it.
func (w *world) step(t *testing.T, random *rand.Rand, counts map[string]int) {
	t.Helper()
	httpkeytest.Elapse(time.Duration(1+random.IntN(400)) * time.Millisecond)
	state := pick(random, slices.Sorted(maps.Keys(w.keys)))
	address := pick(random, addresses)
	name := pick(random, []string{"use", "WhoAmI", "Introspect", "RevokeSelf", "RotateSelf", "RotateSelf"})
	before, at := w.look(t), time.Now()
	r := httpkeytest.Request(http.MethodGet, "/", w.keys[state])
	r.RemoteAddr = address + ":1"
	got := httptest.NewRecorder()
	switch name {
	case "use":
		w.guard.Handler(http.NotFoundHandler()).ServeHTTP(got, r)
	case "WhoAmI":
		endpoint.WhoAmI(w.guard).ServeHTTP(got, r)
	case "Introspect":
		got = ask(endpoint.Introspect(w.guard), w.keys[state])
	case "RevokeSelf":
		r.Method = http.MethodPost
		endpoint.RevokeSelf(w.guard).ServeHTTP(got, r)
	case "RotateSelf":
		r.Method, r.Body = http.MethodPost, io.NopCloser(strings.NewReader(fmt.Sprintf(`{"grace":%d}`, graceSeconds)))
		r.Header.Set("Content-Type", "application/json")
		w.guard.Handler(endpoint.RotateSelf(w.guard)).ServeHTTP(got, r)
	}
	after := w.look(t)
	if !time.Now().Equal(at) {
		t.Fatal("time passed between the snapshots")
	}
	counts[fmt.Sprint(name, " ", got.Code)]++
	if name == "use" { // a Guard that changes nothing would prove nothing
		isUsed := len(before.differences(after)) > 0
		if isUsed != (got.Code != http.StatusUnauthorized) { // a throttled request moves LastUsed
			t.Fatalf("a use of the key in state %s was answered %d, and changed something: %v", state, got.Code, isUsed)
		}
		return
	}
	id := w.tokens[state].ID
	if name == "RevokeSelf" && got.Code != http.StatusTooManyRequests {
		if token, ok := before.tokens[id]; ok && token.IsActive {
			token.IsActive, token.RevokedAt, token.RevokedFor = false, after.tokens[id].RevokedAt, "by its holder"
			before.tokens[id] = token
			if !token.RevokedAt.Equal(at) {
				t.Errorf("RevokedAt is %v, want %v", token.RevokedAt, at)
			}
			counts["ended"]++
		}
		payer := "anonymous:" + address
		if paid := before.buckets[payer].Remaining - after.buckets[payer].Remaining; paid != 1 {
			t.Fatalf("RevokeSelf took %d from the limit of %s", paid, address)
		}
		before.buckets[payer] = after.buckets[payer]
	}
	var successor httpkey.Created
	if name == "RotateSelf" && got.Code != http.StatusUnauthorized {
		successor = expectRotation(t, before, after, id, got, at)
	}
	for _, difference := range before.differences(after) {
		t.Errorf("%s for the key in state %s changed: %s", name, state, difference)
	}
	if t.Failed() {
		t.FailNow()
	}
	isLost := random.IntN(4) > 0 // the answer, so that the client goes on with the old key
	switch {
	case got.Code == http.StatusCreated && !isLost:
		if err := w.store.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		w.keys[state], w.tokens[state] = successor.Secret.Reveal(), successor.Token
	case name == "RevokeSelf" && got.Code == http.StatusNoContent && !slices.Contains(bad, state),
		got.Code == http.StatusConflict:
		if err := errors.Join(w.store.Delete(t.Context(), id),
			w.store.Delete(t.Context(), after.tokens[id].RotatedTo)); err != nil {
			t.Fatal(err)
		}
		like := w.tokens[state]
		created := httpkeytest.Issue(t, w.guard, httpkey.Token{Limits: like.Limits, Networks: like.Networks})
		w.keys[state], w.tokens[state] = created.Secret.Reveal(), created.Token
	}
}

const graceSeconds = 600_000

// remaining returns what remains of each limit.
func remaining(r httpkey.Result) (each []int) {
	if len(r.Each) == 0 {
		return []int{r.Remaining}
	}
	for _, one := range r.Each {
		each = append(each, one.Remaining)
	}
	return each
}

// expectRotation changes the snapshot before a request of RotateSelf as that should do, and returns
// the successor, which it takes out of the snapshot after.
func expectRotation(
	t *testing.T, before, after snapshot, id string, got *httptest.ResponseRecorder, at time.Time,
) (successor httpkey.Created) {
	t.Helper()
	old := before.tokens[id]
	if old.LastUsed = after.tokens[id].LastUsed; !old.LastUsed.Equal(at.Truncate(time.Microsecond)) {
		t.Errorf("LastUsed is %v, want %v", old.LastUsed, at)
	}
	payer := old.Payer()
	isCharged := got.Code == http.StatusCreated || got.Code == http.StatusConflict
	for i, left := range remaining(before.buckets[payer]) {
		if paid := left - remaining(after.buckets[payer])[i]; isCharged != (paid == 1) {
			t.Errorf("an answer of %d took %d from a limit of the key", got.Code, paid)
		}
	}
	before.buckets[payer] = after.buckets[payer]
	defer func() { before.tokens[id] = old }()
	if got.Code != http.StatusCreated {
		return successor
	}
	if err := json.Unmarshal(got.Body.Bytes(), &successor); err != nil {
		t.Fatal(err)
	}
	more := map[string]any{}
	if text := old.More(); text != "" {
		if err := json.Unmarshal([]byte(text), &more); err != nil {
			t.Fatal(err)
		}
	}
	more["rotated_to"], more["planned_expiry"] = successor.Token.ID, old.ExpiredAt
	text, err := json.Marshal(more)
	if err := errors.Join(err, old.SetMore(string(text))); err != nil {
		t.Fatal(err)
	}
	if end := at.Add(graceSeconds * time.Second); old.ExpiredAt.IsZero() || old.ExpiredAt.After(end) {
		old.ExpiredAt = end.Truncate(time.Microsecond).UTC()
	}
	created := after.tokens[successor.Token.ID]
	successor.Token = created
	if created.RotatedFrom != id || created.Payer() != payer || !created.ExpiredAt.Equal(before.tokens[id].ExpiredAt) ||
		!reflect.DeepEqual(created.Limits, old.Limits) || !reflect.DeepEqual(created.Networks, old.Networks) ||
		!created.LastUsed.IsZero() || created.RotatedTo != "" {
		t.Errorf("the successor of %+v is %+v", before.tokens[id], created)
	}
	delete(after.tokens, created.ID)
	return successor
}

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

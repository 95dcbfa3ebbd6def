package httpkey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// Every outcome is told, with its reason.
func TestEveryOutcomeIsObserved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		var seen events
		guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
		handler := guard.Handler(ok)
		want := func(what string, event httpkey.EventType, reason httpkey.Reason, id string) {
			t.Helper()
			if e := seen.last(t); e.Type != event || e.Reason != reason || e.Token.ID != id ||
				(e.Err != nil) != (reason == httpkey.ReasonStore) {
				t.Errorf("%s: observed %s %q of %q (%v), want %s %q of %q", what, e.Type, e.Reason, e.Token.ID, e.Err, event,
					reason, id)
			}
		}
		key, token := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(1)),
			ExpiredAt: time.Now().Add(time.Minute)})
		want("Issue", httpkey.EventIssued, "", token.ID)
		httpkeytest.Get(handler, key)
		want("a request", httpkey.EventAdmitted, "", token.ID)
		if got := seen.last(t).Result; !got.Allowed || got.Limit != (httpkey.Limit{Rate: 1, Burst: 1, Period: time.Hour}) {
			t.Errorf("the result observed is %+v", got)
		}
		httpkeytest.Get(handler, key)
		want("a second request", httpkey.EventRefused, httpkey.ReasonThrottled, token.ID)
		if got := seen.last(t).Result; got.Allowed || got.RetryAfter != time.Hour {
			t.Errorf("the result observed is %+v", got)
		}
		if _, err := guard.Verify(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		want("Verify", httpkey.EventAdmitted, "", token.ID)
		httpkeytest.Get(handler, "")
		want("no key", httpkey.EventRefused, httpkey.ReasonMissing, "")
		httpkeytest.Get(handler, "nonsense")
		want("nonsense", httpkey.EventRefused, httpkey.ReasonMalformed, "")
		rotated, err := guard.Rotate(t.Context(), token.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		want("Rotate", httpkey.EventRotated, "", rotated.Token.ID)
		httpkeytest.Elapse(time.Minute)
		httpkeytest.Get(handler, key)
		want("expired", httpkey.EventRefused, httpkey.ReasonExpired, token.ID)
		key, token = issue(t, guard, httpkey.Token{})
		if err := guard.Revoke(t.Context(), token.ID, ""); err != nil {
			t.Fatal(err)
		}
		want("Revoke", httpkey.EventRevoked, "", token.ID)
		httpkeytest.Get(handler, key)
		want("revoked", httpkey.EventRefused, httpkey.ReasonInactive, token.ID)
		if shown, err := guard.Verify(t.Context(), key); err == nil || shown.ID != "" {
			t.Errorf("Verify of a revoked key returned %+v, %v", shown, err)
		}
		want("Verify of a revoked key", httpkey.EventRefused, httpkey.ReasonInactive, token.ID)
		if err := store.Delete(t.Context(), token.ID); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Get(handler, key)
		want("deleted", httpkey.EventRefused, httpkey.ReasonUnknown, "")
		store.Before(httpkeytest.Fail(errors.New("down")))
		httpkeytest.Get(handler, key)
		want("an outage", httpkey.EventRefused, httpkey.ReasonStore, "")
		_, _ = guard.Verify(t.Context(), key)
		want("Verify in an outage", httpkey.EventRefused, httpkey.ReasonStore, "")
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header["X-Api-Key"] = []string{key, key}
		_, _ = guard.Check(discard{}, r)
		want("two lines", httpkey.EventRefused, httpkey.ReasonMalformed, "")
	})
}

// discard is a response without a reader.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// Of two reasons, the earlier one in the order of a request is told.
func TestRevokedComesBeforeExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen events
		guard := newGuard(&httpkey.Options{Observers: observers(&seen)})
		key, token := issue(t, guard, httpkey.Token{ExpiredAt: time.Now().Add(time.Minute)})
		if err := guard.Revoke(t.Context(), token.ID, ""); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(time.Minute)
		httpkeytest.Get(guard.Handler(ok), key)
		if e := seen.last(t); e.Reason != httpkey.ReasonInactive {
			t.Errorf("observed %q", e.Reason)
		}
	})
}

// An observer that keeps an event, or changes it, does no harm.
func TestEventsAreCopies(t *testing.T) {
	t.Parallel()
	var seen events
	guard := newGuard(&httpkey.Options{Observers: observers(&seen)})
	key, _ := issue(t, guard, httpkey.Token{Scopes: []string{"read"}})
	httpkeytest.Get(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen.last(t).Token.Scopes[0] = "write"
		if token, _ := httpkey.FromContext(r.Context()); token.Scopes[0] != "read" {
			t.Error("the observer changed the token of the request")
		}
	})), key)
}

// choosy wants events of some types alone.
type choosy struct {
	events
	wants []httpkey.EventType
}

func (c *choosy) Enabled(_ context.Context, t httpkey.EventType) bool {
	return slices.Contains(c.wants, t)
}

// An observer that has Enabled is told of nothing else.
func TestObserverIsToldOfWhatItWants(t *testing.T) {
	t.Parallel()
	for _, wants := range [][]httpkey.EventType{
		nil, {httpkey.EventAdmitted}, {httpkey.EventRefused}, {httpkey.EventIssued, httpkey.EventRotated,
			httpkey.EventRevoked},
		{httpkey.EventLimiterDown}, {httpkey.EventFlushFailed},
	} {
		seen := &choosy{wants: wants}
		store, limiter := httpkeytest.NewStore(memstore.New()), newRemoteLimiter()
		guard := httpkey.New(store, limiter, &httpkey.Options{Observers: observers(seen)})
		key, token := issue(t, guard, httpkey.Token{})
		rotated, err := guard.Rotate(t.Context(), token.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := guard.Revoke(t.Context(), rotated.Token.ID, ""); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Get(guard.Handler(ok), key)
		httpkeytest.Get(guard.Handler(ok), "")
		limiter.Before(refused)
		for range 3 {
			httpkeytest.Get(guard.Handler(ok), key)
		}
		store.Before(httpkeytest.Fail(errDown, "Touch"))
		_ = guard.Close(t.Context()) // which returns its failure, and does not tell it
		told := make(map[httpkey.EventType]bool)
		for _, event := range seen.types() {
			told[event] = true
			if !slices.Contains(wants, event) {
				t.Errorf("one that wants %v is told of %s", wants, event)
			}
		}
		for _, event := range wants {
			if !told[event] && event != httpkey.EventFlushFailed {
				t.Errorf("one that wants %v is not told of %s", wants, event)
			}
		}
	}
}

// Events of requests have the request, and others have none.
func TestEventsHaveTheRequest(t *testing.T) {
	t.Parallel()
	var seen events
	guard := newGuard(&httpkey.Options{Observers: observers(&seen)})
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(2))})
	for path, key := range map[string]string{"/admitted": key, "/missing": "", "/malformed": "nonsense"} {
		r := httpkeytest.Request(http.MethodGet, path, key)
		guard.Handler(ok).ServeHTTP(httptest.NewRecorder(), r)
		if e := seen.last(t); e.Request != r {
			t.Errorf("%s: a %s event has the request %v", path, e.Type, e.Request)
		}
	}
	r := httpkeytest.Request(http.MethodGet, "/scope", key)
	guard.Handler(httpkey.RequireScope("a")(ok)).ServeHTTP(httptest.NewRecorder(), r)
	if e := seen.last(t); e.Reason != httpkey.ReasonScope || e.Request.URL.Path != "/scope" {
		t.Errorf("a refusal by RequireScope has the request %v", e.Request)
	}
	_, _ = guard.Verify(t.Context(), key)
	if e := seen.last(t); e.Request != nil {
		t.Errorf("Verify has the request %v", e.Request)
	}
	_, _ = guard.Admit(t.Context(), key, 1)
	if e := seen.last(t); e.Request != nil {
		t.Errorf("Admit has the request %v", e.Request)
	}
}

// A Guard makes only those events that the logger of a SlogObserver writes.
func TestSlogObserverIsEnabledByItsLogger(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level][]httpkey.EventType{
		slog.LevelDebug: {httpkey.EventAdmitted, httpkey.EventRefused, httpkey.EventIssued, httpkey.EventWeakKey,
			httpkey.EventLimiterDown, httpkey.EventLimiterUp},
		slog.LevelInfo: {httpkey.EventRefused, httpkey.EventIssued, httpkey.EventWeakKey, httpkey.EventLimiterDown,
			httpkey.EventLimiterUp},
		slog.LevelWarn:      {httpkey.EventRefused, httpkey.EventWeakKey, httpkey.EventLimiterDown},
		slog.LevelError:     {httpkey.EventRefused, httpkey.EventLimiterDown},
		slog.LevelError + 1: {},
	} {
		observer := httpkey.SlogObserver(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level})))
		choosy := observer.(interface {
			Enabled(context.Context, httpkey.EventType) bool
		})
		for _, event := range []httpkey.EventType{httpkey.EventAdmitted, httpkey.EventRefused, httpkey.EventIssued,
			httpkey.EventWeakKey, httpkey.EventLimiterDown, httpkey.EventLimiterUp} {
			if got := choosy.Enabled(t.Context(), event); got != slices.Contains(want, event) {
				t.Errorf("at level %v, %s is enabled: %v", level, event, got)
			}
		}
	}
}

// A refusal that is no failure is not written above the level of information.
func TestSlogObserverAboveItsLevel(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	guard := newGuard(&httpkey.Options{
		Observers: observers(httpkey.SlogObserver(slog.New(
			slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelError})))),
	})
	httpkeytest.Get(guard.Handler(ok), "nonsense")
	if buf.Len() > 0 {
		t.Errorf("logged %s", buf.String())
	}
}

func TestSlogObserver(t *testing.T) {
	t.Parallel()
	token := httpkey.Token{ID: "t-1", Kind: httpkey.APIKey, User: "u-1", RotatedFrom: "t-0"}
	for _, tt := range []struct {
		event httpkey.Event
		want  string
	}{
		{httpkey.Event{Type: httpkey.EventAdmitted, Token: token},
			`level=DEBUG msg="httpkey: admitted" token=t-1 kind=api_key user=u-1 workspace=""`},
		{httpkey.Event{Type: httpkey.EventRefused, Reason: httpkey.ReasonUnknown},
			`level=INFO msg="httpkey: refused" reason=unknown`},
		{httpkey.Event{Type: httpkey.EventRefused, Reason: httpkey.ReasonThrottled, Token: token,
			Result: httpkey.Result{RetryAfter: time.Second}},
			`level=INFO msg="httpkey: refused" reason=throttled token=t-1 kind=api_key user=u-1 workspace="" retry_after=1s`},
		{httpkey.Event{Type: httpkey.EventRefused, Reason: httpkey.ReasonStore, Err: errors.New("down")},
			`level=ERROR msg="httpkey: refused" reason=store error=down`},
		{httpkey.Event{Type: httpkey.EventRotated, Token: token},
			`level=INFO msg="httpkey: rotated" token=t-1 kind=api_key user=u-1 workspace="" rotated_from=t-0`},
		{httpkey.Event{Type: httpkey.EventRevoked, Token: httpkey.Token{ID: "t-1", Kind: httpkey.APIKey,
			RevokedFor: "leaked"}},
			`level=INFO msg="httpkey: revoked" token=t-1 kind=api_key user="" workspace="" revoked_for=leaked`},
		{httpkey.Event{Type: httpkey.EventRevoked, Token: httpkey.Token{ID: "t-1", Kind: httpkey.APIKey,
			RevokedBy: "ann"}},
			`level=INFO msg="httpkey: revoked" token=t-1 kind=api_key user="" workspace="" revoked_by=ann`},
		{httpkey.Event{Type: httpkey.EventWeakKey, Token: httpkey.Token{ID: "t-1", Kind: httpkey.APIKey}},
			`level=WARN msg="httpkey: weak_key" token=t-1 kind=api_key user="" workspace=""`},
		{httpkey.Event{Type: httpkey.EventLimiterUp}, `level=INFO msg="httpkey: limiter_up"`},
		{httpkey.Event{Type: httpkey.EventLimiterDown, Err: errors.New("down")},
			`level=ERROR msg="httpkey: limiter_down" error=down`},
		{httpkey.Event{Type: httpkey.EventFlushFailed, Err: errors.New("down")},
			`level=ERROR msg="httpkey: flush_failed" error=down`},
	} {
		var buf bytes.Buffer
		observer := httpkey.SlogObserver(slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		observer.Observe(t.Context(), &tt.event)
		if got := strings.TrimSpace(buf.String()); got != tt.want {
			t.Errorf("logged\n%s, want\n%s", got, tt.want)
		}
	}
}

func TestErrorTellsItsClassReasonAndCause(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, _ := issue(t, guard, httpkey.Token{})
	store.Before(httpkeytest.Fail(errors.New("connection refused")))
	_, err := guard.Verify(t.Context(), key)
	want := "httpkey: no decision could be made yet: store: connection refused"
	if fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
	for _, class := range []error{httpkey.ErrMissingKey, httpkey.ErrInvalidKey, httpkey.ErrThrottled,
		httpkey.ErrForbidden} {
		if errors.Is(err, class) {
			t.Errorf("%v matches %v as well", err, class)
		}
	}
}

// A cause that cannot be compared is no reason to panic.
func TestErrorsWithAnyCauseCanBeMatched(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, _ := issue(t, guard, httpkey.Token{})
	store.Before(httpkeytest.Fail(causes{errors.New("down")}))
	_, err := guard.Verify(t.Context(), key)
	if !errors.Is(err, httpkey.ErrUnavailable) || errors.Is(err, httpkey.Error{}) || errors.Is(err, err) {
		t.Errorf("Verify returned %v", err)
	}
}

type causes []error

func (c causes) Error() string { return errors.Join(c...).Error() }

// An event tells what a request costs, whatever its limits, and whether another event of the same
// request came before.
func TestEventsTellTheCost(t *testing.T) {
	t.Parallel()
	var seen events
	cost := 0 // that Options.Charge sets
	edit := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Cost = cost }
	guard := newGuard(&httpkey.Options{Observers: observers(&seen), Charge: edit})
	unlimited := map[httpkey.Kind][]httpkey.Limit{httpkey.ServiceToken: nil}
	plain := newGuard(&httpkey.Options{Observers: observers(&seen), Limits: unlimited})
	byAddress := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) { c.Limits = limits(httpkey.PerHour(9)) })
	charging := func(n int) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			admission, _ := httpkey.AdmissionFrom(r.Context())
			if err := admission.Charge(r.Context(), n); err != nil {
				t.Error(err)
			}
		})
	}
	type event struct {
		httpkey.EventType
		cost  int
		again bool
	}
	admitted, refused, charged := httpkey.EventAdmitted, httpkey.EventRefused, httpkey.EventCharged
	for _, tt := range []struct {
		name  string
		guard *httpkey.Guard
		kind  httpkey.Kind
		cost  int // that Options.Charge sets
		next  func(*httpkey.Guard) http.Handler
		want  []event
	}{
		{"beside the token", plain, httpkey.APIKey, 0, func(g *httpkey.Guard) http.Handler { return g.Handler(ok) },
			[]event{{admitted, 1, false}}},
		{"without a limit", plain, httpkey.ServiceToken, 0,
			func(g *httpkey.Guard) http.Handler { return g.Handler(charging(4)) },
			[]event{{admitted, 1, false}, {charged, 4, false}}},
		{"by Options.Charge", guard, httpkey.APIKey, 5,
			func(g *httpkey.Guard) http.Handler { return g.Handler(charging(-3)) },
			[]event{{admitted, 5, false}, {charged, -3, false}}},
		{"over the limit", guard, httpkey.APIKey, 61, func(g *httpkey.Guard) http.Handler { return g.Handler(ok) },
			[]event{{refused, 0, false}}},
		{"a scope is missing", guard, httpkey.APIKey, 2,
			func(g *httpkey.Guard) http.Handler { return g.Handler(httpkey.RequireScope("a")(ok)) },
			[]event{{admitted, 2, false}, {refused, 0, true}}},
		{"a LimitBy behind", guard, httpkey.APIKey, 2,
			func(g *httpkey.Guard) http.Handler { return g.Handler(byAddress(charging(-1))) },
			[]event{{admitted, 2, false}, {admitted, 1, true}, {charged, -1, true}}},
		{"a LimitBy in front", guard, httpkey.APIKey, 2,
			func(g *httpkey.Guard) http.Handler { return byAddress(g.Handler(ok)) },
			[]event{{admitted, 1, false}, {admitted, 2, false}}},
		{"two Guards", guard, httpkey.APIKey, 2,
			func(g *httpkey.Guard) http.Handler {
				second := httpkey.New(g.Store(), memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
				return g.Handler(second.Handler(ok))
			},
			[]event{{admitted, 2, false}, {admitted, 1, true}}},
	} {
		key, _ := issue(t, tt.guard, httpkey.Token{Kind: tt.kind})
		cost = tt.cost
		before := len(seen.types())
		httpkeytest.Get(tt.next(tt.guard), key)
		var got []event
		for _, e := range seen.all[before:] {
			got = append(got, event{e.Type, e.Cost, e.Again})
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: observed %v, want %v", tt.name, got, tt.want)
		}
	}
	key, _ := issue(t, plain, httpkey.Token{})
	if _, err := plain.Verify(t.Context(), key); err != nil || seen.last(t).Cost != 0 {
		t.Errorf("Verify: %v, a cost of %d", err, seen.last(t).Cost)
	}
	if _, err := plain.Admit(t.Context(), key, 7); err != nil || seen.last(t).Cost != 7 {
		t.Errorf("Admit: %v, a cost of %d", err, seen.last(t).Cost)
	}
}

// idObserver needs the IDs and Kinds of tokens alone. It notes what it is told.
type idObserver struct {
	told int
	last struct {
		httpkey.EventType
		id   string
		kind httpkey.Kind
		all  bool // the token had more than its ID and Kind
	}
	kept *httpkey.Event
}

func (*idObserver) OnlyIDs() bool { return true }

func (o *idObserver) Observe(_ context.Context, e *httpkey.Event) {
	o.told++
	o.last.EventType, o.last.id, o.last.kind = e.Type, e.Token.ID, e.Token.Kind
	o.last.all = !e.Token.CreatedAt.IsZero() || e.Token.Digest != (httpkey.Digest{})
	o.kept = e
}

// An observer that needs only IDs hears of all requests, and of changes with the whole token. What
// it keeps of a request shows nothing.
func TestObserverOfIDs(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func() httpkey.TokenStore{
		"held":     func() httpkey.TokenStore { return memstore.New() },
		"not held": func() httpkey.TokenStore { return wrapped{memstore.New()} },
	} {
		for _, kind := range []httpkey.Kind{httpkey.APIKey, httpkey.ServiceToken} {
			t.Run(name+", "+string(kind), func(t *testing.T) {
				t.Parallel()
				seen := &idObserver{}
				guard := httpkey.New(store(), memstore.NewLimiter(), &httpkey.Options{Observers: observers(seen)})
				key, token := issue(t, guard, httpkey.Token{Kind: kind, Limits: []httpkey.Limit{httpkey.PerHour(1),
					{Name: "dry", Rate: 0, Period: time.Hour, DryRun: true}}})
				if seen.last.EventType != httpkey.EventIssued || !seen.last.all {
					t.Errorf("told of %+v", seen.last)
				}
				for _, step := range []struct {
					key  string
					told int
					want httpkey.EventType
					id   string
					kind httpkey.Kind
				}{
					{key, 3, httpkey.EventDryRun, token.ID, kind}, // the second event of the request
					{key, 4, httpkey.EventRefused, token.ID, kind},
					{"nonsense", 5, httpkey.EventRefused, "", ""},
				} {
					httpkeytest.Get(guard.Handler(ok), step.key)
					last := seen.last
					if seen.told != step.told || last.EventType != step.want || last.id != step.id || last.kind != step.kind ||
						last.all {
						t.Errorf("%d events, the last is %+v, want %d and %s of %q", seen.told, last, step.told, step.want, step.id)
					}
					if seen.kept.Request != nil || seen.kept.Token.ID != "" {
						t.Errorf("the event is still about a request: %v", seen.kept)
					}
				}
			})
		}
	}
}

// The Kind of a token without limits of its own, which a Guard reads in the store's memory.
func TestObserverOfIDsIsToldTheKind(t *testing.T) {
	t.Parallel()
	for _, kind := range []httpkey.Kind{httpkey.APIKey, httpkey.ServiceToken} {
		seen := &idObserver{}
		guard := newGuard(&httpkey.Options{Observers: observers(seen)})
		key, token := issue(t, guard, httpkey.Token{Kind: kind})
		httpkeytest.Get(guard.Handler(ok), key)
		if seen.last.id != token.ID || seen.last.kind != kind || seen.last.all {
			t.Errorf("told of %+v, want %s of %s", seen.last, token.ID, kind)
		}
	}
}

// spoiler changes every event that it gets.
type spoiler struct{ events }

func (s *spoiler) Observe(ctx context.Context, e *httpkey.Event) {
	s.events.Observe(ctx, e)
	*e = httpkey.Event{Token: httpkey.Token{Scopes: append(e.Token.Scopes[:0], "spoilt")}}
}

// Of several observers, each gets what it wants, and as much of it as it wants, in an Event of its own.
func TestSeveralObservers(t *testing.T) {
	t.Parallel()
	var first spoiler
	var last events
	refusals, ids := &choosy{wants: []httpkey.EventType{httpkey.EventRefused}}, &idObserver{}
	guard := newGuard(&httpkey.Options{Observers: observers(&first, refusals, ids, &last)})
	key, token := issue(t, guard, httpkey.Token{Scopes: []string{"read"}, Limits: limits(httpkey.PerHour(1))})
	for range 2 {
		httpkeytest.Get(guard.Handler(ok), key)
	}
	want := []httpkey.EventType{httpkey.EventIssued, httpkey.EventAdmitted, httpkey.EventRefused}
	for name, got := range map[string][]httpkey.EventType{"first": first.types(), "last": last.types()} {
		if !slices.Equal(got, want) {
			t.Errorf("the %s observer is told of %v, want %v", name, got, want)
		}
	}
	if got := refusals.types(); !slices.Equal(got, want[2:]) {
		t.Errorf("one that wants refusals is told of %v", got)
	}
	if ids.told != 3 || ids.last.id != token.ID || ids.last.all {
		t.Errorf("one that needs IDs is told of %d events, at last of %+v", ids.told, ids.last)
	}
	for _, e := range last.all {
		if e.Token.ID != token.ID || !slices.Equal(e.Token.Scopes, []string{"read"}) {
			t.Errorf("after another observer has changed its event, the last one gets %v", e)
		}
	}
}

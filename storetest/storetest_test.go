package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// Each store here breaks one rule. The suite must find it out by that rule.

// wrongStore is a good store whose methods can be replaced one by one.
type wrongStore struct {
	httpkey.TokenStore
	create func(httpkey.Token) error
	lookup func(httpkey.Digest) (httpkey.Token, error)
	get    func(string) (httpkey.Token, error)
	list   func(httpkey.Filter) ([]httpkey.Token, error)
	update func(httpkey.Token) error
	delete func(string) error
	touch  func(map[string]time.Time) error
}

func (s *wrongStore) Create(ctx context.Context, t httpkey.Token) error {
	if s.create != nil {
		return s.create(t)
	}
	return s.TokenStore.Create(ctx, t)
}

func (s *wrongStore) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if s.lookup != nil {
		return s.lookup(d)
	}
	return s.TokenStore.Lookup(ctx, d)
}

func (s *wrongStore) Get(ctx context.Context, id string) (httpkey.Token, error) {
	if s.get != nil {
		return s.get(id)
	}
	return s.TokenStore.Get(ctx, id)
}

func (s *wrongStore) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	if s.list != nil {
		return s.list(f)
	}
	return s.TokenStore.List(ctx, f)
}

func (s *wrongStore) Update(ctx context.Context, t httpkey.Token) error {
	if s.update != nil {
		return s.update(t)
	}
	return s.TokenStore.Update(ctx, t)
}

func (s *wrongStore) Delete(ctx context.Context, id string) error {
	if s.delete != nil {
		return s.delete(id)
	}
	return s.TokenStore.Delete(ctx, id)
}

func (s *wrongStore) Touch(ctx context.Context, used map[string]time.Time) error {
	if s.touch != nil {
		return s.touch(used)
	}
	return s.TokenStore.Touch(ctx, used)
}

var ctx = context.Background()

// mapTokens breaks what comes out of every view.
func mapTokens(s *wrongStore, f func(*httpkey.Token)) {
	one := func(t httpkey.Token, err error) (httpkey.Token, error) {
		f(&t)
		return t, err
	}
	s.lookup = func(d httpkey.Digest) (httpkey.Token, error) { return one(s.TokenStore.Lookup(ctx, d)) }
	s.get = func(id string) (httpkey.Token, error) { return one(s.TokenStore.Get(ctx, id)) }
	s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
		page, err := s.TokenStore.List(ctx, f)
		for i := range page {
			page[i], _ = one(page[i], nil)
		}
		return page, err
	}
}

// mapCreate breaks what Create stores.
func mapCreate(s *wrongStore, f func(*httpkey.Token)) {
	s.create = func(t httpkey.Token) error {
		f(&t)
		return s.TokenStore.Create(ctx, t)
	}
}

var wrongStores = []struct {
	name string
	rule string // the one that must find it out
	wrap func(s *wrongStore)
}{
	{"loses a field", "RoundTrip", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.RotatedFrom = "" })
	}},
	{"loses the burst", "RoundTrip", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.Limit.Burst = 0 })
	}},
	{"keeps milliseconds", "Times", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.ExpiredAt = t.ExpiredAt.Truncate(time.Millisecond) })
	}},
	{"makes a null time 1970", "Times", func(s *wrongStore) {
		mapTokens(s, func(t *httpkey.Token) {
			if t.ExpiredAt.IsZero() {
				t.ExpiredAt = time.Unix(0, 0)
			}
		})
	}},
	{"drops the time zone", "Times", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) {
			at := t.ExpiredAt
			t.ExpiredAt = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
		})
	}},
	{"counts nanoseconds", "Times", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) {
			if !t.ExpiredAt.IsZero() {
				t.ExpiredAt = time.Unix(0, t.ExpiredAt.UnixNano())
			}
		})
	}},
	{"loses a field in Lookup alone", "RoundTrip", func(s *wrongStore) {
		s.lookup = func(d httpkey.Digest) (httpkey.Token, error) {
			t, err := s.TokenStore.Lookup(ctx, d)
			t.Hint = ""
			return t, err
		}
	}},
	{"loses a field in List alone", "RoundTrip", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			page, err := s.TokenStore.List(ctx, f)
			for i := range page {
				page[i].Hint = ""
			}
			return page, err
		}
	}},
	{"trims labels", "Text", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.Label = strings.TrimSpace(t.Label) })
	}},
	{"cuts labels at 255 bytes", "Text", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.Label = t.Label[:min(255, len(t.Label))] })
	}},
	{"answers nil for an unknown digest", "NotFound", func(s *wrongStore) {
		s.lookup = func(d httpkey.Digest) (httpkey.Token, error) {
			t, _ := s.TokenStore.Lookup(ctx, d)
			return t, nil
		}
	}},
	{"creates in Update", "NotFound", func(s *wrongStore) {
		s.update = func(t httpkey.Token) error {
			if err := s.TokenStore.Update(ctx, t); !errors.Is(err, httpkey.ErrNotFound) {
				return err
			}
			return s.TokenStore.Create(ctx, t)
		}
	}},
	{"overwrites in Create", "Conflict", func(s *wrongStore) {
		s.create = func(t httpkey.Token) error {
			_ = s.TokenStore.Delete(ctx, t.ID)
			return s.TokenStore.Create(ctx, t)
		}
	}},
	{"has its own conflict error", "Conflict", func(s *wrongStore) {
		s.create = func(t httpkey.Token) error {
			if s.TokenStore.Create(ctx, t) != nil {
				return errors.New("UNIQUE constraint failed")
			}
			return nil
		}
	}},
	{"looks before it creates", "ConflictRace", func(s *wrongStore) {
		var looked sync.WaitGroup
		looked.Add(16)
		s.create = func(t httpkey.Token) error {
			looked.Done() // all of a race have looked, and seen nothing, before one of them writes
			looked.Wait()
			_ = s.TokenStore.Create(ctx, t)
			return nil
		}
	}},
	{"folds the case of digests", "ExactDigests", func(s *wrongStore) {
		s.lookup = func(d httpkey.Digest) (httpkey.Token, error) {
			for i, b := range d {
				if 'A' <= b && b <= 'Z' {
					d[i] = b + 'a' - 'A'
				}
			}
			return s.TokenStore.Lookup(ctx, d)
		}
	}},
	{"ends digests at a zero byte", "ExactDigests", func(s *wrongStore) {
		cut := func(d httpkey.Digest) httpkey.Digest {
			if i := slices.Index(d[:], 0); i >= 0 {
				clear(d[i:])
			}
			return d
		}
		full := map[httpkey.Digest]httpkey.Digest{}
		s.create = func(t httpkey.Token) error {
			full[cut(t.Digest)] = t.Digest
			return s.TokenStore.Create(ctx, t)
		}
		s.lookup = func(d httpkey.Digest) (httpkey.Token, error) { return s.TokenStore.Lookup(ctx, full[cut(d)]) }
	}},
	{"folds the case of IDs", "ExactStrings", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.ID = strings.ToLower(t.ID) })
	}},
	{"ignores trailing blanks of users", "ExactStrings", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			page, err := s.TokenStore.List(ctx, httpkey.Filter{Limit: 1000})
			return slices.DeleteFunc(page, func(t httpkey.Token) bool {
				t.User, f.User = strings.TrimRight(t.User, " "), strings.TrimRight(f.User, " ")
				return !f.Matches(&t)
			}), err
		}
	}},
	{"keeps the caller's scopes in Update", "Copies", func(s *wrongStore) {
		given := map[string][]string{}
		s.update = func(t httpkey.Token) error {
			given[t.ID] = t.Scopes
			return s.TokenStore.Update(ctx, t)
		}
		mapTokens(s, func(t *httpkey.Token) {
			if scopes, ok := given[t.ID]; ok {
				t.Scopes = slices.Clone(scopes)
			}
		})
	}},
	{"keeps the caller's scopes", "Copies", func(s *wrongStore) {
		given := map[string][]string{}
		s.create = func(t httpkey.Token) error {
			given[t.ID] = t.Scopes
			return s.TokenStore.Create(ctx, t)
		}
		mapTokens(s, func(t *httpkey.Token) { t.Scopes = slices.Clone(given[t.ID]) })
	}},
	{"hands out its own scopes in Lookup", "Copies", func(s *wrongStore) {
		own := map[string][]string{}
		s.create = func(t httpkey.Token) error {
			own[t.ID] = slices.Clone(t.Scopes)
			return s.TokenStore.Create(ctx, t)
		}
		mapTokens(s, func(t *httpkey.Token) { t.Scopes = slices.Clone(own[t.ID]) })
		s.lookup = func(d httpkey.Digest) (httpkey.Token, error) {
			t, err := s.TokenStore.Lookup(ctx, d)
			t.Scopes = own[t.ID]
			return t, err
		}
	}},
	{"lists the oldest first", "ListOrder", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			page, err := s.TokenStore.List(ctx, f)
			slices.Reverse(page)
			return page, err
		}
	}},
	{"orders by time alone", "ListOrder", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			page, err := s.TokenStore.List(ctx, f)
			slices.SortFunc(page, func(a, b httpkey.Token) int {
				if byTime := b.CreatedAt.Compare(a.CreatedAt); byTime != 0 {
					return byTime
				}
				return strings.Compare(a.ID, b.ID)
			})
			return page, err
		}
	}},
	{"filters behind the page", "ListFilter", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			page, err := s.TokenStore.List(ctx, httpkey.Filter{After: f.After, Limit: f.Limit})
			return slices.DeleteFunc(page, func(t httpkey.Token) bool { return !f.Matches(&t) }), err
		}
	}},
	{"ignores the kind", "ListFilter", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			f.Kind = ""
			return s.TokenStore.List(ctx, f)
		}
	}},
	{"starts anew when the cursor's token is gone", "ListPages", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			if _, err := s.TokenStore.Get(ctx, f.After.ID); err != nil {
				f.After = httpkey.Cursor{}
			}
			return s.TokenStore.List(ctx, f)
		}
	}},
	{"pages by offset", "ListPages", func(s *wrongStore) {
		offset := map[string]int{}
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			all, err := s.TokenStore.List(ctx, httpkey.Filter{Limit: 1000})
			from := offset[f.After.ID]
			page := all[min(from, len(all)):min(from+f.PageSize(), len(all))]
			for i, t := range page {
				offset[t.ID] = from + i + 1
			}
			return page, err
		}
	}},
	{"returns all at once", "ListPageSize", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			f.Limit = 1000
			return s.TokenStore.List(ctx, f)
		}
	}},
	{"has pages of any size", "ListPageSize", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			page, err := s.TokenStore.List(ctx, f)
			for len(page) >= 1000 && len(page) < f.Limit {
				next, _ := s.TokenStore.List(ctx, httpkey.Filter{After: page[len(page)-1].Cursor(), Limit: f.Limit - len(page)})
				if page = append(page, next...); len(next) == 0 {
					break
				}
			}
			return page, err
		}
	}},
	{"moves last_used in Update", "Update", func(s *wrongStore) {
		s.update = func(t httpkey.Token) error {
			old, err := s.TokenStore.Get(ctx, t.ID)
			t.Digest = old.Digest
			_ = s.TokenStore.Delete(ctx, t.ID)
			return errors.Join(err, s.TokenStore.Create(ctx, t))
		}
	}},
	{"changes the digest in Update", "Update", func(s *wrongStore) {
		s.update = func(t httpkey.Token) error {
			old, err := s.TokenStore.Get(ctx, t.ID)
			t.LastUsed = old.LastUsed
			_ = s.TokenStore.Delete(ctx, t.ID)
			return errors.Join(err, s.TokenStore.Create(ctx, t))
		}
	}},
	{"leaves out empty fields in Update", "Update", func(s *wrongStore) {
		s.update = func(t httpkey.Token) error {
			if old, err := s.TokenStore.Get(ctx, t.ID); err == nil && t.Label == "" {
				t.Label = old.Label
			}
			return s.TokenStore.Update(ctx, t)
		}
	}},
	{"keeps the old place in the list", "Update", func(s *wrongStore) {
		s.update = func(t httpkey.Token) error {
			old, err := s.TokenStore.Get(ctx, t.ID)
			if err == nil {
				t.CreatedAt = old.CreatedAt
			}
			return errors.Join(err, s.TokenStore.Update(ctx, t))
		}
	}},
	{"revives a deleted token in Update", "Delete", func(s *wrongStore) {
		s.update = func(httpkey.Token) error { return nil }
	}},
	{"errs in Delete of nothing", "Delete", func(s *wrongStore) {
		s.delete = func(id string) error {
			if _, err := s.TokenStore.Get(ctx, id); err != nil {
				return err
			}
			return s.TokenStore.Delete(ctx, id)
		}
	}},
	{"only deactivates in Delete", "Delete", func(s *wrongStore) {
		s.delete = func(id string) error {
			t, err := s.TokenStore.Get(ctx, id)
			if err != nil {
				return nil
			}
			t.IsActive = false
			return s.TokenStore.Update(ctx, t)
		}
	}},
	{"touches only the first hundred", "Touch", func(s *wrongStore) {
		s.touch = func(used map[string]time.Time) error {
			few := map[string]time.Time{}
			for id, at := range used {
				if len(few) < 100 {
					few[id] = at
				}
			}
			return s.TokenStore.Touch(ctx, few)
		}
	}},
	{"keeps the map of Touch", "Touch", func(s *wrongStore) {
		kept := map[string]time.Time{}
		s.touch = func(used map[string]time.Time) error {
			if len(used) > 0 {
				kept = used
			}
			return nil
		}
		mapTokens(s, func(t *httpkey.Token) {
			if at, ok := kept[t.ID]; ok {
				t.LastUsed = at
			}
		})
	}},
	{"moves last_used backwards", "TouchBackwards", func(s *wrongStore) {
		latest := map[string]time.Time{}
		s.touch = func(used map[string]time.Time) error {
			for id, at := range used {
				latest[id] = at
			}
			return nil
		}
		mapTokens(s, func(t *httpkey.Token) {
			if at, ok := latest[t.ID]; ok {
				t.LastUsed = at
			}
		})
	}},
	{"errs in Touch of an unknown ID", "TouchUnknown", func(s *wrongStore) {
		s.touch = func(used map[string]time.Time) error {
			for id := range used {
				if _, err := s.TokenStore.Get(ctx, id); err != nil {
					return err
				}
			}
			return s.TokenStore.Touch(ctx, used)
		}
	}},
	{"creates in Touch", "TouchUnknown", func(s *wrongStore) {
		s.touch = func(used map[string]time.Time) error {
			for id, at := range used {
				_ = s.TokenStore.Create(ctx, httpkey.Token{ID: id, Digest: httpkey.Digest([]byte(id + strings.Repeat("x", 32))[:32]), LastUsed: at})
			}
			return s.TokenStore.Touch(ctx, used)
		}
	}},
	{"reads before it touches", "TouchConcurrent", func(s *wrongStore) {
		var mu sync.Mutex
		latest := map[string]time.Time{}
		s.touch = func(used map[string]time.Time) error {
			mu.Lock()
			read := make(map[string]time.Time)
			for id := range used {
				read[id] = latest[id]
			}
			mu.Unlock()
			time.Sleep(time.Millisecond) // for as long as a round trip to a database takes
			mu.Lock()
			defer mu.Unlock()
			for id, at := range used {
				if at.After(read[id]) {
					latest[id] = at
				}
			}
			return nil
		}
		mapTokens(s, func(t *httpkey.Token) {
			mu.Lock()
			defer mu.Unlock()
			if at := latest[t.ID]; at.After(t.LastUsed) {
				t.LastUsed = at
			}
		})
	}},
	{"fails when it is busy", "Concurrent", func(s *wrongStore) {
		busy := make(chan struct{}, 1)
		s.create = func(t httpkey.Token) error {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				time.Sleep(time.Millisecond) // a write lock takes that long
				return s.TokenStore.Create(ctx, t)
			default:
				return errors.New("database is locked")
			}
		}
	}},
}

// TestWrongStoresAreFoundOut runs in bubbles of synctest, so that a store can
// take its time without taking any.
func TestWrongStoresAreFoundOut(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, wrong := range wrongStores {
		shown[wrong.rule] = true
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(storeRules, func(r storeRule) bool { return r.name == wrong.rule })
			if i < 0 {
				t.Fatalf("there is no rule %s", wrong.rule)
			}
			synctest.Test(t, func(t *testing.T) {
				s := &wrongStore{TokenStore: memstore.New()}
				wrong.wrap(s)
				err := storeRules[i].check(t.Context(), func() httpkey.TokenStore { return s })
				if err == nil {
					t.Fatalf("the rule %s did not find out a store that %s", wrong.rule, wrong.name)
				}
				t.Log(err)
			})
		})
	}
	for _, rule := range storeRules {
		if !shown[rule.name] {
			t.Errorf("no wrong store shows that the rule %s finds one out", rule.name)
		}
	}
}

// The comparison that the rules rest on sees every field.
func TestEqualLooksAtEveryField(t *testing.T) {
	t.Parallel()
	for i := range reflect.TypeFor[httpkey.Token]().NumField() {
		a, b := token(1), token(1)
		reflect.ValueOf(&b).Elem().Field(i).SetZero()
		if equal(a, b) {
			t.Errorf("equal does not look at %s", reflect.TypeFor[httpkey.Token]().Field(i).Name)
		}
	}
}

// Results that contradict themselves break every rule.
func TestAllowFindsContradictions(t *testing.T) {
	t.Parallel()
	for _, r := range []httpkey.Result{
		{Allowed: true, Remaining: -1}, {Allowed: true, ResetAfter: -1}, {RetryAfter: -1},
		{Allowed: true, RetryAfter: 1}, {}, {Remaining: 1, RetryAfter: 1},
	} {
		l := allowFunc(func(string, httpkey.Limit, int) (httpkey.Result, error) { return r, nil })
		if _, err := allow(ctx, l, "key", httpkey.PerMinute(1), 1); err == nil {
			t.Errorf("%+v passes", r)
		}
	}
}

// allowFunc is a limiter made of a function.
type allowFunc func(key string, limit httpkey.Limit, n int) (httpkey.Result, error)

func (f allowFunc) Allow(_ context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	return f(key, limit, n)
}

// alter returns a limiter whose results are spoiled by f.
func alter(good httpkey.Limiter, f func(r *httpkey.Result, n int)) httpkey.Limiter {
	return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
		r, err := good.Allow(ctx, key, limit, n)
		if err == nil {
			f(&r, n)
		}
		return r, err
	})
}

// ask returns a limiter that asks another question than it was asked.
func ask(good httpkey.Limiter, f func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int)) httpkey.Limiter {
	return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
		if _, err := limit.Resolve(n); err != nil {
			return httpkey.Result{}, err
		}
		k, l, m := f(key, limit, n)
		return good.Allow(ctx, k, l, m)
	})
}

var wrongLimiters = []struct {
	name   string
	rule   string
	window bool
	make   func(good httpkey.Limiter) httpkey.Limiter
}{
	{"shows one too few at first", "FirstRemaining", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) { r.Remaining = max(0, r.Remaining-1) })
	}},
	{"leaves Burst open in its results", "FirstRemaining", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) { r.Limit.Burst = 0 })
	}},
	{"takes the rate for the burst", "FirstRemaining", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			limit.Burst = limit.Rate
			return key, limit, n
		})
	}},
	{"shows one too few later on", "Admits", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) {
			if r.Remaining < r.Limit.Burst-1 {
				r.Remaining = max(0, r.Remaining-1)
			}
		})
	}},
	{"admits too few when it is busy", "AdmitsConcurrently", false, func(good httpkey.Limiter) httpkey.Limiter {
		busy := make(chan struct{}, 1)
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				time.Sleep(time.Millisecond) // so that others come meanwhile
				return good.Allow(ctx, key, limit, n)
			default:
				return httpkey.Result{Limit: limit, RetryAfter: time.Second}, nil
			}
		})
	}},
	{"puts the reset off at a denial", "DenialIsFree", false, func(good httpkey.Limiter) httpkey.Limiter {
		denied := 0
		return alter(good, func(r *httpkey.Result, _ int) {
			if !r.Allowed {
				denied++
				r.ResetAfter += time.Duration(denied) * time.Minute
			}
		})
	}},
	{"shows too few after a cost", "Cost", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, n int) {
			if n > 1 && r.Allowed {
				r.Remaining = max(0, r.Remaining-1)
			}
		})
	}},
	{"has an error of its own for invalid limits", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			if _, err := limit.Resolve(n); err != nil {
				return httpkey.Result{}, errors.New("ERR invalid argument")
			}
			return good.Allow(ctx, key, limit, n)
		})
	}},
	{"charges for an invalid call", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			if limit.Validate() == nil && n > limit.Burst {
				_, _ = good.Allow(ctx, key, limit, 1)
			}
			return good.Allow(ctx, key, limit, n)
		})
	}},
	{"leaves the burst out of the bucket's name", "LimitsApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		type name struct {
			key    string
			rate   int
			period time.Duration
		}
		first := map[name]httpkey.Limit{}
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			k := name{key, limit.Rate, limit.Period}
			if _, ok := first[k]; !ok {
				first[k] = limit
			}
			return key, first[k], n
		})
	}},
	{"is never quite full", "ResetAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) {
			if r.Remaining == r.Limit.Burst {
				r.ResetAfter = time.Microsecond
			}
		})
	}},
	{"admits Burst+1", "Admits", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			limit.Burst++
			return key, limit, n
		})
	}},
	{"admits Burst-1", "Admits", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			limit.Burst--
			return key, limit, n
		})
	}},
	{"reads before it writes", "AdmitsConcurrently", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			r, err := good.Allow(ctx, key, limit, 0)
			if err != nil || r.Remaining < n {
				return good.Allow(ctx, key, limit, n)
			}
			time.Sleep(time.Millisecond) // a round trip, in the bubble's time
			_, err = good.Allow(ctx, key, limit, n)
			r.Remaining -= n
			return r, err
		})
	}},
	{"shares nothing among its handles", "AdmitsConcurrently", false, nil},
	{"puts the next one off at a denial", "DenialIsFree", false, func(good httpkey.Limiter) httpkey.Limiter {
		denied := 0
		return alter(good, func(r *httpkey.Result, _ int) {
			if !r.Allowed {
				denied++
				r.RetryAfter += time.Duration(denied) * time.Minute
			}
		})
	}},
	{"charges one whatever the cost", "Cost", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			return key, limit, min(n, 1)
		})
	}},
	{"takes what is left of a denied cost", "Cost", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			r, err := good.Allow(ctx, key, limit, n)
			if err == nil && !r.Allowed {
				_, err = good.Allow(ctx, key, limit, r.Remaining)
				r.Remaining = 0
			}
			return r, err
		})
	}},
	{"charges one for nothing", "CostZero", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			return key, limit, max(n, 1)
		})
	}},
	{"denies nothing when empty", "CostZero", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, n int) {
			if n == 0 && r.Remaining == 0 {
				r.Allowed, r.RetryAfter = false, time.Second
			}
		})
	}},
	{"admits under an invalid limit", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			if limit.Validate() != nil {
				return httpkey.Result{Allowed: true}, nil
			}
			return good.Allow(ctx, key, limit, n)
		})
	}},
	{"refunds a negative cost", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			if n < 0 {
				return httpkey.Result{Allowed: true, Limit: limit}, nil
			}
			return good.Allow(ctx, key, limit, n)
		})
	}},
	{"denies for ever what could never pass", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
			if l, err := limit.Resolve(0); err == nil && n > l.Burst {
				return httpkey.Result{Limit: l, RetryAfter: limit.Period}, nil
			}
			return good.Allow(ctx, key, limit, n)
		})
	}},
	{"folds the case of keys", "KeysApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			return strings.ToLower(key), limit, n
		})
	}},
	{"forgets the empty key", "KeysApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		calls := 0
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			if key == "" {
				calls++
				key = strings.Repeat("x", calls)
			}
			return key, limit, n
		})
	}},
	{"locks out when a limit changes", "LimitsApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		first := map[string]httpkey.Limit{}
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			if _, ok := first[key]; !ok {
				first[key] = limit
			}
			return key, first[key], n
		})
	}},
	{"refills when a limit changes", "LimitsApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		last := map[string]httpkey.Limit{}
		changes := map[string]string{}
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			if last[key] != limit {
				last[key] = limit
				changes[key] += "'"
			}
			return key + changes[key], limit, n
		})
	}},
	{"promises a RetryAfter too short", "RetryAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) { r.RetryAfter -= min(r.RetryAfter, time.Microsecond) })
	}},
	{"promises a RetryAfter too long", "RetryAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) {
			if !r.Allowed {
				r.RetryAfter += time.Microsecond
			}
		})
	}},
	{"promises a ResetAfter too short", "ResetAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) { r.ResetAfter -= min(r.ResetAfter, time.Microsecond) })
	}},
	{"promises a ResetAfter too long", "ResetAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ int) { r.ResetAfter += time.Microsecond })
	}},
	{"is a fixed window", "Rate", false, fixedWindow},
	{"is a fixed window", "Rate", true, fixedWindow},
	{"is a leaky bucket that says it is a strict window", "Rate", true, func(httpkey.Limiter) httpkey.Limiter {
		return memstore.NewLimiter()
	}},
	{"refills late", "Steady", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(key string, limit httpkey.Limit, n int) (string, httpkey.Limit, int) {
			limit.Burst, limit.Period = max(limit.Burst, limit.Rate), limit.Period*11/10
			return key, limit, n
		})
	}},
}

// fixedWindow admits Rate in each Period of the clock, and so nearly twice that
// in a Period across the border.
func fixedWindow(httpkey.Limiter) httpkey.Limiter {
	used := map[time.Time]int{}
	return allowFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
		limit, err := limit.Resolve(n)
		if err != nil {
			return httpkey.Result{}, err
		}
		now := time.Now()
		window := now.Truncate(limit.Period)
		left := window.Add(limit.Period).Sub(now)
		r := httpkey.Result{Allowed: used[window]+n <= limit.Rate, Limit: limit, ResetAfter: left}
		if r.Allowed {
			used[window] += n
		} else {
			r.RetryAfter = left
		}
		r.Remaining = limit.Rate - used[window]
		return r, nil
	})
}

func TestWrongLimitersAreFoundOut(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, wrong := range wrongLimiters {
		shown[wrong.rule] = true
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(limiterRules, func(r limiterRule) bool { return r.name == wrong.rule })
			if i < 0 {
				t.Fatalf("there is no rule %s", wrong.rule)
			}
			factory := LimiterFactory{Window: wrong.window, New: func(*testing.T) func() httpkey.Limiter {
				if wrong.make == nil {
					return func() httpkey.Limiter { return memstore.NewLimiter() }
				}
				l := wrong.make(memstore.NewLimiter())
				return func() httpkey.Limiter { return l }
			}}
			factory.inTime(t, func(t *testing.T) {
				err := limiterRules[i].check(t.Context(), factory.bench(t))
				if err == nil {
					t.Fatalf("the rule %s did not find out a limiter that %s", wrong.rule, wrong.name)
				}
				t.Log(err)
			})
		})
	}
	for _, rule := range limiterRules {
		if !shown[rule.name] {
			t.Errorf("no wrong limiter shows that the rule %s finds one out", rule.name)
		}
	}
}

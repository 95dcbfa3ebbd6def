package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// Each store here breaks one rule. The suite must find it out by that rule.

// wrongStore is a good store whose methods can be replaced one by one.
type wrongStore struct {
	httpkey.TokenStore
	create func(httpkey.Token) (httpkey.Token, error)
	lookup func(httpkey.Digest) (httpkey.Token, error)
	get    func(string) (httpkey.Token, error)
	list   func(httpkey.Filter) ([]httpkey.Token, error)
	update func(string, func(*httpkey.Token) error) (httpkey.Token, error)
	delete func(string) error
	touch  func(map[string]time.Time) error

	putting sync.RWMutex
}

func (s *wrongStore) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	if s.create != nil {
		return s.create(t)
	}
	return s.TokenStore.Create(ctx, t)
}

func (s *wrongStore) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	s.putting.RLock()
	defer s.putting.RUnlock()
	if s.lookup != nil {
		return s.lookup(d)
	}
	return s.TokenStore.Lookup(ctx, d)
}

func (s *wrongStore) Get(ctx context.Context, id string) (httpkey.Token, error) {
	s.putting.RLock()
	defer s.putting.RUnlock()
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

func (s *wrongStore) Update(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	if s.update != nil {
		return s.update(id, change)
	}
	return s.TokenStore.Update(ctx, id, change)
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

// put stores a token whatever was there, as an UPDATE by ID does.
func (s *wrongStore) put(t httpkey.Token) (httpkey.Token, error) {
	s.putting.Lock()
	defer s.putting.Unlock()
	if _, err := s.TokenStore.Get(ctx, t.ID); err != nil {
		return httpkey.Token{}, err
	}
	_ = s.TokenStore.Delete(ctx, t.ID)
	return s.TokenStore.Create(ctx, t)
}

var ctx = context.Background()

// mapTokens breaks the tokens that every view returns.
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

// mapCreate breaks the token that Create stores.
func mapCreate(s *wrongStore, f func(*httpkey.Token)) {
	s.create = func(t httpkey.Token) (httpkey.Token, error) {
		f(&t)
		return s.TokenStore.Create(ctx, t)
	}
}

// mapUpdate breaks the token that Update stores. It gets the token before and after the change.
func mapUpdate(s *wrongStore, f func(old httpkey.Token, next *httpkey.Token) error) {
	s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
		old, err := s.Get(ctx, id)
		if err != nil {
			return httpkey.Token{}, err
		}
		next, err := old.Apply(change)
		if err != nil {
			return httpkey.Token{}, err
		}
		if err := f(old, &next); err != nil {
			return httpkey.Token{}, err
		}
		return s.put(next)
	}
}

var wrongStores = []struct {
	name string
	rule string // the rule that must detect the fault
	wrap func(s *wrongStore)
}{
	{"loses a field", "RoundTrip", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.RotatedFrom = "" })
	}},
	{"loses the burst", "RoundTrip", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) { t.Limits = setBurst(t.Limits, 0) })
	}},
	{"loses that a limit is not enforced", "RoundTrip", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) {
			t.Limits = slices.Clone(t.Limits)
			for i := range t.Limits {
				t.Limits[i].DryRun = false
			}
		})
	}},
	{"returns what it was given, not what it stores", "RoundTrip", func(s *wrongStore) {
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
			given := t
			t.Label += "!"
			_, err := s.TokenStore.Create(ctx, t)
			return given, err
		}
	}},
	{"returns nothing from Create", "RoundTrip", func(s *wrongStore) {
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
			_, err := s.TokenStore.Create(ctx, t)
			return httpkey.Token{}, err
		}
	}},
	{"keeps the fields that it knows, and not more", "More", func(s *wrongStore) {
		mapTokens(s, func(t *httpkey.Token) { _ = t.SetMore(onlyKnown(t.More())) })
	}},
	{"forgets the payer of a rotated token", "More", func(s *wrongStore) {
		mapTokens(s, func(t *httpkey.Token) { _ = t.SetMore(strings.Replace(t.More(), `"payer":"first",`, "", 1)) })
	}},
	{"reads numbers of a later version as floats", "More", func(s *wrongStore) {
		mapTokens(s, func(t *httpkey.Token) {
			var all map[string]any
			if json.Unmarshal([]byte(t.More()), &all) == nil {
				text, _ := json.Marshal(all)
				_ = t.SetMore(string(text))
			}
		})
	}},
	{"loses in Update what a later version put there", "More", func(s *wrongStore) {
		mapUpdate(s, func(_ httpkey.Token, next *httpkey.Token) error { return next.SetMore(onlyKnown(next.More())) })
	}},
	{"keeps 4 KB of further fields", "More", func(s *wrongStore) {
		mapCreate(s, func(t *httpkey.Token) {
			if len(t.More()) > 4096 {
				t.Metadata = nil
			}
		})
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
			t.ExpiredAt = time.Date(
				at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
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
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			t, err := s.TokenStore.Update(ctx, id, change)
			if !errors.Is(err, httpkey.ErrNotFound) {
				return t, err
			}
			_ = change(&t)
			_, _ = s.TokenStore.Create(ctx, t)
			return t, err
		}
	}},
	{"updates nothing without an error", "NotFound", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			t, err := s.TokenStore.Update(ctx, id, change)
			if errors.Is(err, httpkey.ErrNotFound) {
				err = nil
			}
			return t, err
		}
	}},
	{"overwrites in Create", "ConflictID", func(s *wrongStore) {
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
			_ = s.TokenStore.Delete(ctx, t.ID)
			return s.TokenStore.Create(ctx, t)
		}
	}},
	{"has its own conflict error", "Conflict", func(s *wrongStore) {
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
			stored, err := s.TokenStore.Create(ctx, t)
			if err != nil {
				err = errors.New("UNIQUE constraint failed")
			}
			return stored, err
		}
	}},
	{"overwrites the token of a digest in Create", "Conflict", func(s *wrongStore) {
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
			if old, err := s.TokenStore.Lookup(ctx, t.Digest); err == nil {
				_ = s.TokenStore.Delete(ctx, old.ID)
			}
			return s.TokenStore.Create(ctx, t)
		}
	}},
	{"looks before it creates", "ConflictRaceID", looksBeforeItCreates},
	{"looks before it creates", "ConflictRace", looksBeforeItCreates},
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
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
			full[cut(t.Digest)] = t.Digest
			return s.TokenStore.Create(ctx, t)
		}
		s.lookup = func(d httpkey.Digest) (httpkey.Token, error) { return s.TokenStore.Lookup(ctx, full[cut(d)]) }
	}},
	{"folds the case of IDs", "ExactIDs", func(s *wrongStore) {
		s.get = func(id string) (httpkey.Token, error) { return s.TokenStore.Get(ctx, strings.ToLower(id)) }
	}},
	{"ignores trailing blanks of users", "ExactFilters", func(s *wrongStore) {
		s.list = func(f httpkey.Filter) ([]httpkey.Token, error) {
			page, err := s.TokenStore.List(ctx, httpkey.Filter{Limit: 1000})
			return slices.DeleteFunc(page, func(t httpkey.Token) bool {
				t.User, f.User = strings.TrimRight(t.User, " "), strings.TrimRight(f.User, " ")
				return !f.Matches(&t)
			}), err
		}
	}},
	{"keeps the caller's scopes in Update", "Copies", func(s *wrongStore) {
		var given []string
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			return s.TokenStore.Update(ctx, id, func(t *httpkey.Token) error {
				err := change(t)
				given = t.Scopes
				return err
			})
		}
		mapTokens(s, func(t *httpkey.Token) {
			if given != nil {
				t.Scopes = slices.Clone(given)
			}
		})
	}},
	{"hands out its own scopes in Update", "Copies", func(s *wrongStore) {
		own := map[string][]string{}
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			t, err := s.TokenStore.Update(ctx, id, change)
			own[id] = t.Scopes
			return t, err
		}
		mapTokens(s, func(t *httpkey.Token) {
			if scopes, ok := own[t.ID]; ok {
				t.Scopes = slices.Clone(scopes)
			}
		})
	}},
	{"keeps the caller's scopes", "Copies", func(s *wrongStore) {
		keepsGiven(s, func(t *httpkey.Token) []string { return t.Scopes },
			func(t *httpkey.Token, kept []string) { t.Scopes = slices.Clone(kept) })
	}},
	{"keeps the caller's limits", "Copies", func(s *wrongStore) {
		keepsGiven(s, func(t *httpkey.Token) []httpkey.Limit { return t.Limits },
			func(t *httpkey.Token, kept []httpkey.Limit) { t.Limits = slices.Clone(kept) })
	}},
	{"keeps the caller's networks", "Copies", func(s *wrongStore) {
		keepsGiven(s, func(t *httpkey.Token) []netip.Prefix { return t.Networks },
			func(t *httpkey.Token, kept []netip.Prefix) { t.Networks = slices.Clone(kept) })
	}},
	{"keeps the caller's metadata", "Copies", func(s *wrongStore) {
		keepsGiven(s, func(t *httpkey.Token) map[string]string { return t.Metadata },
			func(t *httpkey.Token, kept map[string]string) { t.Metadata = maps.Clone(kept) })
	}},
	{"hands out its own scopes in Lookup", "Copies", func(s *wrongStore) {
		own := map[string][]string{}
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
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
		mapUpdate(s, func(_ httpkey.Token, next *httpkey.Token) error {
			next.LastUsed = next.LastUsed.Add(time.Second)
			return nil
		})
	}},
	{"changes the digest in Update", "Update", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			old, err := s.Get(ctx, id)
			if err != nil {
				return old, err
			}
			next := old
			if err := change(&next); err != nil {
				return old, err
			}
			next.ID, next.LastUsed = old.ID, old.LastUsed
			return s.put(next)
		}
	}},
	{"leaves out empty fields in Update", "Update", func(s *wrongStore) {
		mapUpdate(s, func(old httpkey.Token, next *httpkey.Token) error {
			if next.Label == "" {
				next.Label = old.Label
			}
			return nil
		})
	}},
	{"keeps the old place in the list", "Update", func(s *wrongStore) {
		mapUpdate(s, func(old httpkey.Token, next *httpkey.Token) error {
			next.CreatedAt = old.CreatedAt
			return nil
		})
	}},
	{"returns the token as it was before", "Update", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			old, _ := s.TokenStore.Get(ctx, id)
			_, err := s.TokenStore.Update(ctx, id, change)
			return old, err
		}
	}},
	{"ignores an error of change", "UpdateError", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			return s.TokenStore.Update(ctx, id, func(t *httpkey.Token) error {
				_ = change(t)
				return nil
			})
		}
	}},
	{"returns an error of its own for that of change", "UpdateError", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			t, err := s.TokenStore.Update(ctx, id, change)
			if err != nil && !errors.Is(err, httpkey.ErrNotFound) && !errors.Is(err, httpkey.ErrInactive) {
				err = errors.New("the transaction was rolled back")
			}
			return t, err
		}
	}},
	{"stores what change did before it failed", "UpdateError", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			var failed error
			t, err := s.TokenStore.Update(ctx, id, func(t *httpkey.Token) error {
				failed = change(t)
				return nil
			})
			return t, errors.Join(failed, err)
		}
	}},
	{"does not validate", "UpdateError", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			old, err := s.Get(ctx, id)
			if err != nil {
				return old, err
			}
			next, err := old.Apply(change)
			if errors.Is(err, httpkey.ErrInvalidToken) {
				next, err = old, change(&next)
			}
			if err != nil {
				return old, err
			}
			return s.put(next)
		}
	}},
	{"loses a change that comes at the same moment", "UpdateAtomic", readsBeforeItWrites},
	{"counts right and returns another's token", "UpdateAtomic", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			if _, err := s.TokenStore.Update(ctx, id, change); err != nil {
				return httpkey.Token{}, err
			}
			httpkeytest.Elapse(time.Millisecond) // a round trip
			return s.TokenStore.Get(ctx, id)
		}
	}},
	{"gives up when others write", "UpdateAtomic", func(s *wrongStore) {
		busy := make(chan struct{}, 1)
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				httpkeytest.Elapse(time.Millisecond) // so that others come meanwhile
				return s.TokenStore.Update(ctx, id, change)
			default:
				return httpkey.Token{}, errors.New("could not serialize access")
			}
		}
	}},
	{"revives", "EndingStays", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			old, err := s.Get(ctx, id)
			if err != nil {
				return old, err
			}
			next := old.Clone()
			if err := change(&next); err != nil {
				return old, err
			}
			next.ID, next.Digest, next.LastUsed = old.ID, old.Digest, old.LastUsed
			return s.put(next)
		}
	}},
	{"lets an expired token live longer", "EndingStays", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			old, err := s.Get(ctx, id)
			if err != nil {
				return old, err
			}
			young := old
			young.ExpiredAt = future
			next, err := young.Apply(change)
			if err != nil {
				return old, err
			}
			return s.put(next)
		}
	}},
	{"forgets why a token was revoked", "EndingStays", func(s *wrongStore) {
		mapUpdate(s, func(old httpkey.Token, next *httpkey.Token) error {
			if !old.IsActive {
				next.RevokedFor = "changed"
			}
			return nil
		})
	}},
	{"forgets who revoked a token", "EndingStays", func(s *wrongStore) {
		mapUpdate(s, func(old httpkey.Token, next *httpkey.Token) error {
			if !old.IsActive {
				next.RevokedBy = "changed"
			}
			return nil
		})
	}},
	{"revives silently: it keeps the token as it was", "EndingStays", func(s *wrongStore) {
		s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
			t, err := s.TokenStore.Update(ctx, id, change)
			if errors.Is(err, httpkey.ErrInactive) {
				return s.TokenStore.Get(ctx, id)
			}
			return t, err
		}
	}},
	{"undoes a revocation that comes at the same moment", "EndingRace", readsBeforeItWrites},
	{"has no Update of a deleted token, and no error", "Delete", func(s *wrongStore) {
		s.update = func(string, func(*httpkey.Token) error) (httpkey.Token, error) { return httpkey.Token{}, nil }
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
			_, err = s.put(t)
			return err
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
	{"shows uses late in Lookup", "TouchLookup", func(s *wrongStore) {
		known := map[httpkey.Digest]httpkey.Token{}
		s.lookup = func(d httpkey.Digest) (httpkey.Token, error) {
			if t, ok := known[d]; ok {
				return t, nil
			}
			t, err := s.TokenStore.Lookup(ctx, d)
			if err == nil {
				known[d] = t
			}
			return t, err
		}
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
				digest := httpkey.Digest([]byte(id + strings.Repeat("x", 32))[:32])
				_, _ = s.TokenStore.Create(ctx, httpkey.Token{ID: id, Digest: digest, LastUsed: at})
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
			httpkeytest.Elapse(time.Millisecond) // for as long as a round trip to a database takes
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
		s.create = func(t httpkey.Token) (httpkey.Token, error) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				httpkeytest.Elapse(time.Millisecond) // a write lock takes that long
				return s.TokenStore.Create(ctx, t)
			default:
				return httpkey.Token{}, errors.New("database is locked")
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
				err := storeRules[i].check(t.Context(), storeBench{open: func() httpkey.TokenStore { return s }})
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
	full := revoked(1)
	full.IsActive = true // Validate refuses it together with RevokedAt
	for i := range reflect.TypeFor[httpkey.Token]().NumField() {
		field := reflect.TypeFor[httpkey.Token]().Field(i)
		if !field.IsExported() {
			continue // More carries it
		}
		a, b := full, full
		reflect.ValueOf(&b).Elem().Field(i).SetZero()
		if equal(a, b) || reflect.ValueOf(a).Field(i).IsZero() {
			t.Errorf("equal does not look at %s", field.Name)
		}
	}
	later := full
	if err := later.SetMore(`{"later":1,` + full.More()[1:]); err != nil || equal(full, later) {
		t.Errorf("equal does not look at properties of a later version (%v)", err)
	}
}

func setBurst(limits []httpkey.Limit, burst int) []httpkey.Limit {
	limits = slices.Clone(limits)
	for i := range limits {
		limits[i].Burst = burst
	}
	return limits
}

// onlyKnown returns what Token.More wrote without properties of later versions.
func onlyKnown(more string) string {
	var all map[string]json.RawMessage
	if json.Unmarshal([]byte(more), &all) != nil {
		return more
	}
	for _, name := range []string{"later", "Z", "a"} {
		delete(all, name)
	}
	known, _ := json.Marshal(all)
	return string(known)
}

// keepsGiven makes a store keep a part of a token as the caller of Create gave it.
func keepsGiven[P any](s *wrongStore, part func(*httpkey.Token) P, set func(*httpkey.Token, P)) {
	given := map[string]P{}
	s.create = func(t httpkey.Token) (httpkey.Token, error) {
		given[t.ID] = part(&t)
		return s.TokenStore.Create(ctx, t)
	}
	mapTokens(s, func(t *httpkey.Token) { set(t, given[t.ID]) })
}

// readsBeforeItWrites makes Update read, and then write whatever was written in between.
func readsBeforeItWrites(s *wrongStore) {
	mapUpdate(s, func(httpkey.Token, *httpkey.Token) error {
		httpkeytest.Elapse(time.Millisecond) // a round trip, in the bubble's time
		return nil
	})
}

// looksBeforeItCreates lets all of a race look, and see nothing, before one of them writes.
func looksBeforeItCreates(s *wrongStore) {
	var looked sync.WaitGroup
	looked.Add(16)
	s.create = func(t httpkey.Token) (httpkey.Token, error) {
		looked.Done()
		looked.Wait()
		_, _ = s.TokenStore.Create(ctx, t)
		return t, nil
	}
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
)

// update changes a token and checks that the store returns and has want, as change makes it.
func (b storeBench) update(
	ctx context.Context, s, other httpkey.TokenStore, want httpkey.Token, change func(*httpkey.Token) error,
) error {
	got, err := s.Update(ctx, want.ID, change)
	if err != nil {
		return fmt.Errorf("Update(%s): %w", want.ID, err)
	}
	if !equal(got, want) {
		return fmt.Errorf("Update(%s) returned another token:\n%s", want.ID, differences(got, want))
	}
	return b.holds(ctx, other, want)
}

func checkUpdate(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	old, bystander := token(1), token(7)
	if err := b.createAll(ctx, s, &old, &bystander); err != nil {
		return err
	}
	used := old.LastUsed.Add(time.Hour)
	if err := other.Touch(ctx, map[string]time.Time{old.ID: used}); err != nil {
		return fmt.Errorf("Touch: %w", err)
	}
	stays := func(t httpkey.Token) httpkey.Token {
		t.ID, t.Digest, t.LastUsed = old.ID, old.Digest, used
		return t
	}
	changed := token(2) // every field another one
	changed.Kind = httpkey.ServiceToken
	changed.CreatedAt = bystander.CreatedAt.Add(time.Second) // and so another place in the list
	if err := b.update(ctx, s, other, stays(changed), set(changed)); err != nil {
		return err
	}
	_, err := s.Lookup(ctx, changed.Digest)
	if err := notFound("Lookup of the digest that change set", err); err != nil {
		return err
	}
	order, err := ids(ctx, s, httpkey.Filter{})
	if err != nil {
		return err
	}
	if !slices.Equal(order, []string{old.ID, bystander.ID}) {
		return fmt.Errorf("List returned %v after an Update made %s the newest", order, old.ID)
	}
	cleared := httpkey.Token{Kind: httpkey.APIKey, User: "u", IsActive: true, CreatedAt: epoch}
	if err := b.update(ctx, s, other, stays(cleared), set(cleared)); err != nil {
		return fmt.Errorf("an Update that clears what can be cleared: %w", err)
	}
	if err := b.update(ctx, s, other, stays(revoked(3)), set(revoked(3))); err != nil {
		return fmt.Errorf("an Update that revokes: %w", err)
	}
	return b.holds(ctx, s, bystander)
}

func checkUpdateError(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	want := token(1)
	if err := b.createAll(ctx, s, &want); err != nil {
		return err
	}
	reason := errors.New("the caller changed its mind")
	for _, step := range []struct {
		name   string
		change func(*httpkey.Token) error
		err    error
	}{
		{"that fails", func(t *httpkey.Token) error {
			spoil(*t)
			*t = token(2)
			return fmt.Errorf("no: %w", reason)
		}, reason},
		{"that makes an invalid token", func(t *httpkey.Token) error {
			t.Label, t.Kind = "changed", "other"
			return nil
		}, httpkey.ErrInvalidToken},
	} {
		if _, err := s.Update(ctx, want.ID, step.change); !errors.Is(err, step.err) {
			return fmt.Errorf("Update with a change %s returned the error %v, want %v", step.name, err, step.err)
		}
		if err := b.holds(ctx, other, want); err != nil {
			return fmt.Errorf("after a change %s: %w", step.name, err)
		}
	}
	return nil
}

func checkUpdateAtomic(ctx context.Context, b storeBench) error {
	const writers, rounds = 8, 10
	s := b.open()
	t := token(1)
	t.Label, t.Metadata = "0", nil
	if err := b.createAll(ctx, s, &t); err != nil {
		return err
	}
	var (
		counts [writers][]string // as Update returned them
		errs   [writers]error
		wg     sync.WaitGroup
	)
	for w := range writers {
		s := b.open()
		wg.Go(func() {
			for round := range rounds {
				got, err := s.Update(ctx, t.ID, func(t *httpkey.Token) error {
					if t.Metadata == nil {
						t.Metadata = make(map[string]string)
					}
					t.Metadata[fmt.Sprint(w, "-", round)] = "was here"
					count, err := strconv.Atoi(t.Label)
					t.Label = strconv.Itoa(count + 1)
					return err
				})
				counts[w], errs[w] = append(counts[w], got.Label), errors.Join(errs[w], err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("Update: %w", err)
	}
	got, err := s.Get(ctx, t.ID)
	if err != nil {
		return fmt.Errorf("Get: %w", err)
	}
	if want := strconv.Itoa(writers * rounds); got.Label != want || len(got.Metadata) != writers*rounds {
		return fmt.Errorf("after %s changes at once, %s are counted and %d left their mark",
			want, got.Label, len(got.Metadata))
	}
	all := slices.Concat(counts[:]...)
	slices.Sort(all)
	if different := len(slices.Compact(all)); different != writers*rounds {
		return fmt.Errorf("%d changes at once returned %d different tokens", writers*rounds, different)
	}
	return nil
}

func checkEndingStays(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	now := time.Now().Truncate(time.Microsecond)
	over, gone := token(1), revoked(2)
	over.ExpiredAt = now.Add(-time.Hour)
	if err := b.createAll(ctx, s, &over, &gone); err != nil {
		return err
	}
	for _, step := range []struct {
		name  string
		token *httpkey.Token
		set   func(*httpkey.Token)
	}{
		{"makes a revoked token active", &gone, func(t *httpkey.Token) {
			t.IsActive, t.RevokedAt, t.RevokedFor, t.RevokedBy = true, time.Time{}, "", ""
		}},
		{"lets a revoked token live for ever", &gone, func(t *httpkey.Token) { t.ExpiredAt = time.Time{} }},
		{"lets an expired token live longer", &over, func(t *httpkey.Token) { t.ExpiredAt = now.Add(time.Hour) }},
		{"lets an expired token live for ever", &over, func(t *httpkey.Token) { t.ExpiredAt = time.Time{} }},
	} {
		_, err := s.Update(ctx, step.token.ID, func(t *httpkey.Token) error {
			t.Label = "revived"
			step.set(t)
			return nil
		})
		if !errors.Is(err, httpkey.ErrInactive) {
			return fmt.Errorf("an Update that %s returned the error %v, want ErrInactive", step.name, err)
		}
		if err := b.holds(ctx, other, *step.token); err != nil {
			return fmt.Errorf("after an Update that %s: %w", step.name, err)
		}
	}
	gone.Label, over.Label, over.ExpiredAt = "changed", "changed", over.ExpiredAt.Add(-time.Hour)
	return errors.Join(
		b.update(ctx, s, other, over, set(over)),
		b.update(ctx, s, other, gone, func(t *httpkey.Token) error {
			t.Label, t.RevokedAt, t.RevokedFor, t.RevokedBy = gone.Label, time.Time{}, "no reason", "nobody"
			return nil
		}))
}

func checkEndingRace(ctx context.Context, b storeBench) error {
	for round := range 20 {
		t := token(round)
		if err := b.createAll(ctx, b.open(), &t); err != nil {
			return err
		}
		if err := b.raceRevocation(ctx, t); err != nil {
			return fmt.Errorf("token %d of 20: %w", round+1, err)
		}
	}
	return nil
}

// raceRevocation revokes a token while others overwrite it with what it was before.
func (b storeBench) raceRevocation(ctx context.Context, stale httpkey.Token) error {
	const writers = 4
	var (
		isRevoked atomic.Bool
		errs      [writers]error
		begun, wg sync.WaitGroup
	)
	begun.Add(writers)
	for w := range writers {
		s := b.open()
		wg.Go(func() {
			for n := 0; ; n++ {
				isLast := isRevoked.Load()
				_, err := s.Update(ctx, stale.ID, func(t *httpkey.Token) error {
					*t = stale.Clone()
					t.Label = fmt.Sprint(w, "-", n)
					return nil
				})
				if err != nil && !errors.Is(err, httpkey.ErrInactive) {
					errs[w] = fmt.Errorf("Update: %w", err)
				}
				if n == 0 {
					begun.Done()
				}
				if isLast || errs[w] != nil {
					return
				}
			}
		})
	}
	s := b.open()
	begun.Wait()
	revoked, err := s.Update(ctx, stale.ID, func(t *httpkey.Token) error {
		t.IsActive, t.RevokedAt, t.RevokedFor, t.RevokedBy = false, epoch, "leaked", "admin"
		return nil
	})
	isRevoked.Store(true)
	wg.Wait()
	if err := errors.Join(append(errs[:], err)...); err != nil {
		return err
	}
	if revoked.IsActive || !revoked.RevokedAt.Equal(epoch) || revoked.RevokedFor != "leaked" ||
		revoked.RevokedBy != "admin" {
		return fmt.Errorf("the Update that revoked returned %+v", revoked)
	}
	return b.holds(ctx, s, revoked)
}

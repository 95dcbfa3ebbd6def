package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
)

func (a *app) revoke() *cobra.Command {
	reason := ""
	cmd := a.command("revoke ID...", "End keys for good, and keep their records", cobra.MinimumNArgs(1),
		func(ctx context.Context, s *session, ids []string) error {
			if err := s.confirmKeys(ctx, "Revoke", ids); err != nil {
				return err
			}
			return s.each(ids, "revoked", func(id string) error { return s.guard.Revoke(ctx, id, reason) })
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	return a.confirmable(cmd)
}

func (a *app) delete() *cobra.Command {
	return a.confirmable(a.command("delete ID...", "Remove keys and their records", cobra.MinimumNArgs(1),
		func(ctx context.Context, s *session, ids []string) error {
			if err := s.confirmKeys(ctx, "Delete", ids); err != nil {
				return err
			}
			return s.each(ids, "deleted", func(id string) error { return s.Store.Delete(ctx, id) })
		}))
}

// confirmKeys asks about keys, which must all exist: a misspelt ID must not end the others.
func (s *session) confirmKeys(ctx context.Context, verb string, ids []string) error {
	var names []string
	for _, id := range ids {
		t, err := s.Store.Get(ctx, id)
		if err != nil {
			return fmt.Errorf("nothing was changed: %w", about(id, err))
		}
		names = append(names, printable(describe(t)))
	}
	return s.confirm(ctx, fmt.Sprintf("%s %s?", verb, strings.Join(names, ", ")))
}

// describe names a key for people.
func describe(t httpkey.Token) string {
	name := t.ID
	if t.Label != "" {
		name += fmt.Sprintf(" (%s)", t.Label)
	}
	if t.User != "" {
		name += " of " + t.User
	}
	return name
}

// each does one act for each key. A failure of one does not keep the others from it.
func (s *session) each(ids []string, done string, do func(id string) error) error {
	var failed []error
	for _, id := range ids {
		if err := do(id); err != nil {
			failed = append(failed, about(id, err))
			continue
		}
		s.say("key %s is %s", printable(id), done)
	}
	return errors.Join(failed...)
}

func (a *app) revokeAll() *cobra.Command {
	var of selection
	reason := ""
	cmd := a.command("revoke-all", "End all keys of a user, a workspace or a kind", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			f, err := of.filter()
			if err != nil {
				return err
			}
			if f.User == "" && f.Workspace == "" && f.Kind == "" {
				return wrong("name the keys with --user, --workspace or --kind")
			}
			n, err := s.countValid(ctx, f)
			if err != nil {
				return err
			}
			if err := s.confirm(ctx, fmt.Sprintf("Revoke all valid keys%s, now %d?", of.text(), n)); err != nil {
				return err
			}
			f.Limit = 0 // RevokeAll pages by itself
			revoked, err := s.guard.RevokeAll(ctx, f, reason)
			s.say("keys that are revoked now: %d", revoked)
			return err
		})
	of.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	return a.confirmable(cmd)
}

// text says for people what is selected.
func (s *selection) text() (text string) {
	for _, part := range []struct{ name, value string }{
		{"user", s.user}, {"workspace", s.workspace}, {"kind", s.kind},
	} {
		if part.value != "" {
			text += fmt.Sprintf(" of the %s %s", part.name, printable(part.value))
		}
	}
	return text
}

// countValid returns the number of the keys that work.
func (s *session) countValid(ctx context.Context, f httpkey.Filter) (n int, err error) {
	for t, err := range all(ctx, s.Store, f) {
		if err != nil {
			return 0, err
		}
		if t.IsActive && !t.Expired(time.Now()) {
			n++
		}
	}
	return n, nil
}

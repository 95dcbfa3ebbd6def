package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
)

// ninetyDays is the age of [httpkey.Guard.Due] unless another is given.
const ninetyDays = span(90 * 24 * time.Hour)

func (a *app) list() *cobra.Command {
	var of selection
	cmd := a.command("list", "List keys, newest first", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			f, err := of.filter()
			if err != nil {
				return err
			}
			return s.writeTokens(all(ctx, s.Store, f))
		})
	of.flags(cmd)
	return cmd
}

func (a *app) due() *cobra.Command {
	var of selection
	age := ninetyDays
	cmd := a.command("due", "List valid keys that are old, and due for rotation", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			f, err := of.filter()
			if err != nil {
				return err
			}
			if age == 0 { // the Guard takes it for 90 days
				return wrong("--age must be above 0")
			}
			return s.writeTokens(s.guard.Due(ctx, f, time.Duration(age)))
		})
	of.flags(cmd)
	cmd.Flags().Var(&age, "age", "the least age")
	return cmd
}

func (a *app) unused() *cobra.Command {
	var of selection
	idle := ninetyDays
	cmd := a.command("unused", "List valid keys that were not used lately", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			f, err := of.filter()
			if err != nil {
				return err
			}
			if idle == 0 { // the Guard takes it for 90 days
				return wrong("--idle must be above 0")
			}
			return s.writeTokens(s.guard.Unused(ctx, f, time.Duration(idle)))
		})
	of.flags(cmd)
	cmd.Flags().Var(&idle, "idle", "the least time without use")
	return cmd
}

func (a *app) show() *cobra.Command {
	return a.command("show ID", "Show everything about a key but the key itself", cobra.ExactArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			t, err := s.Store.Get(ctx, args[0])
			if err != nil {
				return about(args[0], err)
			}
			return s.writeOne(t)
		})
}

// about returns an error that names its key.
func about(id string, err error) error { return fmt.Errorf("%s: %w", id, err) }

func (s *session) writeOne(t httpkey.Token) error {
	if s.json {
		return s.writeJSON(t)
	}
	return s.writeToken(s.out, t)
}

// all yields the tokens that f selects, page by page, and an error of the store last.
func all(ctx context.Context, store httpkey.TokenStore, f httpkey.Filter) iter.Seq2[httpkey.Token, error] {
	return func(yield func(httpkey.Token, error) bool) {
		for {
			page, err := store.List(ctx, f)
			if err != nil {
				yield(httpkey.Token{}, err)
				return
			}
			for _, t := range page {
				if !yield(t, nil) {
					return
				}
			}
			if len(page) < f.PageSize() {
				return
			}
			f.After = page[len(page)-1].Cursor()
		}
	}
}

// page is the number of rows whose columns are as wide: a list may be longer than memory.
const page = 1000

// writeTokens writes a list of keys.
func (s *session) writeTokens(tokens iter.Seq2[httpkey.Token, error]) error {
	out := newTable(s.out)
	rows := 0
	for t, err := range tokens {
		if err != nil {
			_ = out.Flush() // the error of the store is the cause
			return err
		}
		if s.json {
			if err := s.writeJSON(t); err != nil {
				return err
			}
			continue
		}
		if rows == 0 {
			out.row("ID", "KEY", "STATUS", "KIND", "LABEL", "USER", "WORKSPACE", "CREATED", "LAST USED", "EXPIRES")
		}
		out.row(t.ID, s.guard.Masked(t), status(t), string(t.Kind), t.Label, t.User, t.Workspace,
			moment(t.CreatedAt), moment(t.LastUsed), moment(t.ExpiredAt))
		if rows++; rows%page == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	if rows == 0 && !s.json {
		s.say("no keys")
	}
	return out.Flush()
}

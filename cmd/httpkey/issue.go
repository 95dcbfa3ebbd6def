package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
)

// writePatience is the time for a change that an interrupt must not cut in two.
const writePatience = 15 * time.Second

// whole returns a context for a change that is to be made whole, or not at all.
func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), writePatience)
}

func (a *app) issue() *cobra.Command {
	var flags newToken
	cmd := a.command("issue", "Make a key, and write it to standard output", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			t, err := flags.token(time.Now())
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			ctx, cancel := whole(ctx)
			defer cancel()
			created, err := s.guard.Issue(ctx, t)
			if err != nil {
				return err
			}
			if err := s.reveal(created); err != nil {
				return s.unissue(ctx, created.Token.ID, err)
			}
			s.say("key %s is issued. It cannot be shown again.", created.Token.ID)
			return nil
		})
	flags.flags(cmd)
	return cmd
}

// reveal writes a new key to standard output: alone, or in the JSON of its token.
func (s *session) reveal(created httpkey.Created) error {
	if s.json {
		return s.writeJSON(created)
	}
	_, err := fmt.Fprintln(s.out, created.Secret.Reveal())
	return err
}

// unissue deletes a key that could not be written, because nobody has it.
func (s *session) unissue(ctx context.Context, id string, cause error) error {
	if err := s.guard.Store().Delete(ctx, id); err != nil {
		return exitError{exitFailure, fmt.Errorf("the key could not be written (%w); delete %s, because nobody has it: %w",
			cause, id, err)}
	}
	return exitError{exitFailure, fmt.Errorf("the key could not be written, and is deleted: %w", cause)}
}

func (a *app) rotate() *cobra.Command {
	grace := span(24 * time.Hour)
	once := false
	cmd := a.command("rotate ID", "Make the successor of a key, and write it to standard output", cobra.ExactArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			id := args[0]
			if grace == 0 {
				if err := s.confirm(ctx, fmt.Sprintf("End the old key %s at once?", printable(id))); err != nil {
					return err
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			ctx, cancel := whole(ctx)
			defer cancel()
			rotate := s.guard.Rotate
			if once {
				rotate = s.guard.RotateOnce
			}
			created, err := rotate(ctx, id, time.Duration(grace))
			if err != nil {
				return about(id, err)
			}
			if err := s.reveal(created); err != nil {
				return s.unrotate(ctx, created.Token, err)
			}
			s.sayRotated(ctx, id, created.Token.ID)
			return nil
		})
	cmd.Flags().Var(&grace, "grace", "how long the old key still works; 0 ends it at once")
	cmd.Flags().BoolVar(&once, "once", false, "refuse if the key was rotated before")
	return a.confirmable(cmd)
}

// sayRotated says until when the old key works: its own expiry may come before the grace ends.
func (s *session) sayRotated(ctx context.Context, old, next string) {
	t, err := s.guard.Store().Get(ctx, old)
	switch {
	case err != nil:
		s.say("key %s succeeds %s. It cannot be shown again.", next, printable(old))
	case t.Expired(time.Now()):
		s.say("key %s succeeds %s, which has ended. It cannot be shown again.", next, printable(old))
	default:
		s.say("key %s succeeds %s, which works until %s. It cannot be shown again.",
			next, printable(old), moment(t.ExpiredAt))
	}
}

// unrotate ends a successor that could not be written. The old key can be rotated again.
func (s *session) unrotate(ctx context.Context, t httpkey.Token, cause error) error {
	if err := s.guard.Revoke(ctx, t.ID, "it was never shown"); err != nil {
		return exitError{exitFailure, fmt.Errorf("the key could not be written (%w); revoke %s, because nobody has it: %w",
			cause, t.ID, err)}
	}
	return exitError{exitFailure, fmt.Errorf("the key could not be written, and is revoked; rotate %s again: %w",
		t.RotatedFrom, cause)}
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
)

func (a *app) whose() *cobra.Command {
	return a.command("whose", "Read a key from standard input, and say whose it is", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			t, err := s.ofInput(ctx)
			if err != nil {
				return err
			}
			return s.writeOne(t)
		})
}

// ofInput returns the token of the key on standard input, whatever its state.
func (s *session) ofInput(ctx context.Context) (httpkey.Token, error) {
	secret, err := s.readSecret(ctx)
	if err != nil {
		return httpkey.Token{}, err
	}
	return s.guard.Lookup(ctx, httpkey.Secret(secret))
}

func (a *app) verify() *cobra.Command {
	return a.command("verify", "Read a key from standard input, and say whether it is valid", cobra.NoArgs,
		func(ctx context.Context, s *session, _ []string) error {
			t, err := s.ofInput(ctx)
			if err != nil {
				return err
			}
			err = s.writeOne(t)
			if status := status(t); status != "active" { // also if nobody reads the output
				return refused("the key is %s", status)
			}
			if err != nil {
				return err
			}
			if len(t.Networks) > 0 {
				s.say("the key is valid, from its networks alone")
				return nil
			}
			s.say("the key is valid")
			return nil
		})
}

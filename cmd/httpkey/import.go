package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
)

// shortestImported is the least length of a key of another shape, which Options.ImportedMinLength
// allows.
const shortestImported = 16

func (a *app) importKeys() *cobra.Command {
	write, format := false, ""
	cmd := a.command("import FILE", "Check a file of keys or digests, and import them with --write", cobra.ExactArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			read, err := reader(format, args[0])
			if err != nil {
				return err
			}
			input, err := s.input(args[0])
			if err != nil {
				return err
			}
			lines, err := read(input)
			_ = input.Close() // all was read
			if err != nil {
				return err
			}
			return s.importLines(ctx, lines, write)
		})
	cmd.ValidArgsFunction = nil // a file
	cmd.Flags().BoolVar(&write, "write", false, "import; without it, the file is only checked")
	cmd.Flags().StringVar(&format, "format", "", "the `format`: csv or jsonl (default: by the name of the file)")
	cmd.Long = `import reads keys, or the SHA-256 of keys, that another program has issued. FILE is a CSV file with
a header, or a file with a JSON object on each line; - is standard input. The columns, and the
properties, are:

  key or digest (64 hexadecimal digits), id, kind, label, description, user, workspace,
  scopes, networks, limits, expired_at, created_at, last_used, revoked_at, revoked_for, is_active, metadata

In CSV, blanks separate scopes, networks and limits, and metadata is a JSON object. Moments are as in
RFC 3339. A key is active unless is_active is false.

Without --write, nothing is written. If a line is wrong, nothing is written either. A key that is
there already is left as it is, so an import may be repeated. Keys of another shape than issue makes need
Options.ImportedMinLength in the API.`
	return cmd
}

// input opens the file of an import.
func (a *app) input(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.in), nil
	}
	return os.Open(name)
}

// line is a key of an import.
type line struct {
	number int
	secret httpkey.Secret // empty: only the digest is known
	token  httpkey.Token
	isDone bool  // the store has it
	err    error // why it cannot be imported; it shows no value of the line
}

// importLines checks all lines, and then imports them if write is true.
func (s *session) importLines(ctx context.Context, lines []line, write bool) error {
	known := map[string]int{}
	wrongLines, done, foreign := 0, 0, 0
	for i := range lines {
		l := &lines[i]
		if l.err == nil {
			if err := s.check(ctx, l, known); err != nil {
				return fmt.Errorf("nothing was written: line %d: %w", l.number, err)
			}
		}
		switch {
		case l.err != nil:
			wrongLines++
			s.say("line %d: %s", l.number, s.line(l.err))
		case l.isDone:
			done++
		case l.secret == "":
			foreign++
		}
	}
	if foreign > 0 && s.options().Pepper != "" {
		s.say("%d digests are without the pepper: the API needs an empty one in Options.PreviousPeppers", foreign)
	}
	fresh := len(lines) - wrongLines - done
	switch {
	case wrongLines > 0:
		return fmt.Errorf("nothing was written: %d of %d lines are wrong", wrongLines, len(lines))
	case !write:
		s.say("%d lines are right: %d keys are new, %d are there already. Nothing was written: add --write",
			len(lines), fresh, done)
		return nil
	}
	return s.writeLines(ctx, lines, fresh, done)
}

// check looks for what is wrong with a line, and whether the store has its key already. The error
// is the store's.
func (s *session) check(ctx context.Context, l *line, known map[string]int) error {
	found, err := s.find(ctx, l)
	switch {
	case err == nil:
		l.isDone = true
		if l.token.ID != "" && l.token.ID != found.ID {
			l.err = errors.New("the key is there already, with another id")
		}
	case !errors.Is(err, httpkey.ErrNotFound):
		return err
	case l.token.ID != "":
		if _, err := s.Store.Get(ctx, l.token.ID); err == nil {
			l.err = errors.New("another key has this id")
		} else if !errors.Is(err, httpkey.ErrNotFound) {
			return err
		}
	}
	for _, name := range []string{"key " + l.identity(), "id " + l.token.ID} {
		if first, isTwice := known[name]; isTwice && l.err == nil && name != "id " {
			l.err = fmt.Errorf("it has the key or the id of line %d", first)
		}
		known[name] = l.number
	}
	return nil
}

// find returns the token that the store has for a line.
func (s *session) find(ctx context.Context, l *line) (httpkey.Token, error) {
	if l.secret != "" {
		return s.guard.Lookup(ctx, l.secret)
	}
	return s.Store.Lookup(ctx, l.token.Digest)
}

// identity tells keys apart. It stays in memory.
func (l *line) identity() string {
	if l.secret != "" {
		return l.secret.Reveal()
	}
	return l.token.Digest.Hex()
}

// writeLines imports the new lines. It ends at the first failure: a repetition continues.
func (s *session) writeLines(ctx context.Context, lines []line, fresh, done int) error {
	written := 0
	for i := range lines {
		l := &lines[i]
		if l.isDone {
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = s.writeLine(ctx, l)
		}
		if err != nil {
			return fmt.Errorf("%d of %d new keys are written; repeat the import for the others: line %d: %w",
				written, fresh, l.number, harmless(err))
		}
		written++
	}
	if s.json {
		return s.writeJSON(map[string]int{"written": written, "there_already": done})
	}
	s.say("%d keys are written, %d were there already", written, done)
	return nil
}

func (s *session) writeLine(ctx context.Context, l *line) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	if l.secret != "" {
		_, err := s.guard.Import(ctx, l.secret, l.token)
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	if l.token.ID == "" {
		l.token.ID = id.String()
	}
	if l.token.CreatedAt.IsZero() {
		l.token.CreatedAt = time.Now()
	}
	_, err = s.Store.Create(ctx, l.token)
	return err
}

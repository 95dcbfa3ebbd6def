package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cmd/httpkey/internal/dsn"
)

// The exit codes, as docs/cli.md states them.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
	exitRefused  = 4
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

// wrong returns an error about the command line.
func wrong(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

// refused returns an error about an act that is not allowed.
func refused(format string, args ...any) error {
	return exitError{exitRefused, fmt.Errorf(format, args...)}
}

// app is one run of the command, with its surroundings.
type app struct {
	in       *bufio.Reader // standard input
	out      io.Writer     // standard output, for results and secrets
	messages io.Writer     // standard error, for everything else
	terminal *terminal     // nil: standard input is no terminal
	getenv   func(string) string
	open     func(name string, create bool) (*dsn.Backend, error)

	dsn     string
	prefix  string
	json    bool
	yes     bool
	started bool // a command runs: the command line was right
}

// run executes a command line, and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.messages)
	cmd, err := root.ExecuteContextC(ctx)
	code := a.exitCode(err)
	switch code {
	case exitOK:
	case exitUsage:
		a.say("%s (see %s --help)", a.line(err), cmd.CommandPath())
	default:
		a.say("%s", a.line(err))
	}
	return code
}

// exitCode returns the exit code for an error.
func (a *app) exitCode(err error) int {
	own, isOwn := errors.AsType[exitError](err)
	switch {
	case err == nil || errors.Is(err, syscall.EPIPE) && !isOwn: // the reader of the output has seen enough
		return exitOK
	case isOwn:
		return own.code
	case !a.started:
		return exitUsage
	case errors.Is(err, httpkey.ErrNotFound):
		return exitNotFound
	case errors.Is(err, httpkey.ErrInactive), errors.Is(err, httpkey.ErrConflict):
		return exitRefused
	}
	return exitFailure
}

// say writes one line for people to standard error.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintln(a.messages, "httpkey: "+fmt.Sprintf(format, args...)) // there is nobody else to tell
}

// line returns an error as one line without passwords.
func (a *app) line(err error) string {
	text := strings.Join(strings.Fields(dsn.Redact(err.Error(), a.source())), " ")
	text = strings.NewReplacer("httpkey: ", "", "context canceled", "interrupted").Replace(text)
	return printable(text)
}

// printable returns a text that a terminal shows as it is: keys may have labels with control
// characters.
func printable(text string) string {
	var safe strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			safe.WriteRune(r)
		} else {
			_, _ = fmt.Fprintf(&safe, `\u%04x`, r) // a Builder returns no error
		}
	}
	return safe.String()
}

// root returns the command with all others.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "httpkey",
		Short:         "Issue, list and end the keys of an API",
		SilenceErrors: true,
		SilenceUsage:  true,
		Long: `httpkey issues, lists and ends the keys of an API that uses github.com/httpkey/httpkey.

The database is $HTTPKEY_DSN, or --dsn, in one of these forms:
  sqlite:FILE
  postgres://USER:PASSWORD@HOST/DATABASE
  mysql:USER:PASSWORD@tcp(HOST)/DATABASE
  redis://:PASSWORD@HOST:PORT
  memory:
Others on the machine can read arguments, so a password belongs in the environment.

If Options.Pepper is set in the API, it must be in $HTTPKEY_PEPPER here.

Exit codes: 0 done, 1 failure, 2 wrong command line, 3 no such key, 4 refused.`,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.dsn, "dsn", "", "the database, as a `DSN` (default $HTTPKEY_DSN)")
	flags.StringVar(&a.prefix, "prefix", "", "the `prefix` in Options.Prefix of the API, if it is not hk")
	flags.BoolVar(&a.json, "json", false, "write JSON, one object a line")
	root.AddCommand(
		a.issue(), a.list(), a.show(), a.rotate(), a.revoke(), a.revokeAll(), a.delete(), a.due(), a.unused(),
		a.importKeys(), a.verify(), a.whose(), a.usage(), a.migrate(), a.doctor(),
	)
	return root
}

// session is a command at work on an open database.
type session struct {
	*app
	*dsn.Backend
	guard *httpkey.Guard
}

// act is the work of a command.
type act func(ctx context.Context, s *session, args []string) error

// command returns a command that opens the database, checks it, and works.
func (a *app) command(use, short string, args cobra.PositionalArgs, work act) *cobra.Command {
	return a.bare(use, short, args, func(ctx context.Context, args []string) error {
		s, err := a.begin(ctx, false)
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }() // what was acknowledged is stored already
		if err := s.mustBeCurrent(ctx); err != nil {
			return err
		}
		return work(ctx, s, args)
	})
}

// bare returns a command that opens the database by itself.
func (a *app) bare(
	use, short string, args cobra.PositionalArgs, work func(context.Context, []string) error,
) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = true
			return work(cmd.Context(), args)
		},
	}
}

// source returns the DSN; empty: none is given.
func (a *app) source() string {
	if a.dsn != "" {
		return a.dsn
	}
	return a.getenv("HTTPKEY_DSN")
}

// begin opens the database, and makes a Guard as that of the API.
func (a *app) begin(ctx context.Context, create bool) (*session, error) {
	if a.source() == "" {
		return nil, wrong("there is no database: set $HTTPKEY_DSN or --dsn; %w", dsn.ErrForm)
	}
	options := a.options()
	if err := options.Validate(); err != nil {
		return nil, wrong("%w", err)
	}
	backend, err := a.open(a.source(), create)
	if errors.Is(err, dsn.ErrForm) {
		return nil, wrong("%w", err)
	}
	if err != nil {
		return nil, err
	}
	if err := backend.Reach(ctx); err != nil {
		_ = backend.Close()
		return nil, fmt.Errorf("the database does not answer: %w", err)
	}
	return &session{a, backend, httpkey.New(backend.Store, backend.Limiter, options)}, nil
}

// options are those of the API, as far as they matter here. Keys of any shape may be there, so none
// is shown with the beginning of those that issue makes.
func (a *app) options() *httpkey.Options {
	return &httpkey.Options{
		Prefix: a.prefix, Pepper: httpkey.Secret(a.getenv("HTTPKEY_PEPPER")), ImportedMinLength: shortestImported,
	}
}

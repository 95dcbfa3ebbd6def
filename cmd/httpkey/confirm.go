package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// terminal is standard input where a person types.
type terminal struct{ file *os.File }

// terminalOf returns the terminal of a file, and nil if it is none.
func terminalOf(f *os.File) *terminal {
	if !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &terminal{f}
}

// readHidden asks for a line that the terminal does not show. The terminal hides it before the
// question shows, so that no letter of a quick typist appears. It shows letters again when
// readHidden returns, also if ctx ends first. The error of Ctrl-C is that of an interrupt.
func (t *terminal) readHidden(ctx context.Context, question string, messages io.Writer) (string, error) {
	fd := int(t.file.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(fd, state) }() // the person would notice
	line, err := await(ctx, func() (string, error) {
		return term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{t.file, messages}, "").ReadPassword(question)
	})
	if err == nil {
		return line, nil
	}
	_, _ = io.WriteString(messages, "\r\n") // ends the line of the question
	if errors.Is(err, io.EOF) {             // a raw terminal makes no signal of Ctrl-C
		return "", context.Canceled
	}
	return "", err
}

// await returns the result of read, or the error of ctx if that ends first: a read from a
// terminal cannot be ended.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := read()
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// confirmable adds the flag --yes to a command.
func (a *app) confirmable(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVarP(&a.yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks the person at the terminal. The error says that there is none, or no consent.
func (a *app) confirm(ctx context.Context, question string) error {
	if a.yes {
		return nil
	}
	if a.terminal == nil {
		return refused("%s There is no terminal to ask on: repeat the command with --yes", question)
	}
	_, _ = fmt.Fprintf(a.messages, "%s [y/N] ", question)
	line, err := await(ctx, func() (string, error) { return a.in.ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return refused("nothing was changed")
}

// readSecret reads a key from standard input: an argument would be in the list of processes and
// in the history of the shell.
func (a *app) readSecret(ctx context.Context) (string, error) {
	read := func() (string, error) {
		line, err := a.in.ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil
		}
		return line, err
	}
	var line string
	var err error
	if a.terminal != nil {
		line, err = a.terminal.readHidden(ctx, "Key: ", a.messages)
	} else {
		line, err = await(ctx, read)
	}
	line = strings.TrimSpace(line)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return "", err
	case line == "":
		return "", wrong("there is no key on standard input")
	}
	return line, nil
}

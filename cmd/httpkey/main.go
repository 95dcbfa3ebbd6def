// Command httpkey issues, lists and ends the keys of an API from a shell. docs/cli.md describes it.
package main

import (
	"bufio"
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/httpkey/httpkey/cmd/httpkey/internal/dsn"
)

// silent drops the logs of drivers: a failure is one line, which the command writes.
type silent struct{}

func (silent) Print(...any)                           {}
func (silent) Printf(context.Context, string, ...any) {}

func main() {
	_ = mysql.SetLogger(silent{}) // it only refuses nil
	redis.SetLogger(silent{})
	signal.Ignore(syscall.SIGPIPE) // a failed write is an error then, and issue can take its key back
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	a := &app{
		in: bufio.NewReader(os.Stdin), out: os.Stdout, messages: os.Stderr, getenv: os.Getenv,
		terminal: terminalOf(os.Stdin), open: dsn.Open,
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}

package docs

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/notices"
)

func printExpiring(ctx context.Context, guard *httpkey.Guard) error {
	for token, err := range guard.Expiring(ctx, httpkey.Filter{Workspace: "acme"}, 14*24*time.Hour) {
		if err != nil {
			return err
		}
		fmt.Println(token.User, token.Label, token.ExpiredAt.Format(time.DateOnly))
	}
	return nil
}

func digests(guard *httpkey.Guard, mail func(ctx context.Context, to, text string) error) *notices.Notifier {
	return notices.New(guard, func(ctx context.Context, user string, due []notices.Notice) error {
		var text strings.Builder
		for _, n := range due {
			fmt.Fprintf(&text, "%s (%s) expires on %s.\n", n.Token.Label, guard.Masked(n.Token),
				n.Token.ExpiredAt.Format("2 January 2006"))
		}
		return mail(ctx, user, text.String())
	}, nil)
}

func sendHourly(ctx context.Context, notifier *notices.Notifier) {
	ticks := time.NewTicker(time.Hour)
	defer ticks.Stop()
	for {
		if _, err := notifier.Send(ctx); err != nil {
			log.Print(err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

func withExpiry(guard *httpkey.Guard, api http.Handler) http.Handler {
	return guard.Handler(notices.Header(api))
}

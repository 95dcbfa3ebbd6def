package docs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/netip"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/usage"
)

func counted(db *sql.DB, dialect sqlstore.Dialect) (*httpkey.Guard, *usage.Recorder) {
	recorder := usage.NewRecorder(sqlstore.NewUsage(db, dialect), &usage.Options{
		OnError: func(err error) { log.Print(err) },
	})
	store, limiter := sqlstore.New(db, dialect, nil), sqlstore.NewLimiter(db, dialect)
	return httpkey.New(store, limiter, &httpkey.Options{Observers: []httpkey.Observer{recorder}}), recorder
}

func shutDown(ctx context.Context, server *http.Server, recorder *usage.Recorder) error {
	return errors.Join(server.Shutdown(ctx), recorder.Close(ctx))
}

func lastDay(ctx context.Context, recorder *usage.Recorder, id string) error {
	now := time.Now()
	hours, err := recorder.Of(ctx, id, now.Add(-23*time.Hour), now, usage.Hour)
	for _, hour := range hours {
		fmt.Println(hour.Start.Format("15:04"), hour.Passed, hour.Throttled, hour.Refused, hour.Reasons)
	}
	return err
}

func invoice(ctx context.Context, recorder *usage.Recorder, id string, month time.Time) (int64, error) {
	start := time.Date(month.Year(), month.Month(), 1, 0, 0, 0, 0, time.UTC)
	total, err := recorder.Total(ctx, id, start, start.AddDate(0, 1, 0))
	return total.Cost, err
}

func withClients(store usage.Store) *usage.Recorder {
	return usage.NewRecorder(store, &usage.Options{
		Clients:    true,
		ClientAddr: httpkey.TrustedProxies(netip.MustParsePrefix("10.0.0.0/8")),
	})
}

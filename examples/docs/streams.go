package docs

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/inflight"
	"github.com/httpkey/httpkey/streams"
)

func live(ctx context.Context, store httpkey.TokenStore, limiter httpkey.Limiter) http.Handler {
	guard := httpkey.New(cachestore.New(store, nil), limiter, nil)
	watcher := streams.New(store, nil) // the store that has the feed, not the cache
	go watcher.Run(ctx)                // hears of changes in other processes
	atOnce := inflight.New(4, nil)     // streams of each key
	return guard.Handler(atOnce.Handler(watcher.Handler(http.HandlerFunc(events))))
}

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	stream, second := http.NewResponseController(w), time.NewTicker(time.Second)
	defer second.Stop()
	for n := 1; ; n++ {
		fmt.Fprintf(w, "data: %d\n\n", n)
		if err := stream.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done(): // the client has left, or the key has ended
			return
		case <-second.C:
		}
	}
}

// echoLines sends each line of a client back, as a WebSocket may do, until the key ends.
func echoLines(w http.ResponseWriter, r *http.Request) {
	conn, lines, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "no connection", http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(r.Context(), func() { _ = conn.Close() })
	defer stop()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := fmt.Fprint(conn, line); err != nil {
			return
		}
	}
}

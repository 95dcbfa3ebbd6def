package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
)

// serve is a server behind one contestant. It tells its address on the standard
// output, and ends with its standard input: it does not outlive the process that started it.
func serve(name, key string) error {
	i := slices.IndexFunc(contestants, func(c contestant) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("there is no contestant %q", name)
	}
	h, end := contestants[i].build(http.HandlerFunc(writeJSON), []string{key}, enough)
	defer end()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: h}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const smallJSON = `{"id":"u-1","name":"Ada"}`

func writeJSON(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, smallJSON)
}

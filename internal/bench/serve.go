package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// serve is a server behind one contestant. It tells its address on the standard
// output, and ends with its standard input: it does not outlive the process that started it.
func serve(name, keyFile string) error {
	c, err := contestantOf(name)
	if err != nil {
		return err
	}
	keys, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	h, end := c.build(http.HandlerFunc(writeJSON), strings.Fields(string(keys)), enough)
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

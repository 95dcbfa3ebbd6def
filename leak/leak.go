// Package leak ends keys that have become public.
//
// [GitHub] receives the reports of GitHub's secret scanning, which finds keys in repositories,
// issues and packages. [PlainHTTP] refuses requests that come without TLS, and ends or notices
// their keys.
//
//	mux.Handle("/github/leaks", leak.GitHub(guard, &leak.GitHubOptions{OnLeak: mailOwner}))
//	refusePlain := leak.PlainHTTP(guard, &leak.PlainHTTPOptions{Revoke: true})
//	mux.Handle("/api/", refusePlain(guard.Handler(api)))
//
// A key ends by [httpkey.Guard.RevokeBy]. So the change feed of the store ends it in all
// processes, package streams ends its streams, and the Guard's Observer gets an
// [httpkey.EventRevoked]. The store must be able to change tokens, which [httpkey.LookupOnly] is not.
package leak

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/httpkey/httpkey"
)

// Report says where a key was found. It holds no secret and no digest.
type Report struct {
	// Token is the token of the key, as the Guard found it before it ended the key. Its owner may
	// want a mail.
	Token httpkey.Token

	// Source is the kind of place: "plain http", or a word of GitHub, such as "commit",
	// "issue_comment" or "npm". It has 1 to 64 letters, digits, underscores, hyphens and spaces.
	Source string

	// URL is the address of the place, of the scheme http or https. It has at most 2,000 visible
	// ASCII characters. It is empty if the report has none, or one that shows the key.
	URL string

	// Again says that the token was revoked before, for example by an earlier report. A cache in
	// front of the store may not know yet that another process has just revoked it.
	Again bool
}

const (
	// callTimeout is the longest wait for the store about one key.
	callTimeout = 2 * time.Second
	// tellTimeout is the time for all calls of OnLeak about one request.
	tellTimeout = 10 * time.Second
	// maxCalls is the number of keys that a handler looks up at once.
	maxCalls = 8
)

// ender ends keys for one of the handlers.
type ender struct {
	guard *httpkey.Guard
	by    string        // RevokedBy of the tokens
	turns chan struct{} // of maxCalls
}

func newEnder(guard *httpkey.Guard, by string) ender {
	return ender{guard: guard, by: by, turns: make(chan struct{}, maxCalls)}
}

// wait waits for a turn to look a key up, which ends with done. It returns false if ctx has ended.
func (e *ender) wait(ctx context.Context) (done func(), ok bool) {
	select {
	case e.turns <- struct{}{}:
		done = func() { <-e.turns }
	case <-ctx.Done():
		return nil, false
	}
	if ctx.Err() != nil { // both were ready
		done()
		return nil, false
	}
	return done, true
}

// end revokes the token of a leaked key, and returns the report of it. The error wraps
// [httpkey.ErrNotFound] if no token has the key.
func (e *ender) end(ctx context.Context, key httpkey.Secret, p place) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	report, err := e.find(ctx, key, p)
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return e.adopt(ctx, key, p)
	case err != nil || report.Again:
		return report, err
	}
	err = e.guard.RevokeBy(ctx, report.Token.ID, e.by, p.reason())
	if errors.Is(err, httpkey.ErrNotFound) { // deleted since, which ends a key too
		err = nil
	}
	return report, err
}

// find returns the report of a key, without a change.
func (e *ender) find(ctx context.Context, key httpkey.Secret, p place) (Report, error) {
	token, err := e.guard.Lookup(ctx, key)
	token.Digest = httpkey.Digest{}
	return Report{Token: token, Source: p.source, URL: p.url, Again: !token.IsActive}, err
}

// adopt ends a key that only [httpkey.Options.Adopt] knows.
func (e *ender) adopt(ctx context.Context, key httpkey.Secret, p place) (Report, error) {
	if err := e.guard.RevokeKey(ctx, key, p.reason()); err != nil {
		return Report{}, err
	}
	report, err := e.find(ctx, key, p)
	report.Again = report.Token.RevokedFor != p.reason() // it had ended in the old table
	return report, err
}

type detail struct {
	Detail string `json:"detail"`
}

// write answers with a JSON value.
func write(w http.ResponseWriter, r *http.Request, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // no value of this package fails
		status, body = http.StatusInternalServerError, nil
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // an error means that the client has gone
	}
}

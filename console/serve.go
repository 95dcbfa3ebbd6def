package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

// timeout bounds how long the store, the limiter and Options.Usage may take for a request, all
// together.
const timeout = 5 * time.Second

// serve returns the handler of a route. It answers with a page or with JSON, as the request
// prefers.
func (c *console) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods, write, refuse := rt.api, c.writeAnswer, writeFailure
		if prefersHTML(r.Header) {
			methods, write, refuse = rt.page, c.writePage, c.failurePage
		}
		p, action, a, err := c.answer(w, r, methods)
		if err == nil {
			write(w, r, p, a)
			return
		}
		f := asFailure(err)
		c.auditRefusal(r.Context(), action, p, f)
		if a.page != "" { // the form once more, with what is wrong in it
			f.setHeaders(w.Header())
			a.status, a.view.Failure = f.status, newFailureView(f)
			write(w, r, p, a)
			return
		}
		refuse(w, r, p, f)
	})
}

// answer returns the sender of a request, the act that they ask for, and its answer.
func (c *console) answer(
	w http.ResponseWriter, r *http.Request, methods methods,
) (p Principal, action Action, a answer, err error) {
	e, notAllowed := methods.find(r.Method)
	p, err = c.admit(r)
	if err == nil {
		err = notAllowed
	}
	if err == nil {
		err = readAhead(w, r)
	}
	if err == nil {
		a, err = c.inTime(r, p, e)
	}
	return p, e.action, a, err
}

// admit returns the sender of r.
func (c *console) admit(r *http.Request) (Principal, error) {
	if err := c.origins.Check(r); err != nil {
		return Principal{}, errCrossOrigin
	}
	p, err := c.options.Principal(r)
	if errors.Is(err, httpkey.ErrUnavailable) {
		return Principal{}, c.failed(r.Context(), Event{Action: ActionRead, Err: err})
	}
	if err != nil || p.User == "" {
		return Principal{}, errNoLogin
	}
	return p, nil
}

// readAhead reads the body of a request, because a slow client must not use up the time for the
// store.
func readAhead(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge
	case err != nil:
		return errUnreadableBody
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// inTime runs a handler in a goroutine of its own, and does not wait for it longer than timeout:
// a store may ignore its context. The goroutine ends when the store returns. It has a request of its own,
// because a Layout may change that of the server, by reading its form, say.
func (c *console) inTime(r *http.Request, p Principal, e endpoint) (answer, error) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	type outcome struct {
		answer   answer
		err      error
		panicked any
	}
	done := make(chan outcome, 1)
	own := r.Clone(ctx)
	r.Body = http.NoBody // it is own's
	go func() {
		defer cancel()
		var o outcome
		defer func() { done <- o }()
		defer func() { o.panicked = recover() }()
		if o.err = c.chargeRead(own, p); o.err == nil {
			o.answer, o.err = e.handle(own, p)
		}
	}()
	select {
	case o := <-done:
		if o.panicked != nil {
			panic(o.panicked)
		}
		return o.answer, o.err
	case <-time.After(timeout + 50*time.Millisecond): // a store that heeds its context says more
		return answer{}, c.failed(r.Context(), Event{Action: e.action, Principal: p, Err: context.DeadlineExceeded})
	}
}

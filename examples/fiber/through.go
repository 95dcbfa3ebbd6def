package main

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v3"

	"github.com/httpkey/httpkey"
)

// through makes a fiber handler of a middleware of net/http, such as [httpkey.Guard.Handler] and
// those of the Require functions. The middleware sees no body.
//
// Do not use adaptor.HTTPMiddleware of fiber instead: it loses the token.
func through(middleware func(http.Handler) http.Handler) fiber.Handler {
	return func(c fiber.Ctx) error {
		r, err := request(c)
		if err != nil {
			return fiber.ErrBadRequest
		}
		w := &response{c: c, header: headerOf(c)}
		r, passed := httpkey.Passes(middleware, w, r)
		if !passed {
			return nil // the response is written
		}
		w.setHeader()
		c.SetContext(r.Context())
		return c.Next()
	}
}

// request returns a copy of the request, because fiber reuses the memory of its own: a Guard may
// still ask a slow limiter when the response is written.
func request(c fiber.Ctx) (*http.Request, error) {
	target, err := url.ParseRequestURI(string(c.Request().RequestURI()))
	if err != nil {
		return nil, err
	}
	r := &http.Request{
		Method:     string(c.Request().Header.Method()),
		URL:        target,
		Header:     make(http.Header),
		Body:       http.NoBody,
		Host:       string(c.Request().Host()),
		RemoteAddr: c.RequestCtx().RemoteAddr().String(),
		TLS:        c.RequestCtx().TLSConnectionState(),
	}
	for name, value := range c.Request().Header.All() {
		r.Header.Add(string(name), string(value))
	}
	for _, name := range c.Route().Params {
		r.SetPathValue(name, strings.Clone(c.Params(name))) // for RequireWorkspace
	}
	return r.WithContext(c.Context()), nil
}

// response is the http.ResponseWriter of a fiber context.
type response struct {
	c      fiber.Ctx
	header http.Header
}

func headerOf(c fiber.Ctx) http.Header {
	header := make(http.Header)
	for name, value := range c.Response().Header.All() {
		header.Add(string(name), string(value))
	}
	return header
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	w.setHeader()
	w.c.Status(status)
}

func (w *response) Write(body []byte) (int, error) { return w.c.Write(body) }

// setHeader replaces the header lines of the fiber response.
func (w *response) setHeader() {
	to := &w.c.Response().Header
	for name := range headerOf(w.c) {
		to.Del(name)
	}
	for name, values := range w.header {
		for _, value := range values {
			to.Add(name, value)
		}
	}
}

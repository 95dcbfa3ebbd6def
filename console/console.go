package console

import (
	"errors"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// console is the handler that [New] returns.
type console struct {
	guard   *httpkey.Guard
	store   httpkey.TokenStore
	options Options // without open defaults
	standIn httpkey.Limiter
	look    look
	mux     http.ServeMux
	origins http.CrossOriginProtection
}

// New returns the page and its JSON API as one handler, for the tokens in the store of
// guard. It panics if guard is nil, and with the error of [Options.Validate]: there is no
// console without Options.Principal. It reads Options.Files, does no other I/O, and starts
// no goroutine.
//
// Mount it behind [http.StripPrefix], at a path that ends in a slash:
//
//	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
//
// Every link in it is relative. It is safe for concurrent use.
func New(guard *httpkey.Guard, opts *Options) http.Handler {
	if guard == nil {
		panic("httpkey: console.New needs a Guard, as httpkey.New makes one")
	}
	if err := opts.Validate(); err != nil {
		panic(err.Error())
	}
	c := &console{
		guard:   guard,
		store:   guard.Store(),
		options: opts.withDefaults(),
		standIn: memstore.NewLimiter(),
	}
	c.look, _ = lookOf(opts.Files) // Validate has returned the error
	for pattern, route := range c.routes() {
		c.mux.Handle(pattern, c.serve(route))
	}
	return c
}

// ServeHTTP implements [http.Handler].
func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setSecurityHeaders(w.Header())
	if asset, ok := c.look.assets[r.URL.Path]; ok {
		asset.serve(w, r)
		return
	}
	if !isClean(r.URL.EscapedPath()) {
		c.serve(route{}).ServeHTTP(w, r)
		return
	}
	c.mux.ServeHTTP(w, r)
}

// isClean reports whether a path begins with a slash and has no empty and no dot segment.
// [http.ServeMux] would redirect any other out of the console, because it does not know the
// prefix.
func isClean(p string) bool {
	return p != "" && strings.TrimSuffix(p, "/") == strings.TrimSuffix(path.Clean("/"+p), "/")
}

// route is one path, with its answers to browsers and to programs.
type route struct{ page, api methods }

// methods are a route's handlers.
type methods map[string]handler

// handler answers a request of a person who is logged in. Its error is a *failure, which
// its caller answers.
type handler func(w http.ResponseWriter, r *http.Request, p Principal) error

// routes returns every path. The paths of a token redirect without their final slash to
// the same with it: [http.ServeMux] cannot, because it does not know the prefix that
// [http.StripPrefix] has cut off. Paths beside /{id}/ have no final slash, so that any ID
// is free.
func (c *console) routes() map[string]route {
	routes := map[string]route{
		"/{$}": {
			page: methods{http.MethodGet: c.listPage, http.MethodPost: c.submitNew},
			api:  methods{http.MethodGet: c.apiList, http.MethodPost: c.apiCreate},
		},
		"/new": {
			page: methods{http.MethodGet: c.newPage},
		},
		"/{id}/{$}": {
			page: methods{http.MethodGet: c.tokenPage, http.MethodPost: c.submitChange},
			api:  methods{http.MethodGet: c.apiGet, http.MethodPatch: c.apiUpdate, http.MethodDelete: c.apiDelete},
		},
		"/{id}/rotate/{$}": {
			page: methods{http.MethodGet: c.rotatePage, http.MethodPost: c.submitRotate},
			api:  methods{http.MethodPost: c.apiRotate},
		},
		"/{id}/revoke/{$}": {
			page: methods{
				http.MethodGet:  c.confirmPage("revoke"),
				http.MethodPost: c.submitConfirmed("revoke", c.revoke, "../?done=revoked"),
			},
		},
		"/{id}/delete/{$}": {
			page: methods{
				http.MethodGet:  c.confirmPage("delete"),
				http.MethodPost: c.submitConfirmed("delete", c.remove, "../../?done=deleted"),
			},
		},
		"/": {},
	}
	for pattern, rt := range maps.Clone(routes) {
		if path, ok := strings.CutSuffix(pattern, "/{$}"); ok && path != "" {
			routes[path] = route{page: rt.page.withoutSlash(), api: rt.api.withoutSlash()}
		}
	}
	return routes
}

// withoutSlash returns the same methods for the path without its final slash.
func (m methods) withoutSlash() methods {
	redirects := make(methods)
	for method := range m {
		redirects[method] = addSlash
	}
	return redirects
}

// serve returns the handler of a route. It answers with a page or with JSON, as the
// request prefers.
func (c *console) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods, fail := rt.api, writeFailure
		if prefersHTML(r.Header) {
			methods, fail = rt.page, c.failurePage
		}
		p, err := c.admit(r)
		if err == nil {
			err = methods.serve(w, r, p)
		}
		if err != nil {
			fail(w, r, p, asFailure(err))
		}
	})
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

func (m methods) serve(w http.ResponseWriter, r *http.Request, p Principal) error {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	switch handle := m[method]; {
	case handle != nil:
		return handle(w, r, p)
	case len(m) == 0:
		return errNotFound
	}
	return notAllowed(r.Method, m.names())
}

// names returns the methods that m answers, as an Allow header lists them.
func (m methods) names() []string {
	names := slices.Collect(maps.Keys(m))
	if m[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	slices.Sort(names)
	return names
}

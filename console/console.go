package console

import (
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
	for _, origin := range opts.TrustedOrigins {
		_ = c.origins.AddTrustedOrigin(origin) // Validate has returned the error
	}
	for pattern, route := range c.routes() {
		c.mux.Handle(pattern, c.serve(route))
	}
	return c
}

// ServeHTTP implements [http.Handler].
func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	setSecurityHeaders(h, c.policyFor(r, h.Values(cspHeader)))
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
type route struct {
	page, api methods
	query     []string // the parameters that a GET of the API may have
}

// methods are a route's handlers.
type methods map[string]endpoint

// endpoint answers the requests of one method. Its action is the act that they ask for.
type endpoint struct {
	action Action
	handle handler
}

// handler answers a request of a person who is logged in. Its error is a *failure. An answer
// beside the error is a form, which shows the failure.
type handler func(r *http.Request, p Principal) (answer, error)

// routes returns every path. The paths of a token redirect without their final slash to
// the same with it: [http.ServeMux] cannot, because it does not know the prefix that
// [http.StripPrefix] has cut off. Paths beside /{id}/ have no final slash, so that any ID
// is free.
func (c *console) routes() map[string]route {
	routes := map[string]route{
		"/{$}": {
			page: methods{"GET": {ActionRead, c.listPage}, "POST": {ActionCreate, c.submitNew}},
			api:  methods{"GET": {ActionRead, c.apiList}, "POST": {ActionCreate, c.apiCreate}},

			query: queryNames,
		},
		"/new": {
			page: methods{"GET": {ActionRead, c.newPage}},
		},
		"/find": {
			page: methods{"GET": {ActionRead, c.findPage}, "POST": {ActionRead, c.submitFind}},
			api:  methods{"POST": {ActionRead, c.apiFind}},
		},
		"/revoke": {
			page: methods{"POST": {ActionRevoke, c.submitBulk}},
			api:  methods{"POST": {ActionRevoke, c.apiRevoke}},
		},
		"/{id}/{$}": {
			page: methods{"GET": {ActionRead, c.tokenPage}, "POST": {ActionUpdate, c.submitChange}},
			api: methods{
				"GET": {ActionRead, c.apiGet}, "PATCH": {ActionUpdate, c.apiUpdate}, "DELETE": {ActionDelete, c.apiDelete},
			},
		},
		"/{id}/rotate/{$}": {
			page: methods{"GET": {ActionRead, c.rotatePage}, "POST": {ActionRotate, c.submitRotate}},
			api:  methods{"POST": {ActionRotate, c.apiRotate}},
		},
		"/{id}/usage/{$}": {
			api: methods{"GET": {ActionRead, c.apiUsage}},
		},
		"/{id}/revoke/{$}": {
			page: methods{"GET": {ActionRead, c.revokePage}, "POST": {ActionRevoke, c.submitRevoke}},
		},
		"/{id}/delete/{$}": {
			page: methods{"GET": {ActionRead, c.deletePage}, "POST": {ActionDelete, c.submitDelete}},
		},
		"/openapi.json": {
			page: methods{"GET": {ActionRead, describeAPI}},
			api:  methods{"GET": {ActionRead, describeAPI}},
		},
		"/": {},
	}
	for pattern, rt := range maps.Clone(routes) {
		rt.api.restrict(rt.query)
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
		redirects[method] = endpoint{ActionRead, addSlash}
	}
	return redirects
}

// restrict makes the handlers of the API refuse other query parameters than those of these names,
// which only a GET has. So a filter that is misspelt does not list all tokens.
func (m methods) restrict(names []string) {
	for method, e := range m {
		var allowed []string
		if method == http.MethodGet {
			allowed = names
		}
		m[method] = endpoint{e.action, e.handle.restricted(allowed)}
	}
}

func (h handler) restricted(names []string) handler {
	return func(r *http.Request, p Principal) (answer, error) {
		if err := checkQuery(r.URL.RawQuery, names); err != nil {
			return answer{}, err
		}
		return h(r, p)
	}
}

// addSlash redirects to the same path with a slash at its end, relative to it.
func addSlash(r *http.Request, _ Principal) (answer, error) {
	target := "./" + path.Base(r.URL.EscapedPath()) + "/"
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	return redirect(http.StatusTemporaryRedirect, target), nil
}

// find returns the endpoint of a method.
func (m methods) find(method string) (endpoint, error) {
	e := m[method]
	if method == http.MethodHead {
		e = m[http.MethodGet]
	}
	switch {
	case len(m) == 0:
		return endpoint{ActionRead, nil}, errNotFound
	case e.handle == nil:
		return endpoint{ActionRead, nil}, notAllowed(method, m.names())
	}
	return e, nil
}

// names returns the methods that m answers, as an Allow header lists them.
func (m methods) names() []string {
	names := slices.Collect(maps.Keys(m))
	if m[http.MethodGet].handle != nil {
		names = append(names, http.MethodHead)
	}
	slices.Sort(names)
	return names
}

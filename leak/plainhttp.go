package leak

import (
	"context"
	"errors"
	"net/http"

	"github.com/httpkey/httpkey"
)

// PlainHTTPOptions configure [PlainHTTP]. The zero value, and nil, refuse requests without TLS, and
// do nothing about their keys.
type PlainHTTPOptions struct {
	// IsTLS reports whether a request without [http.Request.TLS] came by https to a proxy in
	// front. It must believe a header only from that proxy, which must set or remove it:
	//
	//	func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }
	//
	// It runs for every request, so it must be quick. Nil: no request did.
	IsTLS func(r *http.Request) bool

	// Revoke ends the key of such a request, for the reason that names the place, by "plain http".
	Revoke bool

	// OnLeak is told of the key of such a request, if a token has it, and after the key has ended
	// if Revoke is true. Without Revoke, it is told each time that the key comes. It runs after the
	// response is sent, and ctx ends after 10 seconds. Nil: nobody is told.
	OnLeak func(ctx context.Context, r Report)
}

// PlainHTTP returns a middleware for requests that came without TLS, whose keys everybody on the
// way could read. It stands in front of the Guard's handler, and refuses all of these requests with
// 403 and one body, whether their key is valid or not (draft-ietf-httpapi-privacy). So a client
// notices its mistake at once. A redirect to https would hide it.
//
// The response is sent before the key is looked up, so its time does not tell either. The Guard
// finds the key as [httpkey.Guard.Check] does. At most 8 keys are looked up at once, each within 2
// seconds. Under more load, keys are refused and not looked up. If the store fails, the key stays
// as it is, and the Guard's Observer gets an [httpkey.EventRefused] with the error.
//
// PlainHTTP panics if guard is nil. The middleware is safe for concurrent use and starts no
// goroutine.
func PlainHTTP(guard *httpkey.Guard, opts *PlainHTTPOptions) func(http.Handler) http.Handler {
	if guard == nil {
		panic("httpkey: leak.PlainHTTP needs a Guard, as httpkey.New makes one")
	}
	p := &plainHTTP{ender: newEnder(guard, "plain http")}
	if opts != nil {
		p.options = *opts
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS != nil || p.options.IsTLS != nil && p.options.IsTLS(r) {
				next.ServeHTTP(w, r)
				return
			}
			p.refuse(w, r)
		})
	}
}

type plainHTTP struct {
	ender
	options PlainHTTPOptions
}

// refuse answers a request, and sees to its key then.
func (p *plainHTTP) refuse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	write(w, r, http.StatusForbidden, detail{"HTTPS is required."})
	_ = http.NewResponseController(w).Flush() // some writers send the response when the handler ends
	key, ok := p.guard.KeyOf(r)
	if !ok || !p.options.Revoke && p.options.OnLeak == nil {
		return
	}
	ctx := context.WithoutCancel(r.Context())
	report, err := p.endOne(ctx, key, placeOf(key.Reveal(), "plain http", "http://"+r.Host+r.URL.EscapedPath()))
	switch {
	case err != nil && !errors.Is(err, httpkey.ErrNotFound):
		p.guard.Unavailable(discard{make(http.Header)}, r, err)
	case err == nil && p.options.OnLeak != nil:
		ctx, cancel := context.WithTimeout(ctx, tellTimeout)
		defer cancel()
		p.options.OnLeak(ctx, report)
	}
}

var errBusy = errors.New("httpkey: leak: too many keys came over plain HTTP at once")

// endOne ends or finds a key when it has its turn.
func (p *plainHTTP) endOne(ctx context.Context, key httpkey.Secret, at place) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	done, ok := p.wait(ctx)
	if !ok {
		return Report{}, errBusy
	}
	defer done()
	if p.options.Revoke {
		return p.end(ctx, key, at)
	}
	return p.find(ctx, key, at)
}

// discard drops the response to a request that was answered before.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

package console

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// Options configure a [New] console. Principal is required; each other field has a default
// as its zero value.
type Options struct {
	// Principal is your login. It returns the person who sent a request, with their rights.
	// The console answers 401 to an error, and to a Principal without a User. An error that
	// wraps [httpkey.ErrUnavailable] says that sessions cannot be read now: the console
	// answers 503, and reports it to Audit.
	//
	// Every request except those for the stylesheet, the script and the icon calls it, from
	// many goroutines at once. It is required.
	Principal func(*http.Request) (Principal, error)

	// SignIn returns the URL of your login page for a person without a session, with the way back
	// to the page that they asked for. [http.StripPrefix] has cut the path of the request:
	// RequestURI is the whole one. The console calls it for every page, because the
	// Content-Security-Policy must let a form be redirected there. A form that was sent without a
	// session is given back, for the person to send again. Nil: the page says that they must sign in.
	SignIn func(*http.Request) string

	// Limiter limits how often one user may read and change tokens. The payer is "console:" and
	// the user. Nil: a limiter in the memory of this process, which also stands in for one that
	// fails, or takes longer than half a second.
	Limiter httpkey.Limiter
	// Limit is the limit of changes: create, edit, rotate and delete together. No limit stops a
	// revocation. Zero: 30 a minute.
	Limit httpkey.Limit
	// ReadLimit is the limit of pages, lists and searches, and of the question before many tokens are
	// revoked. Zero: 300 a minute.
	ReadLimit httpkey.Limit

	// MaxTokens bounds the tokens of one owner that work: of a user, or of a workspace for
	// service tokens. Rotated tokens may exceed it until their grace ends. 0: 100.
	MaxTokens int

	// MaxLifetime bounds how long a token lives from its creation on: no token gets a
	// later expiry, or none. A token from before may outlive it; its successor may not.
	// 0: tokens may live for ever.
	MaxLifetime time.Duration
	// Lifetimes are those that the form offers, in whole days. Nil: 7, 30, 90 and 365 days.
	Lifetimes []time.Duration
	// DefaultLifetime is that of a new token if nobody chooses another, on the page and in the
	// JSON API. Negative: for ever. 0: 90 days, or MaxLifetime if that is shorter.
	DefaultLifetime time.Duration
	// Graces are the times that the form offers for which a rotated key goes on working, from 0 to
	// 7 days. Nil: none, an hour, a day, a week.
	Graces []time.Duration

	// ExpiresSoon is how long before its expiry a token needs care. Negative: never. 0: 7 days.
	ExpiresSoon time.Duration
	// Old is the age at which a token needs to be rotated. Negative: never. 0: 90 days.
	Old time.Duration
	// Unused is the time without a use after which a token needs care. Negative: never. 0: 90 days.
	Unused time.Duration

	// Audit receives every change after it was made, every refusal, and every failure that is
	// not the request's fault. It runs on the path of the request, from many goroutines at
	// once. Nil: none. The Guard's [httpkey.Observer] also gets an event when a token is issued,
	// rotated or revoked, but without the person.
	Audit func(context.Context, Event)

	// Usage tells what each token was used for: an [usage.Recorder], say. The page of a token then has two
	// charts, of 24 hours and of 30 days, and the last client if that is recorded. The JSON is at
	// {id}/usage/. For a page, the context of Usage ends after a second. Nil: neither.
	Usage usage.Reader

	// NoScopes says in a few words what a token without scopes may do, such as "Everything" or
	// "Nothing". Empty: the text "no-scopes", None.
	NoScopes string
	// TryURL is an address of your API that any key may GET. The page that shows a new key then
	// has a curl command with it. Empty: none.
	TryURL string
	// DocsURL is the address of your API's documentation, for people without tokens. Empty: none.
	DocsURL string

	// TrustedOrigins are origins of your own, such as "https://app.example.com", whose pages may
	// send changes, as [http.CrossOriginProtection] defines them. If the console refuses your own
	// page with "The request comes from another site.", a proxy changes the Host header. Let it
	// pass the header on (proxy_set_header Host $http_host, in nginx), or name the public origin here.
	TrustedOrigins []string

	// CSP returns a Content-Security-Policy of yours, whose sources the console adds to its own
	// policy, directive by directive: a nonce, or a host for fonts. 'none' gives way to any other
	// source. The sources of a default-src of yours count for each kind of file that your policy
	// does not name. The console puts a nonce of script-src and style-src on its own elements, so
	// that 'strict-dynamic' works. A browser ignores a source that it cannot read, and so does the
	// console. Nil: none.
	CSP func(*http.Request) string
	// Layout writes a page into your own frame, with any template engine. The status is
	// [Page].Status if Layout does not call WriteHeader. The console has set the headers:
	// Content-Type, Cache-Control, and Content-Security-Policy. That has the sources of a policy
	// that a middleware of yours has set, and of CSP. Failures are pages too. Nil: the console's
	// layout.
	Layout func(http.ResponseWriter, *http.Request, Page)
	// Data returns the field Data for the templates in Files: {{.Data.Team.Name}}. New tries the
	// templates without your data. A field of it is empty then, but a method with arguments is an
	// error: it belongs inside {{with .Data}}. Nil: every field is empty.
	Data func(*http.Request) any
	// Scheme is "light" or "dark" if the pages do not follow the reader's preference, or in a Layout
	// the color-scheme of your own page. Empty: they follow it.
	Scheme string
	// Files override the console's own. Their template definitions, which hold every text,
	// replace the console's one by one, and the rules of their style.css follow the
	// console's. See the package documentation. New reads them once. Nil: no overrides.
	Files fs.FS
}

// Validate reports the first invalid field of o, in an error that wraps
// [httpkey.ErrInvalidOptions] and names it. [New] panics with that error.
func (o *Options) Validate() error {
	invalid := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s "+format, append([]any{httpkey.ErrInvalidOptions, field}, args...)...)
	}
	switch {
	case o == nil || o.Principal == nil:
		return invalid("Principal", "is nil: there is no console without a login")
	case o.MaxLifetime < 0:
		return invalid("MaxLifetime", "is %v, it must not be negative", o.MaxLifetime)
	case o.MaxTokens < 0:
		return invalid("MaxTokens", "is %d, it must not be negative", o.MaxTokens)
	case o.MaxLifetime > 0 && o.DefaultLifetime > o.MaxLifetime:
		return invalid("DefaultLifetime", "is %v, which is more than MaxLifetime", o.DefaultLifetime)
	case o.MaxLifetime > 0 && o.DefaultLifetime < 0:
		return invalid("DefaultLifetime", "is negative, which means for ever, and more than MaxLifetime")
	case !slices.Contains([]string{"", "light", "dark"}, o.Scheme):
		return invalid("Scheme", "is %q, it must be light, dark or empty", o.Scheme)
	}
	if u, err := url.Parse(o.TryURL); o.TryURL != "" &&
		(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Contains(o.TryURL, "'")) {
		return invalid("TryURL", "is %q, it must be an absolute URL of http or https without a quote", o.TryURL)
	}
	if _, err := url.Parse(o.DocsURL); err != nil {
		return invalid("DocsURL", "is %q, which is no URL", o.DocsURL)
	}
	for _, lifetime := range o.Lifetimes {
		if lifetime < day || lifetime%day != 0 {
			return invalid("Lifetimes", "has %v, which is not a number of days", lifetime)
		}
	}
	for _, grace := range o.Graces {
		if grace < 0 || grace > maxGrace || grace%time.Second != 0 {
			return invalid("Graces", "has %v, which is not a number of seconds from 0 to 7 days", grace)
		}
	}
	for field, limit := range map[string]httpkey.Limit{"Limit": o.Limit, "ReadLimit": o.ReadLimit} {
		if limit != (httpkey.Limit{}) {
			if err := limit.Validate(); err != nil {
				return invalid(field, "is of no use: %w", err)
			}
		}
	}
	var origins http.CrossOriginProtection
	for _, origin := range o.TrustedOrigins {
		if err := origins.AddTrustedOrigin(origin); err != nil {
			return invalid("TrustedOrigins", "has %q: %w", origin, err)
		}
	}
	if _, err := lookOf(o.Files); err != nil {
		return invalid("Files", "cannot be used: %w", err)
	}
	return nil
}

// withDefaults returns a copy of o with the defaults filled in, except for Limiter. A negative
// time stays, and means never.
func (o *Options) withDefaults() Options {
	d := *o
	if d.Limit == (httpkey.Limit{}) {
		d.Limit = httpkey.PerMinute(30)
	}
	if d.ReadLimit == (httpkey.Limit{}) {
		d.ReadLimit = httpkey.PerMinute(300)
	}
	d.ReadLimit.Name = cmp.Or(d.ReadLimit.Name, "reads") // a bucket of its own
	d.MaxTokens = cmp.Or(d.MaxTokens, 100)
	if d.Lifetimes == nil {
		d.Lifetimes = []time.Duration{7 * day, 30 * day, 90 * day, 365 * day}
	}
	if d.DefaultLifetime == 0 {
		d.DefaultLifetime = 90 * day
		if d.MaxLifetime > 0 {
			d.DefaultLifetime = min(d.DefaultLifetime, d.MaxLifetime)
		}
	}
	if d.Graces == nil {
		d.Graces = []time.Duration{0, time.Hour, day, maxGrace}
	}
	d.ExpiresSoon = cmp.Or(d.ExpiresSoon, 7*day)
	d.Old = cmp.Or(d.Old, 90*day)       // as in httpkey.Guard.Due
	d.Unused = cmp.Or(d.Unused, 90*day) // as in httpkey.Guard.Unused
	if d.Audit == nil {
		d.Audit = func(context.Context, Event) {}
	}
	return d
}

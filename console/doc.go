// Package console is the "API tokens" page, on which people make, copy, watch, rotate and
// revoke their keys, and a JSON API that does the same. It is one handler to mount.
//
//	tokens := console.New(guard, &console.Options{Principal: login})
//	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
//
// A request that prefers text/html gets a page, any other gets JSON. The pages work without
// JavaScript, except for the buttons that copy and save a new key.
//
// # JSON API
//
//	GET    /              a page of tokens, newest first
//	POST   /              create: label, and description, kind, workspace, scopes, expired_at
//	GET    /{id}/         one token
//	PATCH  /{id}/         change: label, description, expired_at, is_active
//	DELETE /{id}/         delete; 204
//	POST   /{id}/rotate/  rotate: grace, the whole seconds (0 to 604800) for which the old key goes on working
//
// A path without its final slash is answered 307, a redirect to the one with it. Bodies are
// JSON objects of at most 64 KiB. [httpkey.Token] defines the properties of a token: those
// of the Plane API, and ours. The console sets none of its rate_limits, networks and
// metadata. "token", the secret, is in the 201 of create and of rotate, and nowhere else.
//
// A list is {"results": […], "next_cursor": "…", "next_page_results": true}, with the names
// of the Plane API. Pass next_cursor on as cursor. The other parameters are per_page (1 to
// 100; 50 without it), search, kind, status (works; care: it works, and is old, unused or
// about to expire; ended) and order_by (-created_at, created_at, label, last_used,
// -last_used, expired_at).
//
// One request looks at 10,000 tokens at most. If a search finds nothing among them, the
// page is empty, and its cursor leads on. An order other than -created_at is that of the
// newest 10,000.
//
// Errors are {"detail": "…"}, or 400 with a list of sentences for each field:
//
//	400  a field that is unknown, cannot be set or does not fit; a body that is no JSON object
//	401  no login
//	403  a kind, a workspace or a scope that the person may not give; a rotation of another
//	     person's key; a request of another site
//	404  no such token, or a token of another person, without a difference
//	405, 413, 415
//	409  the token has ended, was rotated already, or got another expiry meanwhile
//	429  too many changes; Retry-After tells when to try again
//	503  the store or the login does not answer
//
// No page of another origin can use the API. It sends no CORS headers, and it refuses a
// change whose Sec-Fetch-Site or Origin names another site ([http.CrossOriginProtection]).
// There is no CSRF token to send.
//
// # Rules
//
// A person manages their own tokens, and those of the workspaces that they administer
// ([Principal]). They may create a token for themselves, and a service token for a workspace of
// theirs, with scopes that they have. A service token acts for no person: it has no User, and its
// CreatedBy is the person.
//
// A later expiry is a grant: it needs the rights of creating such a token. All who manage a token
// may shorten its life, revoke it and delete it. A new expiry is never later than
// [Options.MaxLifetime] after the token's creation.
//
// An ended token stays ended. Nothing makes a revoked token active, prolongs an expired
// one, or lets a rotated one outlive its grace, even if its successor is gone.
//
// A person may rotate a token that they own, because they see the new key. They own one of
// their own, whatever its workspace, and a service token of a workspace that they administer. They
// must have its scopes. An administrator may revoke the keys of others, and rotate none.
//
// An owner has at most [Options.MaxTokens] tokens that work. Two requests at once may each find the
// last place. [Options.Limit] bounds how often a user changes tokens. A change that is refused
// afterwards counts. No limit stops a revocation.
//
// The store applies each change, with these rules, to the current token
// ([httpkey.TokenStore].Update). So each concurrent change takes effect or is refused, and
// none undoes a revocation, in any number of processes. A form has the version of the token that
// it shows. A change meanwhile is a conflict, and the page shows both. Of several concurrent
// rotations of a token, one creates a key, and the others are refused.
//
// A request waits for the store for five seconds at most, and is then answered 503. The change may
// still take effect, so look at the list before you try again.
//
// The response to the POST itself shows the secret, so that the secret is stored nowhere. A
// form that is sent again, for example by a reload, creates no second token. A cache may
// store only assets.
//
// # Texts and looks
//
// [Options.Files] holds files with the names of those in the directory files of this
// package. A definition in an HTML file there replaces the console's definition of the same
// name, and keeps the others: a texts.html with {{define "product"}}Access keys{{end}}
// renames the page. By a rule of [text/template], an empty definition replaces nothing: to
// show nothing, define {{""}}.
//
// A style.css follows the console's own. Its most useful rules set the custom properties at
// the beginning of that file:
//
//	:root { --accent: #6c2bd9; --font: "Inter", sans-serif; }
//
// An icon.svg or a script.js replaces the console's own.
//
// The Content-Security-Policy lets a page load only files of its own origin, and no inline
// script or style.
package console

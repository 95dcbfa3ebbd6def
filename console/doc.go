// Package console is the "API tokens" page, on which people make, copy, watch,
// rotate and revoke their keys, and the same as a JSON API: one handler to mount.
//
//	tokens := console.New(guard, store, &console.Options{Principal: whoIsLoggedIn})
//	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
//
// Who prefers text/html gets pages, all others JSON. The pages work without
// JavaScript, but for the buttons that copy and save a new key.
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
// Without its final slash, a path is answered 307, which sends on to the one with it.
// Bodies are JSON objects of at most 64 KiB. A token has the properties that the
// Plane API documents, and ours, as [httpkey.Token] writes them. "token", the secret,
// is in the 201 of create and of rotate, and nowhere else.
//
// A list is {"results": […], "next_cursor": "…", "next_page_results": true}, the names
// with which the Plane API pages; pass next_cursor on as cursor. The other parameters are
// per_page (1 to 100; 50 without it), search, kind, status (works; care: it works, and is
// old, unused or about to expire; ended) and order_by (-created_at, created_at, label,
// last_used, -last_used, expired_at). One request looks at 10,000 tokens at most. Where a
// search finds nothing among them the page is empty, and its cursor leads on; an
// order other than -created_at is that of the newest 10,000.
//
// Errors are {"detail": "…"}, or 400 with a list of sentences for each field:
//
//	400  a field that is unknown, cannot be set or does not fit; a body that is no JSON object
//	401  no login
//	403  a kind, a workspace or a scope that one may not give; a rotation of another person's key; a request of another site
//	404  no such token, or somebody else's: the two cannot be told apart
//	405, 413, 415
//	409  the token has ended, or was rotated already
//	429  too many changes; Retry-After tells when to try again
//	503  the store or the login does not answer
//
// No page of another origin can use the API: it sends no CORS headers, and a request that
// changes something is refused if Sec-Fetch-Site or Origin tell that it comes from there
// ([http.CrossOriginProtection]). There is no CSRF token to send.
//
// # Rules
//
// Nothing limits how many tokens one user may have but [Options.Limit], which is how often
// they may change some; a request to change or rotate a token counts even if it is then refused.
//
// What has ended stays ended: a revoked token cannot be made active again, an expired one
// not be prolonged, and one that was rotated cannot outlive its grace. A new expiry
// is never later than [Options.MaxLifetime] after the token's creation. Who lacks a
// scope of a token may not rotate it, as that would show them a key that has it; nor may
// anybody rotate another person's API key, which acts for that person. One's own key may
// be rotated in a workspace that one does not administer: that gives nothing new.
//
// The answer that shows a secret is that of the POST itself: it is stored nowhere on
// the way. A form that is sent again, by a reload, say, creates no second token.
// Every answer but an asset is not to be stored by any cache.
//
// Changes of one token are made one after the other in this process. Between processes
// they are not, as a [httpkey.TokenStore] has no conditional Update: of two that are made in
// the same instant one may be lost, and two rotations may make two successors. Revoke
// what still works.
//
// # Texts and looks
//
// [Options.Files] has files of the names that the directory files of this package has.
// What an HTML file there defines replaces the definition of the same name, and leaves
// the others as they are: a texts.html with {{define "product"}}Access keys{{end}} renames
// the page. One that is empty replaces nothing, a rule of [text/template]: what is to show
// nothing holds {{""}}. A style.css follows ours; most of what there is to change are the
// custom properties at its beginning:
//
//	:root { --accent: #6c2bd9; --font: "Inter", sans-serif; }
//
// An icon.svg or a script.js takes the place of ours.
//
// The Content-Security-Policy lets a page load files of its own origin only, and no
// inline script or style.
package console

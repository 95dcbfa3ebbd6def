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
//	GET    /{id}/         one token, with what remains of its limits
//	PATCH  /{id}/         change: label, description, expired_at; revoke: is_active false, and revoked_for
//	DELETE /{id}/         delete; 204
//	GET    /{id}/usage/   what it was used for: hours, days; 404 without [Options].Usage
//	POST   /{id}/rotate/  rotate: grace, the whole seconds (0 to 604800) for which the old key goes on
//	                      working; and expired_at of the successor
//	POST   /revoke        revoke many: ids, at most 1,000, or all of a user; and reason
//	POST   /find          the token of a key, also if it is revoked or expired
//	GET    /openapi.json  the description of this API in OpenAPI 3.1
//
// A path without its final slash is answered 307, a redirect to the one with it. An ID of other
// characters than letters, digits, "-", "_" and ".", or with a dot at its beginning, stands in a
// path as "~" and its base64url. A query parameter that is unknown or repeated is refused.
//
// Bodies are JSON objects of at most 64 KiB. A PATCH is a merge patch (RFC 7396), and may have the
// media type application/merge-patch+json. An expired_at of null means never. A token that is
// created without an expired_at lives for [Options.DefaultLifetime].
//
// [httpkey.Token] defines the properties of a token: those of the Plane API, and ours. The
// console sets none of its rate_limits, networks and metadata. "token", the secret, is in the 201
// of create and of rotate, and nowhere else. "effective_limits" are the limits of a request with
// the key, as [httpkey.Guard.LimitsOf] returns them. "remaining" is what the headers
// X-RateLimit-Limit, -Remaining and -Reset would say of each of them, and null while the limiter
// does not answer.
//
// A list is {"results": […], "total_results": 312}, with next_cursor, next_page_results, prev_cursor
// and prev_page_results, as the Plane API names them. Pass a cursor on as cursor: an empty one means
// that there is no such page. The other parameters select tokens, and order them:
//
//	search     a part of what pages show: name, description, ID, masked key, user, workspace, scopes
//	status     works, ended, expiring, unused, or care: it works, and is old, unused or about to expire
//	kind       api_key or service_token
//	user       the ID of the owner
//	workspace  the ID of the workspace
//	order_by   created_at, label, last_used or expired_at; with "-" in front: the reverse; -created_at without it
//	per_page   1 to 100; 50 without it
//
// One request looks at 10,000 tokens at most, from the newest on. It looks at fewer if they have more
// than 8 MiB of texts, or take longer than two seconds. If there are more, total_results is null. Newest
// first, the cursors lead on beyond that, without a prev_cursor, also from an empty page. Any other
// order is that of the newest ones.
//
// A search refuses a whole key, which must not travel in a URL. {"key": "…"} to find has its token.
//
// The answer to revoke is {"revoked": ["id", …], "failed": [{"id": "…", "code": "…"}]}. For a user,
// it ends every token that the person manages and that works, also one that is issued meanwhile.
// A token that failed with the code unavailable may still work: send its ID again. No limit stops a
// revocation, but a PATCH that also changes something else counts as a change.
//
// # Retries and lost updates
//
// A create may have an Idempotency-Key of 1 to 255 visible ASCII characters, with or without
// quotes (draft-ietf-httpapi-idempotency-key-header). It is good for one token of the person, as
// long as the token exists. A retry creates no token and shows no key, whatever its body: it is
// answered 409 with the code created_already, the "id" of the token and its Location. Nobody can get
// the key of a lost answer: rotate the token. A rotation needs no Idempotency-Key. Its retry
// is answered 409 with the code rotated and the "id" of the successor.
//
// The answers about one token have an ETag, which names its version. A use of the key and what
// remains of its limits are no part of the version. PATCH, DELETE and rotate heed If-Match: "*", or a
// list of tags, compared strongly. If none is that of the token, the answer is 412 with the current
// ETag. The store compares in one step with a change. A deletion, a rotation and a revocation compare
// right before: a change of another person in between does not stop them.
//
// # Errors
//
// An error is {"detail": "…", "code": "…"} with a sentence for people and a code for programs. It is
// application/problem+json (RFC 9457), with also "type", "title" and "status", where the Accept
// header prefers that to application/json. A conflict with another token has its "id". There are no
// other codes than these:
//
//	400  malformed               the request cannot be read
//	400  invalid                 it has fields or query parameters that cannot be used
//	400  whole_key               the search has a whole key in it
//	401  not_authenticated       there is no login
//	403  forbidden               the person may not create, prolong or rotate such a token
//	403  cross_site              the request comes from another site
//	404  not_found               no such token, or one that another person manages, without a difference
//	405  method_not_allowed      the path has other methods, which Allow names
//	409  ended                   the token is revoked or expired, for ever
//	409  rotated                 the token was rotated already
//	409  changed                 the token got another expiry meanwhile
//	409  created_already         the Idempotency-Key has made a token
//	409  too_many_tokens         the owner has [Options.MaxTokens] tokens that work
//	412  precondition_failed     the token has another version than If-Match names
//	413  too_large               the body is larger than 64 KiB
//	415  unsupported_media_type  the body has another type than those that Accept names
//	429  throttled               too many requests; Retry-After tells when to try again
//	503  unavailable             the store or the login does not answer; try again
//
// An invalid request also has {"errors": {"label": [{"detail": "…", "code": "…"}]}}, with the errors
// of each field or query parameter. Their codes are:
//
//	blank               the text has nothing in it
//	contradiction       another field says otherwise
//	invisible           the text has nothing that can be seen
//	control_character   the text has a control character
//	too_long            the text has too many characters
//	too_many            the list has too many elements
//	wrong_type          the value has another type or format
//	null                the value may not be null
//	no_choice           the value is none of those that there are
//	out_of_range        the number is too small or too large
//	past                the time is not in the future
//	too_late            the time is beyond [Options.MaxLifetime]
//	required            the field is missing
//	read_only           the request cannot set the field
//	without_revocation  the field goes with is_active false
//	unknown             there is no such field or parameter
//	repeated            the parameter is there more than once
//	invalid_cursor      the cursor is none of this list
//
// No page of another origin can use the API, unless [Options.TrustedOrigins] has it. The API sends no
// CORS headers. It refuses a change whose Sec-Fetch-Site or Origin names another site
// ([http.CrossOriginProtection]).
// There is no CSRF token to send.
//
// These requests come from a person with a login. A program with a key rotates and revokes that key
// itself with RotateSelf and RevokeSelf of package endpoint, which you mount behind the Guard.
//
// # Rules
//
// A person manages their own tokens, and those of the workspaces that they administer
// ([Principal]). They may create a token for themselves, and a service token for a workspace of
// theirs, with scopes that they have. A service token acts for no person: it has no User, and its
// CreatedBy is the person.
//
// A later expiry is a grant: it needs the rights of creating such a token. All who manage a token
// may rename it, shorten its life, revoke it and delete it. A new expiry is never later than
// [Options.MaxLifetime] after the token's creation.
//
// An ended token stays ended. Nothing makes a revoked token active, prolongs an expired
// one, or lets a rotated one outlive its grace, even if its successor is gone.
//
// A person may rotate only a token that they own, because they see the new key. They own their API
// keys, whatever the workspace, and the service tokens of a workspace that they administer. They must
// have its scopes. An administrator may revoke the keys of others, and rotate none.
//
// If the successor of a token was deleted, the token may be rotated again. The new key lives as long
// as the token would have without a rotation. So this needs the rights of creating such a token.
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
// name, and keeps the others. [New] refuses a definition that replaces none, and that no other one
// uses. By a rule of [text/template], an empty definition replaces nothing: to show nothing,
// define {{""}}.
//
// Every text is a definition in texts.html, where a comment says what it gets. A texts.html of
// your own with {{define "product"}}Access keys{{end}} renames the page. Beside it, texts.de.html or
// texts.pt-BR.html has the texts of another language, which Principal.Language selects: "de-AT"
// finds de-AT, or else de, or else texts.html. What a language leaves out is in English. The
// definition "direction" is rtl for a language that is written from right to left. Texts have these
// functions beside those of [html/template]:
//
//	{{plural .N "one" "# day" "other" "# days"}}  by the plural forms of the language, with N for #
//	{{number .N}}                                 with the separators of the language
//	{{nth .Month "January" "February" …}}         one of a list
//
// The refusals of the JSON API are in English. The pages translate them by their code, in the
// definitions "problem" and "failure-detail".
//
// A style.css follows the console's own. Its most useful rules set the custom properties at
// the beginning of that file. Each colour has a value for light and one for dark pages:
//
//	.httpkey { --accent: light-dark(#6c2bd9, #c4a5ff); --font: "Inter", sans-serif; }
//
// An icon.svg or a script.js replaces the console's own.
//
// The Content-Security-Policy lets a page load only files of its own origin, and no inline
// script or style. [Options.CSP] adds sources of yours.
//
// # Your own frame
//
// With [Options.Layout] your program writes the pages, with its own head, navigation and footer.
// All that the console adds to them stands in one element of class httpkey, and its stylesheet
// has rules for that element alone. The pages fit the width of that element, from 320 pixels on.
// They take your font and your color-scheme. Write Page.Head after your own stylesheets.
package console

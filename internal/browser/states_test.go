package browser

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
)

// state is a state of a page, and the way to it.
type state struct {
	name   string
	user   string // the person who looks at it; empty: ada
	change func(*console.Options)
	tokens []httpkey.Token
	show   func(*tab)
	status int // 0: 200
	reads  string
	aside  int64 // the width that the frame of a program takes, in pixels
}

// states are those of all pages.
func states() []state {
	return slices.Concat(
		listStates(), bulkStates(), findStates(), newStates(), secretStates(), tokenStates(), changeStates(),
		usageStates(), failureStates(), frameStates(), languageStates(),
	)
}

// at shows the page at a path.
func at(path string) func(*tab) { return func(b *tab) { b.visit(path) } }

// submit fills fields, of which label and text alternate, and presses a button.
func submit(button string, fill ...string) func(*tab) {
	return func(b *tab) {
		for i := 0; i < len(fill); i += 2 {
			b.fill(fill[i], fill[i+1])
		}
		b.follow(button)
	}
}

// choose clicks a radio button or checkbox.
func choose(label string) func(*tab) { return func(b *tab) { b.choose(label) } }

// then takes steps one after another.
func then(steps ...func(*tab)) func(*tab) {
	return func(b *tab) {
		for _, step := range steps {
			step(b)
		}
	}
}

// inEveryStatus returns tokens of each status, with everything that a token can have.
func inEveryStatus() []httpkey.Token {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	active := func(t httpkey.Token) httpkey.Token { t.IsActive = true; return t }
	return []httpkey.Token{
		active(httpkey.Token{ID: "active", Hint: "9dKq", Label: "Laptop", Scopes: []string{"issues:read"},
			Limits:    []httpkey.Limit{httpkey.PerMinute(600), httpkey.PerMonth(1_000_000)},
			CreatedAt: ago(12 * day), LastUsed: ago(3 * time.Minute), ExpiredAt: ago(-78 * day)}),
		active(httpkey.Token{ID: "expiring", Hint: "Vw3c", Label: "Nightly report",
			Description: "Runs at two in the morning.\nAsk Charles before you change it.", Workspace: "w1",
			Scopes:    []string{"issues:read", "members:read"},
			CreatedAt: ago(84 * day), LastUsed: ago(9 * time.Hour), ExpiredAt: ago(-6*day - time.Hour)}),
		active(httpkey.Token{ID: "old", Hint: "x07B", Label: "Deploy bot", Kind: httpkey.ServiceToken, Workspace: "w1",
			Scopes:    []string{"issues:read", "issues:write", "members:read"},
			CreatedAt: ago(97*day + time.Hour), LastUsed: ago(40 * time.Second)}),
		active(httpkey.Token{ID: "service", Hint: "n3Xt", Label: "Importer", Kind: httpkey.ServiceToken, Workspace: "w1",
			Networks:  []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.0/24")},
			CreatedAt: ago(10 * day), LastUsed: ago(20 * time.Minute), ExpiredAt: ago(-80 * day), CreatedBy: "ada"}),
		active(httpkey.Token{ID: "unused", Hint: "mT2e", Label: "Old phone",
			CreatedAt: ago(200 * day), LastUsed: ago(94 * day)}),
		active(httpkey.Token{ID: "successor", Hint: "a1B2", Label: "Build server", RotatedFrom: "rotating",
			CreatedAt: ago(2 * time.Hour), LastUsed: ago(time.Hour), ExpiredAt: ago(-60 * day)}),
		active(httpkey.Token{ID: "rotating", Hint: "Zr8H", Label: "Build server", RotatedTo: "successor",
			CreatedAt: ago(30 * day), LastUsed: ago(5 * time.Minute), ExpiredAt: ago(-22 * time.Hour)}),
		active(httpkey.Token{ID: "other", Hint: "kk4P", Label: "Engine tables", User: "bob", Workspace: "w2",
			CreatedAt: ago(day), ExpiredAt: ago(-29 * day)}),
		active(httpkey.Token{ID: "expired", Hint: "0oLs", Label: "Workshop",
			CreatedAt: ago(40 * day), LastUsed: ago(12 * day), ExpiredAt: ago(10 * day)}),
		{ID: "revoked", Hint: "Qe5t", Label: "Leaked in a log", Scopes: []string{"issues:write"},
			CreatedAt: ago(70 * day), LastUsed: ago(20 * day), RevokedAt: ago(19 * day), RevokedBy: "bob",
			RevokedFor: "It stood in the log of the build"},
	}
}

// These labels break pages. The third is written from right to left, which shows only if
// the rest of its line is not.
var (
	longLabel  = strings.Repeat("x", 255)
	emojiLabel = strings.Repeat("👩🏽‍💻🏳️‍🌈", 20) + " 🔑"
	rtlLabel   = "مفتاح خادم النشر (v2) שרת הבנייה"
	wideLabel  = strings.Repeat("﷽꧅𒐫", 20)
	htmlLabel  = `<script>alert("x")</script> & <b>bold</b>`
)

// inEveryScript returns tokens whose texts are as long, as wide and as many as they can be.
func inEveryScript() []httpkey.Token {
	var tokens []httpkey.Token
	for id, label := range []string{
		longLabel, emojiLabel, rtlLabel, wideLabel, htmlLabel, strings.Repeat("many words ", 23),
	} {
		tokens = append(tokens, httpkey.Token{
			ID: fmt.Sprint("label-", id), Label: label, Description: label, IsActive: true,
			User: wideUser, Workspace: "w1", Scopes: manyScopes[:2], CreatedAt: time.Now().Add(-100 * day),
			LastUsed: time.Now().Add(-99 * day), ExpiredAt: time.Now().Add(day),
		})
	}
	tokens[0].Scopes = manyScopes
	return tokens
}

func one() []httpkey.Token {
	return []httpkey.Token{{ID: "id", Label: "Laptop", IsActive: true, CreatedAt: time.Now().Add(-3 * day),
		LastUsed: time.Now().Add(-time.Hour)}}
}

func listStates() []state {
	return []state{
		{name: "list-empty", show: at(""), reads: "You have no tokens yet."},
		{name: "list", tokens: inEveryStatus(), show: at(""), reads: "Rotated, ends"},
		{name: "list-admin", user: "grace", tokens: inEveryStatus(), show: at(""), reads: "Engine tables"},
		{name: "list-of-user", user: "grace", tokens: inEveryStatus(), show: at("?user=ada"),
			reads: "Revoke all tokens of this user"},
		{name: "list-sorted", tokens: inEveryStatus(), show: then(at(""), submit("Name")), reads: "Workshop"},
		{name: "list-hostile", tokens: inEveryScript(), show: at(""), reads: "<script>"},
		{name: "list-nothing-found", tokens: one(), show: at("?search=nothing"), reads: "No tokens match."},
		{name: "list-page", tokens: inEveryStatus(), show: then(at("?per_page=2"), submit("Next page")), reads: "First page"},
		{name: "list-plain", user: "bob", tokens: []httpkey.Token{{User: "bob", Label: "Laptop", IsActive: true}},
			show: at(""), reads: "Active"},
	}
}

func bulkStates() []state {
	selectTwo := func(b *tab) {
		b.visit("")
		b.check("Select Laptop")
		b.check("Select Nightly report")
	}
	return []state{
		{name: "bulk-selected", tokens: inEveryStatus(), show: selectTwo, reads: "Revoke selected 2"},
		{name: "bulk", tokens: inEveryStatus(), show: then(selectTwo, submit("Revoke selected 2")), reads: "Nightly report"},
		{name: "bulk-nothing", tokens: inEveryStatus(), show: then(at(""), submit("Revoke selected")),
			status: http.StatusBadRequest, reads: "Select"},
		{name: "bulk-errors", tokens: inEveryStatus(), show: then(
			selectTwo, submit("Revoke selected 2"), submit("Revoke 2 tokens", "Reason", longLabel+"x"),
		), status: http.StatusBadRequest, reads: "Use at most 255"},
		{name: "bulk-hostile", tokens: inEveryScript(), show: func(b *tab) {
			b.visit("")
			b.check("Select all")
			b.follow("Revoke selected 6")
		}, reads: longLabel},
		{name: "bulk-of-user", user: "grace", tokens: inEveryStatus(), show: then(
			at("?user=ada"), submit("Revoke all tokens of this user"),
		), reads: "Ada Lovelace"},
		{name: "bulk-done", tokens: inEveryStatus(), show: then(
			selectTwo, submit("Revoke selected 2"), submit("Revoke 2 tokens", "Reason", "Tidied up"),
		), reads: "2 tokens revoked."},
	}
}

func findStates() []state {
	return []state{
		{name: "find", show: at("find"), reads: "Whose key is this?"},
		{name: "find-found", show: func(b *tab) {
			key := b.site.issue(b.t, "Laptop")
			b.visit("find")
			b.fill("Key", key)
			b.follow("Find token")
		}, reads: "Laptop"},
		{name: "find-nothing", show: then(at("find"), submit("Find token", "Key", "hk_k_nothing")),
			status: http.StatusNotFound, reads: "No"},
	}
}

func newStates() []state {
	return []state{
		{name: "new", show: at("new"), reads: "Workspace"},
		{name: "new-plain", user: "bob", show: at("new"), reads: "Never"},
		{name: "new-policy", user: "bob", change: func(o *console.Options) { o.MaxLifetime = 45 * day }, show: at("new"),
			reads: "the longest allowed"},
		{name: "new-hostile", user: "wide", show: at("new"), reads: "resource-98"},
		{name: "new-errors", show: then(
			at("new"), choose("On a day"),
			submit("Generate token", "Name", " ", "Description", strings.Repeat("long ", 1000)),
		), status: http.StatusBadRequest, reads: "Enter a name."},
		{name: "new-throttled", change: func(o *console.Options) { o.Limit = httpkey.PerHour(1) }, show: then(
			at("new"), submit("Generate token", "Name", "one"), at("new"), submit("Generate token", "Name", "two"),
		), status: http.StatusTooManyRequests, reads: "Wait "},
	}
}

func secretStates() []state {
	return []state{
		{name: "secret", show: then(at("new"), choose("issues:read"), submit("Generate token", "Name", "Laptop")),
			status: http.StatusCreated, reads: "Copy it now"},
		{name: "secret-copied", show: then(
			at("new"), submit("Generate token", "Name", "Laptop"), func(b *tab) { b.copied() },
		), status: http.StatusCreated, reads: "Copied"},
		{name: "secret-without-command", change: func(o *console.Options) { o.TryURL = "" },
			show:   then(at("new"), submit("Generate token", "Name", "Laptop")),
			status: http.StatusCreated, reads: "Copy it now"},
		{name: "secret-rotated", tokens: inEveryStatus(), show: then(at("active/rotate/"), submit("Rotate")),
			status: http.StatusCreated, reads: "works until"},
		{name: "secret-hostile", show: then(at("new"), submit("Generate token", "Name", longLabel)),
			status: http.StatusCreated, reads: longLabel},
		{name: "secret-again", show: then(
			at("new"), submit("Generate token", "Name", "Laptop"), func(b *tab) { b.copied(); b.reload() },
		), status: http.StatusConflict, reads: "exists already"},
	}
}

func tokenStates() []state {
	var states []state
	for id, text := range map[string]string{
		"active": "Laptop", "expiring": "Nightly report", "old": "Deploy bot", "service": "Importer", "unused": "Old phone",
		"rotating": "Replaced by", "successor": "Replaces", "expired": "Workshop", "revoked": "Revoked",
	} {
		states = append(states, state{name: "token-" + id, tokens: inEveryStatus(), show: at(id + "/"), reads: text})
	}
	return append(states,
		state{name: "token-admin", user: "grace", tokens: inEveryStatus(), show: at("active/"), reads: "Ada Lovelace"},
		state{name: "token-saved", tokens: inEveryStatus(), show: then(
			at("expiring/"), submit("Save changes", "Description", "Ask Ada before you change it."),
		), reads: "Your changes are saved."},
		state{name: "token-errors", tokens: one(), show: then(at("id/"), submit("Save changes", "Name", longLabel+"x")),
			status: http.StatusBadRequest, reads: "Use at most 255"},
		state{name: "token-conflict", tokens: one(), show: then(at("id/"), func(b *tab) {
			b.site.patch(b.t, "id", `{"label": "Server", "description": "Theirs"}`)
		}, submit("Save changes", "Description", "Mine")), status: http.StatusConflict, reads: "What is saved now"},
		state{name: "token-hostile", tokens: inEveryScript(), show: at("label-0/"), reads: longLabel},
		state{name: "token-emoji", tokens: inEveryScript(), show: at("label-1/"), reads: "🔑"},
		state{name: "token-rtl", tokens: inEveryScript(), show: at("label-2/"), reads: rtlLabel},
	)
}

func changeStates() []state {
	return []state{
		{name: "rotate", tokens: inEveryStatus(), show: at("active/rotate/"), reads: "The old key ends"},
		{name: "rotate-errors", tokens: inEveryStatus(), show: then(
			at("active/rotate/"), choose("On a day"), submit("Rotate"),
		), status: http.StatusBadRequest, reads: "Choose the day"},
		{name: "rotate-twice", tokens: inEveryStatus(), show: at("rotating/rotate/"), status: http.StatusConflict,
			reads: "This token was rotated"},
		{name: "rotate-forbidden", tokens: inEveryScript(), show: at("label-2/rotate/"), status: http.StatusForbidden,
			reads: "You may not rotate"},

		{name: "revoke", tokens: inEveryStatus(), show: at("old/revoke/"), reads: "Reason"},
		{name: "revoke-errors", tokens: inEveryStatus(), show: then(
			at("rotating/revoke/"), submit("Revoke", "Reason", longLabel+"x"),
		), status: http.StatusBadRequest, reads: "Use at most 255"},
		{name: "revoke-hostile", tokens: inEveryScript(), show: at("label-0/revoke/"), reads: longLabel},
		{name: "revoked", tokens: one(), show: then(at("id/revoke/"), submit("Revoke", "Reason", "Lost on a train")),
			reads: "The token is revoked."},

		{name: "delete", tokens: inEveryStatus(), show: at("active/delete/"), reads: "Type its name"},
		{name: "delete-errors", tokens: inEveryStatus(), show: then(
			at("active/delete/"), submit("Delete", "Type its name", "Labtop"),
		), status: http.StatusBadRequest, reads: "This is not the name"},
		{name: "delete-ended", tokens: inEveryStatus(), show: at("expired/delete/"),
			reads: "The record of the token is lost"},
		{name: "delete-hostile", tokens: inEveryScript(), show: at("label-0/delete/"), reads: longLabel},
		{name: "delete-rtl", tokens: inEveryScript(), show: at("label-2/delete/"), reads: rtlLabel},
		{name: "deleted", tokens: inEveryStatus(), show: then(at("expired/delete/"), submit("Delete")),
			reads: "The token is deleted."},
	}
}

func failureStates() []state {
	return []state{
		{name: "no-login-form", show: then(at("new"), func(b *tab) {
			b.fill("Name", "Laptop")
			b.signOut()
		}, submit("Generate token")), status: http.StatusUnauthorized, reads: "Your session has ended"},
		{name: "too-many-tokens", tokens: one(), change: func(o *console.Options) { o.MaxTokens = 1 }, show: then(
			at("new"), submit("Generate token", "Name", "Second"),
		), status: http.StatusConflict, reads: "Too many tokens"},
		{name: "no-login", user: "nobody", show: at(""), status: http.StatusUnauthorized, reads: "Sign in first"},
		{name: "not-found", show: at("nothing/"), status: http.StatusNotFound, reads: "No such token"},
		{name: "throttled", change: func(o *console.Options) { o.ReadLimit = httpkey.PerHour(1) }, show: then(at(""), at("")),
			status: http.StatusTooManyRequests, reads: "Wait "},
		{name: "unavailable", show: func(b *tab) {
			b.site.store.down.Store(true)
			b.visit("")
		}, status: http.StatusServiceUnavailable, reads: "Not available right now"},
		{name: "bad-query", show: at("?status=fine"), status: http.StatusBadRequest, reads: "not a valid choice"},
	}
}

// frameStates are states that take much room, in the frame of a program.
func frameStates() []state {
	var states []state
	for _, state := range slices.Concat(
		listStates(), bulkStates(), findStates(), newStates(), secretStates(), tokenStates(), changeStates(),
	) {
		switch state.name {
		case "list", "list-hostile", "bulk-hostile", "find", "new-hostile", "new-errors", "secret-hostile",
			"token-hostile", "token-conflict", "rotate", "delete-hostile":
			state.name = "frame-" + state.name
			state.change, state.aside = beside, sidebar
			states = append(states, state)
		}
	}
	return states
}

// languageStates are pages in German, whose words are long, and in Arabic, which is read from the right.
func languageStates() []state {
	translated := func(o *console.Options) { o.Files = os.DirFS("testdata") }
	lenas, amals := inEveryStatus(), inEveryStatus()
	for i := range lenas {
		lenas[i].User, amals[i].User = "lena", "amal"
	}
	german := func(name, page, reads string) state {
		return state{name: "german-" + name, user: "lena", change: translated, tokens: lenas, show: at(page), reads: reads}
	}
	arabic := func(name, page, reads string) state {
		return state{name: "arabic-" + name, user: "amal", change: translated, tokens: amals, show: at(page), reads: reads}
	}
	return []state{
		german("list", "", "Erneuerungsbedürftig"),
		german("new", "new", "Arbeitsbereich"),
		german("token", "successor/", "Zuletzt verwendet"),
		arabic("list", "", "مفاتيح"),
		arabic("new", "new", "مفاتيح"),
		arabic("token", "successor/", "المفتاح"),
	}
}

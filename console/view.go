package console

import (
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console/internal/legible"
)

// view is the data of a page. Each page sets the fields that it needs.
type view struct {
	Page      string    // its name
	Root      string    // the path to the console's own, relative to the page: ./, ../ or ../../
	Back      string    // the link to the list as the reader left it
	From      string    // what links to other pages and forms end in, so that they keep Back; may be empty
	Principal Principal // the person who looks at it
	Done      string    // list, token: the change that was made just now; a key of the texts
	Failure   *failureView
	List      *listView
	Bulk      *bulkView
	Token     *tokenView
	Successor *tokenView // token: the token that it was rotated into
	Old       *tokenView // token, secret: the token that it succeeds
	Usage     *usageView // token: nil if there is no Options.Usage
	Theirs    *tokenView // token: its state by somebody else's change, which the form does not know
	Secret    httpkey.Secret
	Form      *form

	SignIn string      // failure: the URL of the login
	Unsent []formField // failure: the form that was sent without a session

	// The options have these, and the policy of the answer has the nonces.
	NoScopes, TryURL, DocsURL, Scheme string
	StyleNonce, ScriptNonce           string
	Data                              any
}

// tokenView is a token as a page shows it.
type tokenView struct {
	httpkey.Token
	Path      string // its ID in a URL
	Name      string // its label, or else its hint, or else its ID; people confirm with it
	Key       string // the part of the secret that may be shown
	Owner     string // the user, if it is not the Principal
	Place     string // the workspace
	Created   moment
	Used      moment
	Expires   moment
	Status    status
	HasEnded  bool
	MayRotate bool // the Principal may rotate it

	Limits     limitsView
	Remaining  []remainingView // of Limits; token: only there
	Revocation *revocation     // nil: it is not revoked, or nothing is known of that
	Replaces   *tokenView      // list: the token that it succeeds, while that works
}

// revocation is what is known of a revocation.
type revocation struct {
	At         moment
	By, Reason string // a person, and a sentence; may be empty
}

func revocationOf(p Principal, t httpkey.Token, now time.Time) *revocation {
	if t.RevokedAt.IsZero() && t.RevokedBy == "" && t.RevokedFor == "" {
		return nil
	}
	return &revocation{moment{t.RevokedAt, now}, p.name(t.RevokedBy), t.RevokedFor}
}

func (c *console) tokenView(p Principal, t httpkey.Token, successor *httpkey.Token, now time.Time) *tokenView {
	v := &tokenView{
		Token:     t,
		Path:      pathOf(t.ID),
		Name:      nameOf(t),
		Key:       c.guard.Masked(t),
		Place:     p.name(t.Workspace),
		Created:   moment{t.CreatedAt, now},
		Used:      moment{t.LastUsed, now},
		Expires:   moment{t.ExpiredAt, now},
		Status:    c.statusOf(t, successor, now),
		HasEnded:  hasEnded(t, now),
		MayRotate: p.mayRotate(t) == nil && p.mayRotateAgain(t) == nil,

		Limits:     c.limitsOf(t),
		Revocation: revocationOf(p, t, now),
	}
	if t.User != p.User {
		v.Owner = p.name(t.User)
	}
	return v
}

// isSameName reports whether people would call two names the same.
func isSameName(a, b string) bool { return legible.Fold(a) == legible.Fold(b) }

// nameOf returns the name of t for people.
func nameOf(t httpkey.Token) string {
	for _, text := range []string{t.Label, t.Hint} {
		if legible.IsVisible(text) {
			return strings.Join(strings.Fields(text), " ")
		}
	}
	return strings.Join(strings.Fields(t.ID), " ")
}

// Called returns the name of a user, a workspace or a scope for people.
func (v view) Called(id string) string { return v.Principal.name(id) }

// failureView is a failure as a page shows it.
type failureView struct {
	Status   int
	Code     string
	Detail   string
	Problems []problem
	InTheWay string // the path of a token
	Wait     span   // before another try, of a 429 and a 503
}

// ShowedKey reports whether a page with a new key was asked for once more.
func (f failureView) ShowedKey() bool { return f.Code == "created_already" || f.Code == "rotated" }

func newFailureView(f *failure) *failureView {
	v := &failureView{Status: f.status, Code: f.code, Detail: f.detail, Wait: waitOf(f.retryAfter)}
	if f.inTheWay != "" {
		v.InTheWay = pathOf(f.inTheWay)
	}
	for _, field := range []string{
		"search", "label", "description", "kind", "workspace", "scopes", "expired_at", "grace", "reason", "name",
		"status", "user", "order_by", "per_page", "cursor", "ids", "key",
	} {
		v.Problems = append(v.Problems, f.fields[field]...)
	}
	return v
}

// waitOf returns a time to wait in whole seconds, or in minutes if it is long, rounded up.
func waitOf(d time.Duration) span {
	if seconds := wholeSeconds(d); seconds < 60 {
		return span{int(seconds), "second"}
	}
	return spanOf((d + time.Minute - 1).Truncate(time.Minute))
}

// wrongField is a field with its problems.
type wrongField struct {
	Field    string
	Problems []problem
}

// Wrong returns the problems of a field, nil if there are none.
func (v view) Wrong(field string) *wrongField {
	if v.Failure == nil {
		return nil
	}
	wrong := wrongField{Field: field}
	for _, p := range v.Failure.Problems {
		if p.Field == field {
			wrong.Problems = append(wrong.Problems, p)
		}
	}
	if wrong.Problems == nil {
		return nil
	}
	return &wrong
}

package console

import (
	"slices"

	"github.com/httpkey/httpkey"
)

// Principal is a person who is logged in. They manage their own tokens, and all tokens of
// the workspaces that they administer. Any other token does not exist for them.
type Principal struct {
	User          string   // the person, as in [httpkey.Token]; never empty
	ServiceTokens bool     // they also see and manage service tokens
	Scopes        []string // those that they may give to a token; nil: none

	// Admin sees every token of every user and workspace, and may rename, shorten, revoke and delete it.
	// An Admin gets no right to create or to rotate from it.
	Admin bool

	// Workspaces are those that they administer, as in [httpkey.Token]; membership is not
	// enough. They see, change, revoke and delete every token there, and create and rotate its
	// service tokens. A list makes at least one query of the store for each of them, and one for
	// the user.
	Workspaces []string

	// Names maps the ID of a user, a workspace or a scope to the name that people know.
	// The console shows an ID without a name as the ID.
	Names map[string]string

	// Language is that of the texts, such as "de" for the file texts.de.html in
	// [Options.Files]. Empty, or a language without a file: texts.html.
	Language string
}

// manages reports whether t is one of p's tokens.
func (p Principal) manages(t httpkey.Token) bool {
	return p.Admin || (t.Kind != httpkey.ServiceToken || p.ServiceTokens) &&
		(t.User == p.User && p.User != "" || p.administers(t.Workspace))
}

func (p Principal) administers(workspace string) bool {
	return workspace != "" && slices.Contains(p.Workspaces, workspace)
}

// kinds returns those that p may create. A service token needs a workspace, which owns it.
func (p Principal) kinds() []httpkey.Kind {
	if p.ServiceTokens && len(p.Workspaces) > 0 {
		return []httpkey.Kind{httpkey.APIKey, httpkey.ServiceToken}
	}
	return []httpkey.Kind{httpkey.APIKey}
}

// owns reports whether t acts for p alone, or for a workspace that p administers.
func (p Principal) owns(t httpkey.Token) bool {
	if t.User == "" {
		return t.Kind == httpkey.ServiceToken && p.ServiceTokens && p.administers(t.Workspace)
	}
	return t.User == p.User && (t.Kind != httpkey.ServiceToken || p.ServiceTokens)
}

// mayGrant refuses to create t for p, and to make it live longer.
func (p Principal) mayGrant(t httpkey.Token) error {
	switch {
	case t.Kind == httpkey.ServiceToken && !p.ServiceTokens:
		return errMayNotCreateService
	case t.Workspace != "" && !p.administers(t.Workspace):
		return errMayNotCreateThere
	case !p.owns(t):
		return errMayNotCreateForThem
	case !p.has(t.Scopes):
		return errMayNotGiveScopes
	}
	return nil
}

// has reports whether p has all of these scopes.
func (p Principal) has(scopes []string) bool {
	return !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(p.Scopes, scope) })
}

// mayRotate refuses to show p a new key of t if that acts for another person, or has scopes
// that p may not give. The workspace does not matter for one's own key: its owner gains
// nothing, and an owner who cannot rotate a leaked key goes on using it.
func (p Principal) mayRotate(t httpkey.Token) error {
	switch {
	case !p.owns(t):
		return errMayNotRotateTheirs
	case !p.has(t.Scopes):
		return errMayNotRotateScopes
	}
	return nil
}

// mayRotateAgain refuses to rotate t a second time, which gives it back the life that it had before the
// first. That is a grant, because somebody may have revoked the successor.
func (p Principal) mayRotateAgain(t httpkey.Token) error {
	if t.RotatedTo != "" && p.mayGrant(t) != nil {
		return errMayNotRotateAgain
	}
	return nil
}

// filters returns the filters that select p's tokens in a store; an empty kind means all.
// Several may select one token. Only that of an Admin selects everybody's.
func (p Principal) filters(kind httpkey.Kind) []httpkey.Filter {
	if p.Admin {
		return []httpkey.Filter{{Kind: kind}}
	}
	if !p.ServiceTokens {
		if kind == httpkey.ServiceToken {
			return nil
		}
		kind = httpkey.APIKey
	}
	var filters []httpkey.Filter
	if p.User != "" {
		filters = append(filters, httpkey.Filter{User: p.User, Kind: kind})
	}
	seen := map[string]bool{"": true}
	for _, workspace := range p.Workspaces {
		if !seen[workspace] {
			seen[workspace] = true
			filters = append(filters, httpkey.Filter{Workspace: workspace, Kind: kind})
		}
	}
	return filters
}

// name returns the name of the user, workspace or scope of this ID.
func (p Principal) name(id string) string {
	if name := p.Names[id]; name != "" {
		return name
	}
	return id
}

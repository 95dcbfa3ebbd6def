package console

import (
	"slices"

	"github.com/httpkey/httpkey"
)

// Principal is a person who is logged in, and what they may manage: their own
// tokens, and all of the workspaces that they administer. Every other token is to
// them as one that does not exist.
type Principal struct {
	User          string   // who it is, as in [httpkey.Token]; never empty
	ServiceTokens bool     // whether they may see and manage service tokens, too
	Scopes        []string // what they may give to a token; nil: no scopes

	// Workspaces are those that they administer, as in [httpkey.Token]; not those
	// that they are but a member of. They see, change, revoke and delete every token
	// there, whosever it is, and rotate service tokens. To list makes at
	// least one query of the store for each of them, beside the one for the user.
	Workspaces []string

	// Names are what people call a user, a workspace or a scope, by its ID. What
	// has none is shown by its ID.
	Names map[string]string
}

// manages reports whether t is one of p's tokens.
func (p Principal) manages(t httpkey.Token) bool {
	return (t.Kind != httpkey.ServiceToken || p.ServiceTokens) &&
		(t.User == p.User && p.User != "" || t.Workspace != "" && slices.Contains(p.Workspaces, t.Workspace))
}

// kinds are those that p may create.
func (p Principal) kinds() []httpkey.Kind {
	if p.ServiceTokens {
		return []httpkey.Kind{httpkey.APIKey, httpkey.ServiceToken}
	}
	return []httpkey.Kind{httpkey.APIKey}
}

// mayGrant reports whether p may do all that a token of these scopes may.
func (p Principal) mayGrant(scopes []string) bool {
	return !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(p.Scopes, scope) })
}

// mayRotate refuses to let p see a new key of t if that acts for another person, or has
// scopes that p may not give to anybody. One's own key may be rotated in a workspace that
// one does not manage, where one could not create it: it gives its owner nothing that they
// do not have, and who cannot rotate a key that has leaked goes on using it.
func (p Principal) mayRotate(t httpkey.Token) error {
	switch {
	case t.Kind != httpkey.ServiceToken && t.User != p.User:
		return forbidden("You may not rotate another person's API key, as you would see a key that acts for them. Revoke it instead.")
	case !p.mayGrant(t.Scopes):
		return forbidden("You may not rotate a token with scopes that you do not have.")
	}
	return nil
}

// filters select p's tokens of a kind, or of all, in a store; a token may be selected
// by several. None of them is empty, which would select everybody's.
func (p Principal) filters(kind httpkey.Kind) []httpkey.Filter {
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

// name is what people call the user, workspace or scope of this ID.
func (p Principal) name(id string) string {
	if name := p.Names[id]; name != "" {
		return name
	}
	return id
}

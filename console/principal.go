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

	// Workspaces are those that they administer, as in [httpkey.Token]; membership is not
	// enough. They see, change, revoke and delete every token there, and rotate service
	// tokens. A list makes at least one query of the store for each of them, and one for
	// the user.
	Workspaces []string

	// Names maps the ID of a user, a workspace or a scope to the name that people know.
	// The console shows an ID without a name as the ID.
	Names map[string]string
}

// manages reports whether t is one of p's tokens.
func (p Principal) manages(t httpkey.Token) bool {
	return (t.Kind != httpkey.ServiceToken || p.ServiceTokens) &&
		(t.User == p.User && p.User != "" || t.Workspace != "" && slices.Contains(p.Workspaces, t.Workspace))
}

// kinds returns those that p may create.
func (p Principal) kinds() []httpkey.Kind {
	if p.ServiceTokens {
		return []httpkey.Kind{httpkey.APIKey, httpkey.ServiceToken}
	}
	return []httpkey.Kind{httpkey.APIKey}
}

// mayGrant reports whether p has all of these scopes.
func (p Principal) mayGrant(scopes []string) bool {
	return !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(p.Scopes, scope) })
}

// mayRotate refuses to show p a new key of t if that acts for another person, or has scopes
// that p may not give. The workspace does not matter for one's own key: its owner gains
// nothing, and an owner who cannot rotate a leaked key goes on using it.
func (p Principal) mayRotate(t httpkey.Token) error {
	switch {
	case t.Kind != httpkey.ServiceToken && t.User != p.User:
		return forbidden("You may not rotate another person's API key, as you would see a key that acts for them. " +
			"Revoke it instead.")
	case !p.mayGrant(t.Scopes):
		return forbidden("You may not rotate a token with scopes that you do not have.")
	}
	return nil
}

// filters returns the filters that select p's tokens in a store; an empty kind means all.
// Several may select one token. None is empty, because that would select everybody's.
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

// name returns the name of the user, workspace or scope of this ID.
func (p Principal) name(id string) string {
	if name := p.Names[id]; name != "" {
		return name
	}
	return id
}

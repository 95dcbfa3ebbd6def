package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
)

// kinds are the names of the kinds of keys on the command line.
const kinds = "api_key or service_token"

func parseKind(text string) (httpkey.Kind, error) {
	switch kind := httpkey.Kind(text); kind {
	case "", httpkey.APIKey, httpkey.ServiceToken:
		return kind, nil
	}
	return "", errors.New("the kind must be " + kinds)
}

// selection holds the flags that select keys.
type selection struct{ user, workspace, kind string }

// flags adds the flags to a command.
func (s *selection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.user, "user", "", "keys of this `user`")
	cmd.Flags().StringVar(&s.workspace, "workspace", "", "keys of this `workspace`")
	cmd.Flags().StringVar(&s.kind, "kind", "", "keys of this `kind`: "+kinds)
	completeKinds(cmd)
}

// completeKinds completes the values of --kind.
func completeKinds(cmd *cobra.Command) {
	names := []string{string(httpkey.APIKey), string(httpkey.ServiceToken)}
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

func (s *selection) filter() (httpkey.Filter, error) {
	kind, err := parseKind(s.kind)
	if err != nil {
		return httpkey.Filter{}, wrong("--kind: %w", err)
	}
	return httpkey.Filter{User: s.user, Workspace: s.workspace, Kind: kind, Limit: 1000}, nil
}

// newToken holds the flags that describe a new key.
type newToken struct {
	kind, label, description, user, workspace, expires string
	scopes, networks, limits, metadata                 []string
}

// flags adds the flags to a command.
func (n *newToken) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&n.kind, "kind", string(httpkey.APIKey), "its `kind`: "+kinds)
	flags.StringVar(&n.label, "label", "", "its `name` for people")
	flags.StringVar(&n.description, "description", "", "its purpose for people, a `text`")
	flags.StringVar(&n.user, "user", "", "its owner, a `user`")
	flags.StringVar(&n.workspace, "workspace", "", "the `workspace` where it is valid")
	flags.StringVar(&n.expires, "expires", "", "its `end`: 90d from now, or 2027-01-31, or a moment of RFC 3339")
	flags.StringArrayVar(&n.scopes, "scope", nil, "a permission, as `scope`; may be repeated")
	flags.StringArrayVar(&n.networks, "network", nil, "a `network` of its clients, as 192.0.2.0/24; may be repeated")
	flags.StringArrayVar(&n.limits, "limit", nil, "a `limit`, as 60/minute or 5000/day; may be repeated")
	flags.StringArrayVar(&n.metadata, "metadata", nil, "an attribute, as `name=value`; may be repeated")
	completeKinds(cmd)
}

func (n *newToken) token(now time.Time) (t httpkey.Token, err error) {
	t = httpkey.Token{
		Label: n.label, Description: n.description, User: n.user, Workspace: n.workspace, Scopes: n.scopes,
	}
	if t.Kind, err = parseKind(n.kind); err != nil {
		return t, wrong("--kind: %w", err)
	}
	if t.Networks, err = parseAll(n.networks, parseNetwork); err != nil {
		return t, wrong("--network: %w", err)
	}
	if t.Limits, err = parseAll(n.limits, parseLimit); err != nil {
		return t, wrong("--limit: %w", err)
	}
	if t.Metadata, err = parsePairs(n.metadata); err != nil {
		return t, wrong("--metadata: %w", err)
	}
	if n.expires != "" {
		if t.ExpiredAt, err = parseExpiry(n.expires, now); err != nil {
			return t, wrong("--expires: %w", err)
		}
	}
	return t, nil
}

func parsePairs(texts []string) (map[string]string, error) {
	pairs := map[string]string{}
	for _, text := range texts {
		name, value, isPair := strings.Cut(text, "=")
		if !isPair || name == "" {
			return nil, errors.New("an attribute must be as plan=team")
		}
		if _, isTwice := pairs[name]; isTwice {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		pairs[name] = value
	}
	if len(pairs) == 0 {
		return nil, nil //nolint:nilnil // no attributes are no error
	}
	return pairs, nil
}

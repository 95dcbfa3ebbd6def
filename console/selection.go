package console

import (
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console/internal/legible"
)

// selection decides which tokens a query selects.
type selection struct {
	*console
	query
	reader Principal
	search string // folded
	now    time.Time
}

func (c *console) selection(p Principal, q query) *selection {
	return &selection{c, q, p, legible.Fold(q.Search), time.Now()}
}

// has reports whether the query selects t, which one of its filters selects.
func (s *selection) has(t *httpkey.Token) bool {
	return s.hasStatus(t) && (s.search == "" || s.shows(t))
}

func (s *selection) hasStatus(t *httpkey.Token) bool {
	switch s.Status {
	case "works":
		return !hasEnded(*t, s.now)
	case "ended":
		return hasEnded(*t, s.now)
	case "care":
		return s.needsCare(*t, s.now)
	case "expiring", "unused":
		return s.statusOf(*t, nil, s.now).State == s.Status
	}
	return true
}

// shows reports whether the search is a part of what pages show of t.
func (s *selection) shows(t *httpkey.Token) bool {
	beginning, hint, _ := strings.Cut(s.guard.Masked(*t), "…")
	return s.isIn(t.Label) || s.isIn(t.Description) || s.isIn(t.ID) || s.isIn(beginning+"..."+hint) || // … folds to ...
		s.isNamed(t.User) || s.isNamed(t.Workspace) || slices.ContainsFunc(t.Scopes, s.isNamed)
}

// isNamed reports whether the search is a part of an ID, or of its name.
func (s *selection) isNamed(id string) bool { return s.isIn(id) || s.isIn(s.reader.name(id)) }

func (s *selection) isIn(text string) bool { return strings.Contains(legible.Fold(text), s.search) }

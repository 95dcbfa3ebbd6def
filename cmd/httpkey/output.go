package main

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/httpkey/httpkey"
)

// writeJSON writes one object on one line.
func (a *app) writeJSON(value any) error { return json.NewEncoder(a.out).Encode(value) }

// table writes rows for people. Flush ends it.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

// row adds a row. An error shows at the next Flush.
func (t table) row(cells ...string) {
	for i, cell := range cells {
		if cells[i] = printable(cell); cell == "" {
			cells[i] = "-"
		}
	}
	_, _ = io.WriteString(t, strings.Join(cells, "\t")+"\n")
}

// moment writes a time for people; empty: never.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// status says in one word whether a key works.
func status(t httpkey.Token) string {
	switch {
	case !t.IsActive:
		return "revoked"
	case t.Expired(time.Now()):
		return "expired"
	}
	return "active"
}

// writeToken writes everything about one key.
func (s *session) writeToken(w io.Writer, t httpkey.Token) error {
	out := newTable(w)
	field := func(name, value string) {
		if value != "" {
			out.row(name, value)
		}
	}
	field("id", t.ID)
	field("key", s.guard.Masked(t))
	field("status", status(t))
	field("kind", string(t.Kind))
	field("label", t.Label)
	field("description", t.Description)
	field("user", t.User)
	field("workspace", t.Workspace)
	field("scopes", strings.Join(t.Scopes, " "))
	field("limits", joined(t.Limits, limitText))
	field("networks", joined(t.Networks, netip.Prefix.String))
	for _, name := range sortedKeys(t.Metadata) {
		field("metadata "+name, t.Metadata[name])
	}
	field("created", moment(t.CreatedAt))
	field("created by", t.CreatedBy)
	field("last used", moment(t.LastUsed))
	field("expires", moment(t.ExpiredAt))
	field("revoked", moment(t.RevokedAt))
	field("revoked for", t.RevokedFor)
	field("revoked by", t.RevokedBy)
	field("rotated from", t.RotatedFrom)
	field("rotated to", t.RotatedTo)
	return out.Flush()
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// joined returns the texts of some values, apart by blanks.
func joined[T any](values []T, text func(T) string) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = text(value)
	}
	return strings.Join(texts, " ")
}

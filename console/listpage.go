package console

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/httpkey/httpkey"
)

func (c *console) listPage(r *http.Request, p Principal) (answer, error) {
	values := r.URL.Query()
	q, err := c.parseQuery(values)
	q.pairs = true
	var found listing
	if err == nil {
		found, err = c.list(r.Context(), p, q)
	}
	switch {
	case asFailure(err) == errWholeKey:
		return page("find", view{}), err
	case err != nil:
		return answer{}, err
	}
	list := newListView(p, q, found)
	for i := range found.tokens {
		row, err := c.rowOf(r.Context(), p, &found.tokens[i])
		if err != nil {
			return answer{}, err
		}
		list.Tokens = append(list.Tokens, row)
	}
	// A link may be made up.
	if n, err := strconv.Atoi(values.Get("revoked")); err == nil && 0 < n && n <= found.revoked {
		list.Revoked = n
	}
	v := view{List: list}
	if values.Get("done") == "deleted" {
		v.Done = "deleted"
	}
	return page("list", v), nil
}

// rowOf returns the view of a token of the list.
func (c *console) rowOf(ctx context.Context, p Principal, t *httpkey.Token) (*tokenView, error) {
	now := time.Now()
	var successor *httpkey.Token
	if t.RotatedTo != "" && !hasEnded(*t, now) {
		var err error
		if successor, err = c.successor(ctx, p, *t); err != nil {
			return nil, err
		}
	}
	row := c.tokenView(p, *t, successor, now)
	old, err := c.replaced(ctx, p, t, now)
	if old != nil {
		row.Replaces = c.tokenView(p, *old, t, now)
	}
	return row, err
}

// listView is the list with its query.
type listView struct {
	Query    query
	Tokens   []*tokenView
	From, To int  // the numbers of the first and the last token; 0: not known, or there are no tokens
	Total    int  // how many tokens the query selects; at least so many if IsCut
	IsCut    bool // not all tokens were looked at
	Scanned  int  // how many were looked at, from the newest on, if IsCut; 0: those after an older one
	Filtered bool // the query does not select all tokens
	Revoked  int  // how many tokens were revoked just now; 0: say nothing

	// The choices of the query; an empty one is any. None: there is nothing to choose.
	Users, Workspaces []string
	Narrowed          bool // the query has more than a search: a status, a kind, an owner

	// The links to other pages, for after Root; empty: there is none.
	First, Prev, Next string
}

func newListView(p Principal, q query, found listing) *listView {
	l := &listView{Query: q, Total: found.total, IsCut: found.isCut, Scanned: found.scanned, Filtered: q.isFiltered()}
	if p.Admin || len(p.Workspaces) > 0 {
		l.Users = choices([]string{p.User, q.User})
		l.Workspaces = choices(append(slices.Clone(p.Workspaces), q.Workspace))
	}
	if len(found.tokens) > 0 && !found.isFar {
		l.From, l.To = found.before+1, found.before+len(found.tokens)
	}
	if !q.after.isStart() {
		l.First = q.at("").link()
	}
	if found.prev != "" {
		l.Prev = q.at(found.prev).link()
	}
	if found.next != "" {
		l.Next = q.at(found.next).link()
	}
	return l
}

// choices returns the values to choose from: any, and each of these once.
func choices(values []string) []string {
	all := []string{""}
	for _, value := range values {
		if !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	if len(all) == 1 {
		return nil
	}
	return all
}

// Statuses and Kinds are choices of the query, too.
func (listView) Statuses() []string    { return statuses }
func (listView) Kinds() []httpkey.Kind { return kinds }

// Reordered reports whether the list is not in its usual order.
func (l listView) Reordered() bool { return l.Query.Order != newestFirst }

// KeyPattern is the pattern of a search, which has no whole key in it.
func (listView) KeyPattern() string { return keyPattern }

// row is one of the table.
type row struct {
	*tokenView
	Nested bool // it stands under its successor
}

// Rows returns the tokens, each with the one that it replaces under it.
func (l listView) Rows() []row {
	var rows []row
	for _, t := range l.Tokens {
		rows = append(rows, row{t, false})
		if t.Replaces != nil {
			rows = append(rows, row{t.Replaces, true})
		}
	}
	return rows
}

// Revocable reports whether any of the tokens works.
func (l listView) Revocable() bool {
	return slices.ContainsFunc(l.Rows(), func(r row) bool { return !r.HasEnded })
}

// head is the head of a column.
type head struct {
	Field string
	Link  string // to the list ordered by Field, or in the reverse if it is; empty: it cannot be ordered by it
	Sort  string // how the list is ordered by Field: ascending, descending, or empty
}

// Heads returns the heads of the table.
func (l listView) Heads() []head {
	return []head{
		l.head("label", "label", "-label"),
		{Field: "key"},
		{Field: "scopes"},
		l.head("created_at", "-created_at", "created_at"),
		l.head("last_used", "-last_used", "last_used"),
		l.head("expired_at", "expired_at", "-expired_at"),
		{Field: "status"},
	}
}

// head returns the head of a column that has two orders; people want the first one first.
func (l listView) head(field, first, second string) head {
	h := head{Field: field, Link: l.Query.by(first).link()}
	if l.Query.Order == first {
		h.Link = l.Query.by(second).link()
	}
	switch l.Query.Order {
	case field:
		h.Sort = "ascending"
	case "-" + field:
		h.Sort = "descending"
	}
	return h
}

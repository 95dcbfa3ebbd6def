package console

import (
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

func (c *console) listPage(r *http.Request, p Principal) (answer, error) {
	values := r.URL.Query()
	q, err := c.parseQuery(values)
	if err != nil {
		return answer{}, err
	}
	found, err := c.list(r.Context(), p, q)
	if err != nil {
		return answer{}, err
	}
	list := newListView(q, found)
	now := time.Now()
	for _, t := range found.tokens {
		var successor *httpkey.Token
		if t.RotatedTo != "" && !hasEnded(t, now) {
			if successor, err = c.successor(r.Context(), p, t); err != nil {
				return answer{}, err
			}
		}
		list.Tokens = append(list.Tokens, c.tokenView(p, t, successor, now))
	}
	v := view{List: list}
	if values.Get("done") == "deleted" {
		v.Done = "deleted"
	}
	return page("list", v), nil
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
	Narrowed bool // the query has more than a search: a status, a kind, an owner

	// The links to other pages, for after Root; empty: there is none.
	First, Prev, Next string
}

func newListView(q query, found listing) *listView {
	l := &listView{Query: q, Total: found.total, IsCut: found.isCut, Scanned: found.scanned, Filtered: q.isFiltered()}
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

// Statuses, Kinds and Orders are the choices of a query.
func (listView) Statuses() []string    { return statuses }
func (listView) Kinds() []httpkey.Kind { return kinds }
func (listView) Orders() []string      { return orders }

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

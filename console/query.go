package console

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/httpkey/httpkey"
)

const (
	defaultPage = 50
	maxPage     = 100
	maxSearch   = 255 // characters
)

// query selects tokens of a Principal, and orders them. The zero values select all.
type query struct {
	Search    string       // a part of what the list shows
	Status    string       // one of statuses
	Kind      httpkey.Kind // one of kinds
	User      string       // the ID of the owner
	Workspace string       // its ID
	Order     string       // one of orders
	PerPage   int

	after place // where the page before it ended; zero: this is the first page
	pairs bool  // a token that was rotated and works is a part of its successor, if q selects both
}

// The values of a query, in the order in which the page offers them.
var (
	statuses = []string{"", "works", "care", "expiring", "unused", "ended"}
	kinds    = []httpkey.Kind{"", httpkey.APIKey, httpkey.ServiceToken}
)

// queryNames are the parameters of a list.
var queryNames = []string{"search", "status", "kind", "user", "workspace", "order_by", "per_page", "cursor"}

// parseQuery reads a query from the parameters of a URL.
func (c *console) parseQuery(values url.Values) (query, error) {
	q := query{
		Search:    strings.TrimSpace(values.Get("search")),
		Status:    values.Get("status"),
		Kind:      httpkey.Kind(values.Get("kind")),
		User:      strings.TrimSpace(values.Get("user")),
		Workspace: strings.TrimSpace(values.Get("workspace")),
		Order:     cmp.Or(values.Get("order_by"), newestFirst),
		PerPage:   defaultPage,
	}
	if keyShape.MatchString(q.Search) || keyShape.MatchString(q.User) || keyShape.MatchString(q.Workspace) {
		return query{}, errWholeKey
	}
	wrong := problems{}
	for field, text := range map[string]string{"search": q.Search, "user": q.User, "workspace": q.Workspace} {
		checkText(field, text, maxSearch, false, wrong)
	}
	choice := func(field, value string, ok bool) {
		if !ok {
			wrong.add(field, noChoice(value))
		}
	}
	choice("status", q.Status, slices.Contains(statuses, q.Status))
	choice("kind", string(q.Kind), slices.Contains(kinds, q.Kind))
	choice("order_by", q.Order, slices.Contains(orders, q.Order))
	if text := values.Get("per_page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			wrong.add("per_page", notFromOneTo(maxPage))
		}
		q.PerPage = n
	}
	if text := values.Get("cursor"); text != "" {
		after, err := parsePlace(text, q.Order)
		if err != nil {
			wrong.add("cursor", invalidCursor)
		}
		q.after = after
	}
	return q, wrong.asError()
}

// isFiltered reports whether q leaves out tokens.
func (q query) isFiltered() bool {
	return q.Search != "" || q.Status != "" || q.Kind != "" || q.User != "" || q.Workspace != ""
}

// at returns q for the page at a cursor; an empty one is the first page.
func (q query) at(cursor string) query {
	q.after = place{}
	if cursor != "" {
		q.after, _ = parsePlace(cursor, q.Order) // it is our own
	}
	return q
}

// by returns q for the first page in another order.
func (q query) by(order string) query {
	q.Order, q.after = order, place{}
	return q
}

// encode returns the parameters of a URL that parseQuery makes into q. It leaves out defaults.
func (q query) encode() string {
	values := url.Values{}
	for name, value := range map[string]string{
		"search": q.Search, "status": q.Status, "kind": string(q.Kind), "user": q.User, "workspace": q.Workspace,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if q.Order != newestFirst {
		values.Set("order_by", q.Order)
	}
	if q.PerPage != defaultPage {
		values.Set("per_page", strconv.Itoa(q.PerPage))
	}
	if !q.after.isStart() {
		values.Set("cursor", q.after.String())
	}
	return values.Encode()
}

// link returns the reference to q's page from any other page of the list.
func (q query) link() string { return "?" + q.encode() }

// filters returns the filters that select p's tokens of q's kind, user and workspace in a store.
// Several may select one token.
func (q query) filters(p Principal) []httpkey.Filter {
	var filters []httpkey.Filter
	for _, f := range p.filters(q.Kind) {
		f.User, f.Workspace = cmp.Or(f.User, q.User), cmp.Or(f.Workspace, q.Workspace)
		isWanted := (q.User == "" || f.User == q.User) && (q.Workspace == "" || f.Workspace == q.Workspace)
		if isWanted && !slices.Contains(filters, f) {
			filters = append(filters, f)
		}
	}
	return filters
}

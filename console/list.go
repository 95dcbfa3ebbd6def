package console

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
)

const (
	defaultPage = 50
	maxPage     = 100

	// maxScan bounds how many tokens one request looks at. A store lists the newest
	// first, so any other order is that of the newest ones.
	maxScan = 10_000
	// scanPage is how many a search reads at a time: it may find few among them.
	scanPage = 1000

	maxSearch = 255 // characters
)

// query selects tokens of a Principal, and orders them. The zero values select all,
// newest first.
type query struct {
	Status string // works, care or ended
	Kind   httpkey.Kind
	Search string // in label, description, user, workspace, scopes and hint, by ID or name, whatever the case
	Order  string // a key of orders

	search  string        // Search in lower case
	after   httpkey.Token // the last token of the page before, as far as Order looks at it
	perPage int
}

// The values of a query.
var (
	statuses = []string{"", "works", "care", "ended"}
	kinds    = []httpkey.Kind{"", httpkey.APIKey, httpkey.ServiceToken}
	// orderNames stand in the order in which the page offers them.
	orderNames = []string{"-created_at", "created_at", "label", "-last_used", "last_used", "expired_at"}
)

const newestFirst = "-created_at"

// orders compare two tokens. If they do not differ, the newer one is first.
var orders = map[string]func(a, b httpkey.Token) int{
	newestFirst:  func(a, b httpkey.Token) int { return a.Cursor().Compare(b.Cursor()) },
	"created_at": func(a, b httpkey.Token) int { return b.Cursor().Compare(a.Cursor()) },
	"label": func(a, b httpkey.Token) int {
		return cmp.Compare(strings.ToLower(a.Label), strings.ToLower(b.Label))
	},
	"-last_used": func(a, b httpkey.Token) int { return b.LastUsed.Compare(a.LastUsed) },
	"last_used":  func(a, b httpkey.Token) int { return a.LastUsed.Compare(b.LastUsed) },
	"expired_at": func(a, b httpkey.Token) int {
		if never := compareBool(a.ExpiredAt.IsZero(), b.ExpiredAt.IsZero()); never != 0 {
			return never
		}
		return a.ExpiredAt.Compare(b.ExpiredAt)
	},
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return +1
}

// queryNames are the parameters of a list.
var queryNames = []string{"search", "status", "kind", "order_by", "per_page", "cursor"}

// compare orders tokens as q has it.
func (q query) compare(a, b httpkey.Token) int {
	if order := orders[q.Order](a, b); order != 0 {
		return order
	}
	return a.Cursor().Compare(b.Cursor())
}

// parseQuery reads a query from the parameters of a URL.
func parseQuery(values url.Values) (query, error) {
	q := query{
		Status:  values.Get("status"),
		Kind:    httpkey.Kind(values.Get("kind")),
		Search:  strings.TrimSpace(values.Get("search")),
		Order:   cmp.Or(values.Get("order_by"), newestFirst),
		perPage: defaultPage,
	}
	q.search = strings.ToLower(q.Search)
	wrong := problems{}
	if utf8.RuneCountInString(q.Search) > maxSearch {
		wrong.addBound("search", "too_long", "Ensure this field has no more than %d characters.", maxSearch)
	}
	choice := func(field, value string, ok bool) {
		if !ok {
			wrong.add(field, "no_choice", fmt.Sprintf("%q is not a valid choice.", value))
		}
	}
	choice("status", q.Status, slices.Contains(statuses, q.Status))
	choice("kind", string(q.Kind), slices.Contains(kinds, q.Kind))
	choice("order_by", q.Order, orders[q.Order] != nil)
	if text := values.Get("per_page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			wrong.addBound("per_page", "out_of_range", "A whole number from 1 to %d is required.", maxPage)
		}
		q.perPage = n
	}
	if text := values.Get("cursor"); text != "" {
		after, err := parseCursor(text, q.Order)
		if err != nil {
			wrong.add("cursor", "invalid_cursor", "Invalid cursor.")
		}
		q.after = after
	}
	return q, wrong.asError()
}

// matches reports whether q selects t, which is a token of p and of q's Kind.
func (c *console) matches(q query, p Principal, t httpkey.Token, now time.Time) bool {
	switch q.Status {
	case "works":
		if hasEnded(t, now) {
			return false
		}
	case "care":
		if !c.needsCare(t, now) {
			return false
		}
	case "ended":
		if !hasEnded(t, now) {
			return false
		}
	}
	if q.search == "" {
		return true
	}
	texts := []string{t.Label, t.Description, t.Hint}
	for _, id := range append([]string{t.User, t.Workspace}, t.Scopes...) {
		texts = append(texts, id, p.name(id))
	}
	return strings.Contains(strings.ToLower(strings.Join(texts, "\n")), q.search)
}

// listing is a page of tokens.
type listing struct {
	tokens []httpkey.Token
	next   string // the cursor of the page after it; empty: there is none
	all    bool   // no token was left out
}

// list returns a page of p's tokens.
func (c *console) list(ctx context.Context, p Principal, q query) (listing, error) {
	read := c.newest
	if q.Order != newestFirst {
		read = c.sorted
	}
	page, err := read(ctx, p, q)
	if err != nil {
		return listing{}, c.failed(ctx, Event{Action: ActionRead, Principal: p, Err: err})
	}
	return page, nil
}

// newest lists in the order of the store, and stops as soon as the page is full.
func (c *console) newest(ctx context.Context, p Principal, q query) (listing, error) {
	var (
		now     = time.Now()
		page    = listing{all: true}
		last    httpkey.Token // the one before
		scanned int
		atATime = q.perPage + 1
	)
	if q.Status != "" || q.search != "" {
		atATime = scanPage
	}
	for t, err := range c.merged(ctx, p, q.Kind, q.after.Cursor(), atATime) {
		switch {
		case err != nil:
			return listing{}, err
		case len(page.tokens) == q.perPage && c.matches(q, p, t, now):
			page.next = q.cursor(page.tokens[len(page.tokens)-1])
			return page, nil
		case scanned == maxScan:
			page.next, page.all = q.cursor(last), false
			return page, nil
		case c.matches(q, p, t, now):
			page.tokens = append(page.tokens, t)
		}
		last = t
		scanned++
	}
	return page, nil
}

// sorted lists in another order: it looks at all tokens, and keeps the first ones.
func (c *console) sorted(ctx context.Context, p Principal, q query) (listing, error) {
	var (
		now     = time.Now()
		page    = listing{all: true}
		scanned int
	)
	for t, err := range c.merged(ctx, p, q.Kind, httpkey.Cursor{}, scanPage) {
		if err != nil {
			return listing{}, err
		}
		if scanned++; scanned > maxScan {
			page.all = false
			break
		}
		if c.matches(q, p, t, now) && (q.after.ID == "" || q.compare(q.after, t) < 0) {
			page.tokens = insert(page.tokens, t, q.perPage+1, q.compare)
		}
	}
	if len(page.tokens) > q.perPage {
		page.tokens = page.tokens[:q.perPage]
		page.next = q.cursor(page.tokens[q.perPage-1])
	}
	return page, nil
}

// insert puts t into a sorted page of at most so many tokens, if it belongs there.
func insert(page []httpkey.Token, t httpkey.Token, most int, compare func(a, b httpkey.Token) int) []httpkey.Token {
	if len(page) == most {
		if compare(page[most-1], t) <= 0 {
			return page
		}
		page = page[:most-1]
	}
	place, _ := slices.BinarySearchFunc(page, t, compare)
	return slices.Insert(page, place, t)
}

// merged yields the tokens of p after a place, newest first, each once; an empty kind
// means all. It reads atATime from each list, or fewer, so that all lists together are
// within maxScan. An error of the store is yielded last.
func (c *console) merged(
	ctx context.Context, p Principal, kind httpkey.Kind, after httpkey.Cursor, atATime int,
) iter.Seq2[httpkey.Token, error] {
	return func(yield func(httpkey.Token, error) bool) {
		var sources []*source
		filters := p.filters(kind)
		atATime = min(atATime, max(maxScan/max(len(filters), 1), 1))
		for _, filter := range filters {
			filter.After, filter.Limit = after, atATime
			sources = append(sources, &source{filter: filter})
		}
		for {
			var first *source
			for _, s := range sources {
				if err := s.fill(ctx, c.store); err != nil {
					yield(httpkey.Token{}, err)
					return
				}
				if len(s.page) > 0 && (first == nil || s.page[0].Cursor().Compare(first.page[0].Cursor()) < 0) {
					first = s
				}
			}
			if first == nil {
				return
			}
			t := first.page[0]
			for _, s := range sources {
				if len(s.page) > 0 && s.page[0].Cursor().Compare(t.Cursor()) == 0 {
					s.page = s.page[1:]
				}
			}
			if !yield(t, nil) {
				return
			}
		}
	}
}

// source is one list in a store, read page by page.
type source struct {
	filter httpkey.Filter
	page   []httpkey.Token // the rest of the page that was read last
	ended  bool            // there is no page after it
}

// fill reads the next page if nothing is left of this one.
func (s *source) fill(ctx context.Context, store httpkey.TokenStore) error {
	if len(s.page) > 0 || s.ended {
		return nil
	}
	page, err := store.List(ctx, s.filter)
	if err != nil {
		return err
	}
	s.page, s.ended = page, len(page) < s.filter.PageSize()
	if len(page) > 0 {
		s.filter.After = page[len(page)-1].Cursor()
	}
	return nil
}

// position is a token's place in an order, as a cursor has it.
type position struct {
	ID    string `json:"i"`
	At    int64  `json:"c"` // Unix microseconds
	Order string `json:"o"`
	Label string `json:"l,omitempty"`
	Used  int64  `json:"u,omitempty"`
	Ends  int64  `json:"e,omitempty"`
}

// cursor returns the place after t, for a URL. It stays good when t is deleted.
func (q query) cursor(t httpkey.Token) string {
	place := position{ID: t.ID, At: t.CreatedAt.UnixMicro(), Order: q.Order}
	switch q.Order {
	case "label":
		place.Label = t.Label
	case "last_used", "-last_used":
		place.Used = micros(t.LastUsed)
	case "expired_at":
		place.Ends = micros(t.ExpiredAt)
	}
	text, _ := json.Marshal(place) // of strings and numbers: it cannot fail
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseCursor(text, order string) (httpkey.Token, error) {
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return httpkey.Token{}, err
	}
	var place position
	if err := json.Unmarshal(decoded, &place); err != nil {
		return httpkey.Token{}, err
	}
	if place.ID == "" || place.Order != order {
		return httpkey.Token{}, errors.New("a cursor of another list")
	}
	return httpkey.Token{
		ID:        place.ID,
		Label:     place.Label,
		CreatedAt: time.UnixMicro(place.At).UTC(),
		LastUsed:  ofMicros(place.Used),
		ExpiredAt: ofMicros(place.Ends),
	}, nil
}

// micros is 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func ofMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

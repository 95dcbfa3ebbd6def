package console

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/httpkey/httpkey"
)

// listing is a page of tokens.
type listing struct {
	tokens     []httpkey.Token
	prev, next string // the cursors of the pages before and after it; empty: there is none

	before  int  // how many tokens come before the page
	total   int  // how many the query selects
	scanned int  // how many tokens the request has looked at
	isCut   bool // it has not looked at all, so total is not exact
	isFar   bool // the page is beyond those that it counts: before and total are not known
	revoked int  // how many of those that it has looked at were revoked just now
}

// justNow is how long a page says that tokens were revoked.
const justNow = time.Minute

// list returns a page of p's tokens.
func (c *console) list(ctx context.Context, p Principal, q query) (listing, error) {
	read := c.counted
	if q.after.IsFar {
		read = c.far
	}
	page, err := read(ctx, p, q)
	if err != nil {
		return listing{}, c.failed(ctx, Event{Action: ActionRead, Principal: p, Err: err})
	}
	return page, nil
}

// counted looks at all tokens, from the newest one on, and keeps those of the page. It also counts,
// and finds the page before.
func (c *console) counted(ctx context.Context, p Principal, q query) (listing, error) {
	var (
		wanted  = c.selection(p, q)
		all     = c.newScan(q.filters(p), httpkey.Cursor{}, scanPage)
		compare = comparison(q.Order)
		start   = q.after.token()
		page    = window{most: q.PerPage + 1, compare: compare}
		before  = window{most: q.PerPage + 1, compare: func(a, b *httpkey.Token) int { return compare(b, a) }}
		l       listing
	)
	for t, err := range all.tokens(ctx) {
		if err != nil {
			return listing{}, err
		}
		if wanted.now.Sub(t.RevokedAt) < justNow {
			l.revoked++
		}
		if !wanted.has(t) {
			continue
		}
		l.total++
		if q.after.isStart() || compare(start, t) < 0 {
			page.add(t)
		} else {
			before.add(t)
			l.before++
		}
	}
	if all.isCut && q.Order == newestFirst && !q.after.isStart() && compare(&all.last, start) < 0 {
		return c.far(ctx, p, q)
	}
	l.scanned, l.isCut = all.count, all.isCut
	l.tokens = page.tokens
	switch {
	case len(l.tokens) > q.PerPage:
		l.tokens = l.tokens[:q.PerPage]
		l.next = placeAfter(&l.tokens[q.PerPage-1], q.Order).String()
	case all.isCut && q.Order == newestFirst:
		l.next = farAfter(&all.last)
	}
	switch {
	case len(before.tokens) > q.PerPage:
		l.prev = placeAfter(&before.tokens[q.PerPage], q.Order).String()
	case len(before.tokens) > 0:
		l.prev = place{Order: q.Order}.String()
	}
	return l, nil
}

// far reads a page of the newest tokens that begins beyond those that counted looks at.
func (c *console) far(ctx context.Context, p Principal, q query) (listing, error) {
	atATime := scanPage
	if q.Search == "" && q.Status == "" {
		atATime = q.PerPage + 1
	}
	wanted := c.selection(p, q)
	rest := c.newScan(q.filters(p), q.after.token().Cursor(), atATime)
	l := listing{isCut: true, isFar: true}
	for t, err := range rest.tokens(ctx) {
		switch {
		case err != nil:
			return listing{}, err
		case !wanted.has(t):
		case len(l.tokens) == q.PerPage:
			l.next = farAfter(&l.tokens[q.PerPage-1])
			return l, nil
		default:
			l.tokens = append(l.tokens, *t)
		}
	}
	if rest.isCut {
		l.next = farAfter(&rest.last)
	}
	return l, nil
}

// farAfter returns the cursor of a far page.
func farAfter(t *httpkey.Token) string {
	after := placeAfter(t, newestFirst)
	after.IsFar = true
	return after.String()
}

// window keeps the first tokens of an order.
type window struct {
	most    int
	compare func(a, b *httpkey.Token) int
	tokens  []httpkey.Token // in order
}

// add puts t into its place, if it is one of the first.
func (w *window) add(t *httpkey.Token) {
	if len(w.tokens) == w.most {
		if w.compare(&w.tokens[w.most-1], t) <= 0 {
			return
		}
		w.tokens = w.tokens[:w.most-1]
	}
	index := sort.Search(len(w.tokens), func(i int) bool { return w.compare(&w.tokens[i], t) > 0 })
	w.tokens = slices.Insert(w.tokens, index, *t)
}

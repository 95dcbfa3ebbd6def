package console

import (
	"context"
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
	if err := c.checkSearch(ctx, p, q.Search); err != nil {
		return listing{}, err
	}
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
		start   = orderedBy(q.Order, q.after.token())
		page    = window{most: q.PerPage + 1, compare: compare}
		before  = window{most: q.PerPage + 1, compare: func(a, b *ordered) int { return compare(b, a) }}
		rotated = newPairs(wanted.now)
		t       ordered
		l       listing
	)
	for token, err := range all.tokens(ctx) {
		if err != nil {
			return listing{}, err
		}
		if wanted.now.Sub(token.RevokedAt) < justNow {
			l.revoked++
		}
		if !wanted.has(token) || q.pairs && rotated.isPart(token) {
			continue
		}
		l.total++
		t = orderedBy(q.Order, token)
		if q.after.isStart() || compare(&start, &t) < 0 {
			page.add(&t)
		} else {
			before.add(&t)
			l.before++
		}
	}
	if all.isCut && q.Order == newestFirst && all.last.Cursor().Compare(start.Cursor()) < 0 && !q.after.isStart() {
		return c.far(ctx, p, q)
	}
	l.scanned, l.isCut = all.count, all.isCut
	l.turn(q, page.tokens, before.tokens, &all.last)
	return l, nil
}

// turn fills in the page and the cursors of its neighbors. rest are the first tokens after the place
// of q, before the last ones before it, and last is the oldest that was looked at.
func (l *listing) turn(q query, rest, before []ordered, last *httpkey.Token) {
	for _, t := range rest[:min(len(rest), q.PerPage)] {
		l.tokens = append(l.tokens, t.Token)
	}
	switch {
	case len(rest) > q.PerPage:
		l.next = placeAfter(&rest[q.PerPage-1].Token, q.Order).String()
	case l.isCut && q.Order == newestFirst:
		l.next = farAfter(last)
	}
	switch {
	case len(before) > q.PerPage:
		l.prev = placeAfter(&before[q.PerPage].Token, q.Order).String()
	case len(before) > 0:
		l.prev = place{Order: q.Order}.String()
	}
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

package console

import (
	"context"
	"iter"
	"time"

	"github.com/httpkey/httpkey"
)

// These bound what one request looks at. A store lists the newest tokens first, so any other
// order is that of the newest ones.
const (
	maxScan = 10_000          // tokens
	maxText = 8 << 20         // bytes of their texts; to fold so much usually takes a quarter of a second
	maxTime = 2 * time.Second // some texts take a hundred times as long, as "ﷺ" becomes 18 letters
	// scanPage is how many tokens of a list it reads at a time.
	scanPage = 500
)

// scan reads the tokens of several lists in a store, newest first, each once, within the bounds of
// a request.
type scan struct {
	store   httpkey.TokenStore
	sources []*source
	atATime int // how many tokens of a list it reads at a time, at most

	count int           // of the tokens that it has yielded
	last  httpkey.Token // the last of them
	isCut bool          // there may be more tokens, which it has not yielded

	read, text int // tokens that it has read, and the bytes of their texts
}

// source is one list in a store, read page by page.
type source struct {
	filter httpkey.Filter
	page   []httpkey.Token // the rest of the page that was read last
	ended  bool            // there is no page after it
}

// newScan returns a scan of what filters select, after a place.
func (c *console) newScan(filters []httpkey.Filter, after httpkey.Cursor, atATime int) *scan {
	s := &scan{store: c.store, atATime: max(1, min(atATime, maxScan/max(1, len(filters))))}
	for _, filter := range filters {
		filter.After = after
		s.sources = append(s.sources, &source{filter: filter})
	}
	return s
}

// tokens yields the tokens. An error of the store is yielded last.
func (s *scan) tokens(ctx context.Context) iter.Seq2[*httpkey.Token, error] {
	return func(yield func(*httpkey.Token, error) bool) {
		start := time.Now()
		for {
			t, err := s.next(ctx)
			if err == nil { // a store in memory does not heed it
				err = ctx.Err()
			}
			switch {
			case err != nil:
				yield(nil, err)
				return
			case t == nil:
				return
			case s.count == maxScan, s.count > 0 && time.Since(start) > maxTime:
				s.isCut = true
				return
			}
			s.count++
			s.last = *t
			if !yield(&s.last, nil) {
				return
			}
		}
	}
}

// next returns the next token, or nil at the end.
func (s *scan) next(ctx context.Context) (*httpkey.Token, error) {
	var first *httpkey.Token
	for _, source := range s.sources {
		if len(source.page) == 0 && !source.ended {
			if s.text >= maxText && s.count > 0 { // at least one token, so that the next request begins after it
				s.isCut = true
				return nil, nil
			}
			if err := s.fill(ctx, source); err != nil {
				return nil, err
			}
		}
		if len(source.page) > 0 && (first == nil || source.page[0].Cursor().Compare(first.Cursor()) < 0) {
			first = &source.page[0]
		}
	}
	for _, source := range s.sources {
		if first != nil && len(source.page) > 0 && source.page[0].ID == first.ID {
			source.page = source.page[1:]
		}
	}
	return first, nil
}

// fill reads the next page of a source.
func (s *scan) fill(ctx context.Context, source *source) error {
	source.filter.Limit = s.pageSize()
	page, err := s.store.List(ctx, source.filter)
	if err != nil {
		return err
	}
	source.page, source.ended = page, len(page) < source.filter.PageSize()
	if len(page) > 0 {
		source.filter.After = page[len(page)-1].Cursor()
	}
	s.read += len(page)
	for i := range page {
		s.text += textSize(&page[i])
	}
	return nil
}

// pageSize returns how many tokens to read now, so that their texts fit into maxText if they are as
// long as those before.
func (s *scan) pageSize() int {
	if s.text == 0 {
		return s.atATime
	}
	return max(1, min(s.atATime, (maxText-s.text)/(s.text/s.read+1)))
}

// textSize returns the bytes of t's texts.
func textSize(t *httpkey.Token) int {
	n := len(t.ID) + len(t.Label) + len(t.Description) + len(t.User) + len(t.Workspace) + len(t.RevokedFor)
	for _, scope := range t.Scopes {
		n += len(scope)
	}
	for name, value := range t.Metadata {
		n += len(name) + len(value)
	}
	return n
}

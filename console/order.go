package console

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console/internal/legible"
)

// orders stand as the page offers them.
var orders = []string{
	newestFirst, "created_at", "label", "-label", "-last_used", "last_used", "expired_at", "-expired_at",
}

const newestFirst = "-created_at"

// ordered is a token with what an order compares.
type ordered struct {
	httpkey.Token
	label string // folded, for an order by label
}

func orderedBy(order string, t *httpkey.Token) ordered {
	if field, _ := fieldOf(order); field == "label" {
		return ordered{*t, legible.Fold(t.Label)}
	}
	return ordered{Token: *t}
}

func fieldOf(order string) (field string, descends bool) { return strings.CutPrefix(order, "-") }

// ascending compare tokens by a field.
var ascending = map[string]func(a, b *ordered) int{
	"created_at": func(a, b *ordered) int { return b.Cursor().Compare(a.Cursor()) },
	"label":      func(a, b *ordered) int { return strings.Compare(a.label, b.label) },
	"last_used":  func(a, b *ordered) int { return a.LastUsed.Compare(b.LastUsed) },
	"expired_at": func(a, b *ordered) int {
		if a.ExpiredAt.IsZero() || b.ExpiredAt.IsZero() { // never is the latest
			return b.ExpiredAt.Compare(a.ExpiredAt)
		}
		return a.ExpiredAt.Compare(b.ExpiredAt)
	},
}

// comparison returns how an order compares tokens. If they do not differ, the newer one is first.
func comparison(order string) func(a, b *ordered) int {
	field, descends := fieldOf(order)
	compare := ascending[field]
	return func(a, b *ordered) int {
		result := compare(a, b)
		if descends {
			result = -result
		}
		return cmp.Or(result, a.Cursor().Compare(b.Cursor()))
	}
}

// window keeps the first tokens of an order.
type window struct {
	most    int
	compare func(a, b *ordered) int
	tokens  []ordered // in order
}

// add puts t into its place, if it is one of the first.
func (w *window) add(t *ordered) {
	if len(w.tokens) == w.most {
		if w.compare(&w.tokens[w.most-1], t) <= 0 {
			return
		}
		w.tokens = w.tokens[:w.most-1]
	}
	index := sort.Search(len(w.tokens), func(i int) bool { return w.compare(&w.tokens[i], t) > 0 })
	w.tokens = slices.Insert(w.tokens, index, *t)
}

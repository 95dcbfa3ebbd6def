// Package paging reads lists page by page.
package paging

import "iter"

// All yields the items of every page. The function list returns the page of a query, and next the
// query for the page after an item. A page that is not full is the last one. All yields an error
// of list last.
func All[Q, T any](
	query Q, size int, list func(Q) ([]T, error), next func(Q, T) Q,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for query := query; ; {
			page, err := list(query)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page {
				if !yield(item, nil) {
					return
				}
			}
			if len(page) < size {
				return
			}
			query = next(query, page[len(page)-1])
		}
	}
}

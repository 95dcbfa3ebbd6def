package answer

import (
	"strconv"
	"sync/atomic"
)

const (
	pageLength = 255 // a page fills a size class of the allocator
	pages      = 512 // of 255 seconds, they last 36 hours
)

// Decimals shares the header values of numbers that recur or lie close together, such as limits
// and the seconds of the next day. It grows to 3.5 MB at most. The zero value is ready for use.
// It is safe for concurrent use.
type Decimals [pages]struct {
	page   atomic.Pointer[page]
	misses atomic.Uint64
}

// page holds the header values of numbers in a row. It is immutable.
type page struct {
	number uint64
	values [pageLength]string
}

// Header returns the header value of n. It allocates only where no page has n. A page gives way
// after as many misses as it has numbers. So making pages costs no more than those misses, even
// if numbers take turns that are far apart.
func (d *Decimals) Header(n int64) []string {
	number := uint64(n) / pageLength
	slot := &d[number%pages]
	p := slot.page.Load()
	if p == nil || p.number != number {
		if p != nil && slot.misses.Add(1)%pageLength != 0 {
			return []string{strconv.FormatInt(n, 10)}
		}
		p = newPage(number)
		slot.page.Store(p)
	}
	i := uint64(n) - number*pageLength
	return p.values[i : i+1 : i+1]
}

func newPage(number uint64) *page {
	p := &page{number: number}
	var (
		room [pageLength * len("1767225600")]byte
		ends [pageLength]int
	)
	digits := room[:0]
	for i := range ends {
		digits = strconv.AppendInt(digits, int64(number*pageLength+uint64(i)), 10)
		ends[i] = len(digits)
	}
	text, start := string(digits), 0 // one object for the garbage collector
	for i, end := range ends {
		p.values[i] = text[start:end]
		start = end
	}
	return p
}

// Header returns the header value of a number such as a length or a wait.
func Header(n int64) []string { return numbers.Header(n) }

var numbers Decimals

// Package digests remembers digests for a short time, in a fixed amount of memory.
package digests

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

const (
	places = 1 << 14 // 128 KB

	// Span is the longest time for which a Recent remembers a digest.
	Span = 30 * time.Second
)

// Recent remembers digests for up to Span. It may forget one earlier, for another digest in its
// place. The zero value is ready for use. It is safe for concurrent use.
type Recent [places]atomic.Uint64

// Add remembers a digest.
func (r *Recent) Add(digest [32]byte, now time.Time) {
	place, word := r.place(digest, now)
	place.Store(word)
}

// Has reports whether Add was called for a digest lately.
func (r *Recent) Has(digest [32]byte, now time.Time) bool {
	place, word := r.place(digest, now)
	return place.Load() == word
}

// place returns where a digest lies, and the word that stands for it in the Span of now. The next
// Span has another word, so that nothing needs to be removed.
func (r *Recent) place(digest [32]byte, now time.Time) (place *atomic.Uint64, word uint64) {
	span := uint64(now.UnixNano() / int64(Span))
	word = binary.LittleEndian.Uint64(digest[:]) ^ span*0x9e3779b97f4a7c15
	return &r[binary.LittleEndian.Uint16(digest[8:])%places], word
}

package ram

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/httpkey/httpkey/internal/gcra"
)

// record is a token in memory. It has two cache lines, and no pointers. The digest is in both, so
// that a search, which compares it, waits for both at once.
type record struct {
	digest [3]atomic.Uint64 // changes only under mu, and so does digestEnd

	mu       sync.Mutex // guards the fields below
	bucket   gcra.Bucket
	lastUsed int64 // Unix microseconds, or Null

	digestEnd atomic.Uint64
	expiredAt int64 // Unix microseconds, or Null
	createdAt int64 // Unix microseconds
	readAt    int64
	mark      uint64
	pause     uint32
	textAt    uint32 // in the text of the segment
	textSize  uint32

	until uint32 // the second at which the generations of the limiter turn
	claim uint32 // the number of the claim by which the bucket came here
	link  uint16 // the number of the Binding of the bucket; 0: there is no bucket here
	state State
	uses  uint8 // since the last visit of Table.Victim, up to maxUses
}

// Stamp is what a cache knows of a token, besides the token itself.
type Stamp struct {
	ReadAt int64  // when the cache read the token
	Mark   uint64 // of the changes that the cache had seen by then
	Pause  uint32 // from ReadAt to the moment at which the cache may read the token again
}

func (r *record) stamp() Stamp { return Stamp{r.readAt, r.mark, r.pause} }

func (r *record) setStamp(s Stamp) { r.readAt, r.mark, r.pause = s.ReadAt, s.Mark, s.Pause }

// is reports whether r has this digest, in constant time.
func (r *record) is(d *[32]byte) bool {
	differ := r.digestEnd.Load() ^ binary.LittleEndian.Uint64(d[24:])
	for i := range r.digest {
		differ |= r.digest[i].Load() ^ binary.LittleEndian.Uint64(d[8*i:])
	}
	return differ == 0
}

// holds reports whether r is the record of the token with this digest. The caller holds the
// mutex. A search that came without the mutex may have found a record that a writer has
// given to another token since.
func (r *record) holds(d *[32]byte) bool { return r.state != 0 && r.is(d) }

func (r *record) setDigest(d *[32]byte) {
	for i := range r.digest {
		r.digest[i].Store(binary.LittleEndian.Uint64(d[8*i:]))
	}
	r.digestEnd.Store(binary.LittleEndian.Uint64(d[24:]))
}

func (r *record) getDigest() (d [32]byte) {
	for i := range r.digest {
		binary.LittleEndian.PutUint64(d[8*i:], r.digest[i].Load())
	}
	binary.LittleEndian.PutUint64(d[24:], r.digestEnd.Load())
	return d
}

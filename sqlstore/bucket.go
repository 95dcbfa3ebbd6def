package sqlstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
)

// question is a charge on its way to a database.
type question struct {
	buckets []bucket // in the order of the charge's limits
	cost    int64
	forced  bool
	healed  bool // a bucket lay too far ahead, so that it must be written
}

// bucket is one limit of a question, and the row that counts it.
type bucket struct {
	charge.Item
	id    []byte
	state gcra.Bucket
}

func newQuestion(c *httpkey.Charge, items []charge.Item) *question {
	q := &question{buckets: make([]bucket, len(items)), cost: int64(c.Cost), forced: c.Forced}
	for i, item := range items {
		q.buckets[i] = bucket{Item: item, id: bucketID(c.Bucket, item.Name())}
	}
	return q
}

// bucketID returns the ID of a payer's bucket, which has a fixed length.
func bucketID(payer, name string) []byte {
	text := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(payer)+len(name)), uint64(len(payer)))
	text = append(append(text, payer...), name...)
	id := sha256.Sum256(text)
	return id[:]
}

// isOne reports whether one statement decides on q.
func (q *question) isOne() bool {
	b := &q.buckets[0]
	return len(q.buckets) == 1 && !b.IsQuota() && !q.forced && q.cost > 0 && b.Terms.HasRoom(0, q.cost)
}

// find returns the bucket of q with an ID, or nil.
func (q *question) find(id []byte) *bucket {
	for i := range q.buckets {
		if b := &q.buckets[i]; bytes.Equal(b.id, id) {
			return b
		}
	}
	return nil
}

// decide takes the cost from all buckets if all have room, and returns the decision on each.
func (q *question) decide(now int64) (each []httpkey.Result, enough bool) {
	rooms := make([]bool, len(q.buckets))
	enough = true
	for i := range q.buckets {
		rooms[i] = q.forced || q.buckets[i].Terms.HasRoom(q.buckets[i].owed(now), q.cost)
		enough = enough && rooms[i]
	}
	each = make([]httpkey.Result, len(q.buckets))
	for i := range q.buckets {
		b := &q.buckets[i]
		if enough {
			b.state.Charge(b.Terms, now, b.owed(now), q.cost)
		}
		each[i] = b.Result(b.Terms.Result(rooms[i], b.owed(now), q.cost))
	}
	return each, enough
}

// spare is how long the row of a quota outlives its day or month, for processes whose clocks
// are late.
const spare = time.Hour

// fullAt returns when a bucket that is so since now is full, in Unix microseconds of the
// database's clock, or later: from then on its row may be removed.
func (b *bucket) fullAt(now int64) int64 {
	switch {
	case b.IsQuota():
		return now + b.Terms.Left + spare.Microseconds()
	case b.state.Debt == 0:
		return now
	}
	return b.state.AsOf + (b.state.Debt-1)/b.state.Rate + 1
}

func (b *bucket) owed(now int64) int64 { return b.state.Owed(b.Terms, now) }

// answer returns the decision on n. The statement took n if the debt before left room for it.
func (b *bucket) answer(owed, n int64) httpkey.Result {
	allowed := b.Terms.HasRoom(owed, n)
	if allowed {
		owed = b.Terms.Charged(owed, n)
	}
	return b.Result(b.Terms.Result(allowed, owed, n))
}

// maxOwed is the greatest debt of a bucket: twice the capacity of the greatest limit.
const maxOwed = 1 << 62

// checked returns the state of a row, or gcra.ErrDamaged if no charge can have produced it.
func checked(s gcra.Bucket) (gcra.Bucket, error) {
	if s.Debt < 0 || s.Debt > maxOwed || s.AsOf < 0 || s.Rate < 0 || s.Rate > math.MaxInt32 || s.Rate == 0 && s.Debt > 0 {
		return gcra.Bucket{}, gcra.ErrDamaged
	}
	return s, nil
}

package notices

import (
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/properties"
)

// property is the name in [httpkey.Token.More]. The root package keeps it as it keeps a property of
// a later version, and may not use the name.
const property = "notices"

// claim says who tells an owner, and until when nobody else does.
type claim struct {
	by    string
	until time.Time
}

// mark is the property.
type mark struct {
	Expiry  time.Time     `json:"expiry"` // of the token
	Told    time.Duration `json:"told"`   // the shortest threshold of a notice, in nanoseconds; 0: none
	By      string        `json:"by"`     // the claim; empty: none
	Until   time.Time     `json:"until"`  // the end of the claim
	further string        // the other properties of the token
}

// read returns the mark of t. It is empty if the property is about another expiry. A successor has that
// of its predecessor, and may have the same expiry: then its life is shorter than all thresholds that
// the predecessor has reached.
func read(t *httpkey.Token) (mark, error) {
	var m mark
	further, err := properties.Fields{property: &m}.Read(t.More())
	if err != nil {
		return mark{}, err
	}
	if !m.Expiry.Equal(t.ExpiredAt) {
		m = mark{Expiry: t.ExpiredAt.UTC()}
	}
	m.further = further
	return m, nil
}

// write puts m into t.
func (m mark) write(t *httpkey.Token) error {
	more, err := properties.Fields{property: &m}.Write(m.further)
	if err != nil {
		return err
	}
	return t.SetMore(more)
}

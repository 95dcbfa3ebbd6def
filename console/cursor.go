package console

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// place is where a page of a list begins: after a token, of which it has what the order looks at.
// The zero place is the beginning of the list.
type place struct {
	ID      string `json:"i,omitempty"`
	Created int64  `json:"c,omitempty"` // Unix microseconds
	Order   string `json:"o"`
	Label   string `json:"l,omitempty"`
	Used    int64  `json:"u,omitempty"`
	Ends    int64  `json:"e,omitempty"`
	IsFar   bool   `json:"f,omitempty"` // a request does not look at all the tokens before it
}

// placeAfter returns the place after t in an order. It stays good when t is deleted.
func placeAfter(t *httpkey.Token, order string) place {
	p := place{ID: t.ID, Created: t.CreatedAt.UnixMicro(), Order: order}
	switch strings.TrimPrefix(order, "-") {
	case "label":
		p.Label = t.Label
	case "last_used":
		p.Used = micros(t.LastUsed)
	case "expired_at":
		p.Ends = micros(t.ExpiredAt)
	}
	return p
}

// parsePlace reads a cursor.
func parsePlace(cursor, order string) (place, error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return place{}, err
	}
	var p place
	if err := json.Unmarshal(text, &p); err != nil {
		return place{}, err
	}
	switch {
	case p == place{Order: order}:
		return place{}, nil
	case p.isStart(), p.Order != order, p.IsFar && order != newestFirst:
		return place{}, errors.New("a cursor of another list")
	}
	return p, nil
}

// isStart reports whether p is the beginning of the list.
func (p place) isStart() bool { return p.ID == "" }

// String returns p as a cursor, for a URL.
func (p place) String() string {
	text, _ := json.Marshal(p) // of strings and numbers: it cannot fail
	return base64.RawURLEncoding.EncodeToString(text)
}

// token returns the token that p is after, as far as the order looks at it.
func (p place) token() *httpkey.Token {
	return &httpkey.Token{
		ID: p.ID, Label: p.Label, CreatedAt: ofMicros(p.Created), LastUsed: ofMicros(p.Used), ExpiredAt: ofMicros(p.Ends),
	}
}

// micros is 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func ofMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

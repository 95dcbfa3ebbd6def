package redisstore

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/httpkey/httpkey"
)

// record is the JSON form of a token in Redis. It has no LastUsed, so that a Touch neither
// rewrites it nor disturbs an Update.
type record struct {
	ID          string       `json:"id"`
	Digest      []byte       `json:"digest"`
	Hint        string       `json:"hint,omitempty"`
	Kind        httpkey.Kind `json:"kind"`
	Label       string       `json:"label,omitempty"`
	Description string       `json:"description,omitempty"`
	User        string       `json:"user,omitempty"`
	Workspace   string       `json:"workspace,omitempty"`
	Scopes      []string     `json:"scopes,omitempty"`
	IsActive    bool         `json:"is_active"`
	ExpiredAt   time.Time    `json:"expired_at,omitzero"`
	CreatedAt   time.Time    `json:"created_at,omitzero"`
	RotatedFrom string       `json:"rotated_from,omitempty"`
	More        string       `json:"more,omitempty"` // see [httpkey.Token.More]

	// Limit is the single limit of a token from the first version. It is only read.
	Limit limit `json:"limit,omitzero"`
}

type limit struct {
	Rate   int           `json:"rate"`
	Burst  int           `json:"burst"`
	Period time.Duration `json:"period"` // nanoseconds
}

func encode(t httpkey.Token) (string, error) {
	text, err := json.Marshal(record{
		ID: t.ID, Digest: t.Digest[:], Hint: t.Hint, Kind: t.Kind, Label: t.Label, Description: t.Description,
		User: t.User, Workspace: t.Workspace, Scopes: t.Scopes, IsActive: t.IsActive,
		ExpiredAt: micros(t.ExpiredAt), CreatedAt: micros(t.CreatedAt), RotatedFrom: t.RotatedFrom, More: t.More(),
	})
	return string(text), err
}

// decode returns the token of a record and of the stamp of its last use, which may be nil.
func decode(text string, used any) (httpkey.Token, error) {
	var r record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return httpkey.Token{}, fmt.Errorf("httpkey: a damaged token in Redis: %w", err)
	}
	t := httpkey.Token{
		ID: r.ID, Hint: r.Hint, Kind: r.Kind, Label: r.Label, Description: r.Description,
		User: r.User, Workspace: r.Workspace, Scopes: r.Scopes, IsActive: r.IsActive,
		ExpiredAt: r.ExpiredAt, CreatedAt: r.CreatedAt, RotatedFrom: r.RotatedFrom,
	}
	if len(r.Digest) != len(t.Digest) {
		return httpkey.Token{}, fmt.Errorf("httpkey: a damaged token in Redis: its digest has %d bytes, not %d",
			len(r.Digest), len(t.Digest))
	}
	t.Digest = httpkey.Digest(r.Digest)
	if err := t.SetMore(r.More); err != nil {
		return httpkey.Token{}, fmt.Errorf("httpkey: a damaged token in Redis: %w", err)
	}
	if r.Limit != (limit{}) && len(t.Limits) == 0 {
		t.Limits = []httpkey.Limit{{Rate: r.Limit.Rate, Burst: r.Limit.Burst, Period: r.Limit.Period}}
	}
	if used, ok := used.(string); ok {
		at, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			return httpkey.Token{}, fmt.Errorf("httpkey: a damaged token in Redis: its last use: %w", err)
		}
		t.LastUsed = time.UnixMicro(at - yearOne).UTC()
	}
	return t, nil
}

func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// yearOne is the time from the zero time to the Unix epoch, in microseconds.
const yearOne = 62_135_596_800_000_000

// latest is the end of the year 9999, in microseconds since the zero time.
const latest = 315_537_897_600_000_000 - 1

// stamp returns t in microseconds since the zero time, as text that sorts as time does. It
// limits t to the years from 1 to 9999.
func stamp(t time.Time) string {
	at := int64(0)
	switch year := t.UTC().Year(); {
	case year > 9999:
		at = latest
	case year >= 1:
		at = t.UnixMicro() + yearOne
	}
	text := strconv.FormatInt(at, 10)
	return "000000000000000000"[min(len(text), 18):] + text
}

package sqlstore

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
)

// columns are those of httpkey_tokens, in the order of [row]: what an UPDATE
// changes first, then what it must not.
const (
	changing = "hint, kind, label, description, user_id, workspace_id, scopes, limit_rate, limit_burst, limit_period, is_active, expired_at, created_at, rotated_from"
	columns  = changing + ", id, digest, last_used"
)

var (
	placeholders = strings.TrimSuffix(strings.Repeat("?, ", strings.Count(columns, ",")+1), ", ")
	assignments  = strings.ReplaceAll(changing, ",", " = ?,") + " = ?"
)

// row is a token as it is stored. What is zero in a token, and may be, is NULL.
type row struct {
	hint, kind, label, description, user string
	workspace                            sql.Null[string]
	scopes                               string // a JSON array
	rate, burst, period                  sql.Null[int64]
	isActive                             bool
	expiredAt                            sql.Null[int64]
	createdAt                            int64
	rotatedFrom                          sql.Null[string]

	id       string
	digest   []byte
	lastUsed sql.Null[int64]
}

// changing returns what goes into the columns of the same name.
func (r *row) changing() []any {
	return []any{r.hint, r.kind, r.label, r.description, r.user, r.workspace, r.scopes, r.rate, r.burst, r.period,
		r.isActive, r.expiredAt, r.createdAt, r.rotatedFrom}
}

// values returns what goes into columns.
func (r *row) values() []any { return append(r.changing(), r.id, r.digest, r.lastUsed) }

// places returns where columns are scanned into.
func (r *row) places() []any {
	return []any{&r.hint, &r.kind, &r.label, &r.description, &r.user, &r.workspace, &r.scopes, &r.rate, &r.burst, &r.period,
		&r.isActive, &r.expiredAt, &r.createdAt, &r.rotatedFrom, &r.id, &r.digest, &r.lastUsed}
}

func rowOf(t *httpkey.Token) (*row, error) {
	scopes, err := json.Marshal(append([]string{}, t.Scopes...)) // [] where nil would be null
	if err != nil {
		return nil, fmt.Errorf("httpkey: write the scopes of a token: %w", err)
	}
	return &row{
		hint: t.Hint, kind: string(t.Kind), label: t.Label, description: t.Description,
		user: t.User, workspace: nullable(t.Workspace), scopes: string(scopes),
		rate: nullable(int64(t.Limit.Rate)), burst: nullable(int64(t.Limit.Burst)), period: nullable(t.Limit.Period.Microseconds()),
		isActive: t.IsActive, expiredAt: micros(t.ExpiredAt), createdAt: t.CreatedAt.UnixMicro(), rotatedFrom: nullable(t.RotatedFrom),
		id: t.ID, digest: t.Digest[:], lastUsed: micros(t.LastUsed),
	}, nil
}

func (r *row) token() (httpkey.Token, error) {
	t := httpkey.Token{
		ID: r.id, Hint: r.hint, Kind: httpkey.Kind(r.kind), Label: r.label, Description: r.description,
		User: r.user, Workspace: r.workspace.V,
		Limit:    httpkey.Limit{Rate: int(r.rate.V), Burst: int(r.burst.V), Period: time.Duration(r.period.V) * time.Microsecond},
		IsActive: r.isActive, ExpiredAt: moment(r.expiredAt), LastUsed: moment(r.lastUsed),
		CreatedAt: time.UnixMicro(r.createdAt).UTC(), RotatedFrom: r.rotatedFrom.V,
	}
	if copy(t.Digest[:], r.digest) != len(t.Digest) || len(r.digest) != len(t.Digest) {
		return httpkey.Token{}, fmt.Errorf("httpkey: read token %s: its digest has %d bytes, not %d", r.id, len(r.digest), len(t.Digest))
	}
	if r.scopes != "[]" {
		if err := json.Unmarshal([]byte(r.scopes), &t.Scopes); err != nil {
			return httpkey.Token{}, fmt.Errorf("httpkey: read the scopes of token %s: %w", r.id, err)
		}
	}
	return t, nil
}

// micros returns t as Unix microseconds, NULL if it is zero. The moment 0 of
// Unix is a time like any other.
func micros(t time.Time) sql.Null[int64] {
	return sql.Null[int64]{V: t.UnixMicro(), Valid: !t.IsZero()}
}

func moment(micros sql.Null[int64]) time.Time {
	if !micros.Valid {
		return time.Time{}
	}
	return time.UnixMicro(micros.V).UTC()
}

func nullable[T comparable](value T) sql.Null[T] {
	var zero T
	return sql.Null[T]{V: value, Valid: value != zero}
}

// isText reports whether a database can hold s as text. What is not text, as an
// ID from a URL may be, is nowhere in it; to ask would be an error of some of them.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

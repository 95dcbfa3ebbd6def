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

// The columns of httpkey_tokens, in the order of [row]. An UPDATE sets the first ones, and
// must not set the others.
const (
	changing = "hint, kind, label, description, user_id, workspace_id, scopes, " +
		"is_active, expired_at, created_at, rotated_from, more"
	columns = changing + ", id, digest, last_used"
)

var (
	placeholders = strings.TrimSuffix(strings.Repeat("?, ", strings.Count(columns, ",")+1), ", ")
	assignments  = strings.ReplaceAll(changing, ",", " = ?,") + " = ?"
)

// row is a row of httpkey_tokens. A nullable field is NULL for a zero value.
type row struct {
	hint, kind, label, description, user string
	workspace                            sql.Null[string]
	scopes                               string // a JSON array
	isActive                             bool
	expiredAt                            sql.Null[int64]
	createdAt                            int64
	rotatedFrom                          sql.Null[string]
	more                                 sql.Null[string] // see httpkey.Token.More

	id       string
	digest   []byte
	lastUsed sql.Null[int64]
}

// changing returns the arguments for the columns of the same name.
func (r *row) changing() []any {
	return []any{r.hint, r.kind, r.label, r.description, r.user, r.workspace, r.scopes,
		r.isActive, r.expiredAt, r.createdAt, r.rotatedFrom, r.more}
}

// values returns the arguments for all columns.
func (r *row) values() []any { return append(r.changing(), r.id, r.digest, r.lastUsed) }

// places returns the destinations of a Scan of all columns.
func (r *row) places() []any {
	return []any{&r.hint, &r.kind, &r.label, &r.description, &r.user, &r.workspace, &r.scopes,
		&r.isActive, &r.expiredAt, &r.createdAt, &r.rotatedFrom, &r.more, &r.id, &r.digest, &r.lastUsed}
}

func rowOf(t *httpkey.Token) (*row, error) {
	scopes, err := json.Marshal(append([]string{}, t.Scopes...)) // nil would become null
	if err != nil {
		return nil, fmt.Errorf("httpkey: write the scopes of a token: %w", err)
	}
	return &row{
		hint: t.Hint, kind: string(t.Kind), label: t.Label, description: t.Description,
		user: t.User, workspace: nullable(t.Workspace), scopes: string(scopes),
		isActive: t.IsActive, expiredAt: unixMicros(t.ExpiredAt), createdAt: t.CreatedAt.UnixMicro(),
		rotatedFrom: nullable(t.RotatedFrom), more: nullable(t.More()),
		id: t.ID, digest: t.Digest[:], lastUsed: unixMicros(t.LastUsed),
	}, nil
}

func (r *row) token() (httpkey.Token, error) {
	t := httpkey.Token{
		ID: r.id, Hint: r.hint, Kind: httpkey.Kind(r.kind), Label: r.label, Description: r.description,
		User: r.user, Workspace: r.workspace.V, IsActive: r.isActive,
		ExpiredAt: moment(r.expiredAt), LastUsed: moment(r.lastUsed),
		CreatedAt: time.UnixMicro(r.createdAt).UTC(), RotatedFrom: r.rotatedFrom.V,
	}
	if err := t.SetMore(r.more.V); err != nil {
		return httpkey.Token{}, fmt.Errorf("%w (token %s)", err, r.id)
	}
	if len(r.digest) != len(t.Digest) {
		return httpkey.Token{}, fmt.Errorf("httpkey: read token %s: its digest has %d bytes, not %d",
			r.id, len(r.digest), len(t.Digest))
	}
	t.Digest = httpkey.Digest(r.digest)
	if r.scopes != "[]" {
		if err := json.Unmarshal([]byte(r.scopes), &t.Scopes); err != nil {
			return httpkey.Token{}, fmt.Errorf("httpkey: read the scopes of token %s: %w", r.id, err)
		}
	}
	return t, nil
}

// unixMicros returns t in Unix microseconds, or NULL if t is zero. The Unix epoch is not
// NULL.
func unixMicros(t time.Time) sql.Null[int64] {
	return sql.Null[int64]{V: t.UnixMicro(), Valid: !t.IsZero()}
}

func moment(unixMicros sql.Null[int64]) time.Time {
	if !unixMicros.Valid {
		return time.Time{}
	}
	return time.UnixMicro(unixMicros.V).UTC()
}

func nullable[T comparable](value T) sql.Null[T] {
	var zero T
	return sql.Null[T]{V: value, Valid: value != zero}
}

// isText reports whether a database can hold s as text. An ID from a URL may not be text. No
// row has such an ID, and some databases return an error for it.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// Package pack converts tokens to entries of package ram and back.
package pack

import (
	"slices"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/ram"
)

// The indexes of the strings of a body.
const (
	id = iota
	hint
	kind
	label
	description
	user
	workspace
	rotatedFrom
	scopes // separated by blanks
)

// Entry returns a new entry of t. It shares no memory with t. The strings of t must not
// exceed 4 GB together.
func Entry(t httpkey.Token) *ram.Entry[httpkey.Token] {
	body, payer := pack(t)
	return ram.New(t.Digest, ram.Micros(t.LastUsed), payer, body)
}

// Copy is Entry for a cache of another store, which gets the uses by Touch.
func Copy(t httpkey.Token) *ram.Entry[httpkey.Token] {
	body, payer := pack(t)
	return ram.NewCopy(t.Digest, ram.Micros(t.LastUsed), payer, body)
}

// Body returns the body of an entry of t.
func Body(t httpkey.Token) *ram.Body[httpkey.Token] {
	b, _ := pack(t)
	return b
}

// pack returns the body and the payer of t, in one string if the payer ends in the ID.
func pack(t httpkey.Token) (b *ram.Body[httpkey.Token], payer string) {
	b = &ram.Body[httpkey.Token]{
		ExpiredAt: ram.Micros(t.ExpiredAt),
		CreatedAt: ram.Micros(t.CreatedAt),
		State:     ram.StateOf(t.IsActive, t.Kind == httpkey.ServiceToken, len(t.Limits) > 0 || len(t.Networks) > 0),
	}
	texts := [...]string{
		t.ID, t.Hint, string(t.Kind), t.Label, t.Description, t.User, t.Workspace, t.RotatedFrom, strings.Join(t.Scopes, " "),
	}
	if b.State&ram.Special != 0 || t.More() != "" || slices.ContainsFunc(t.Scopes, isNoWord) {
		full := t.Clone()
		b.Full = &full
		texts = [...]string{id: t.ID, rotatedFrom: t.RotatedFrom, scopes: ""}
	}
	end := 0
	for i, s := range texts {
		end += len(s)
		b.Ends[i] = uint32(end)
	}
	prefix, isOwn := strings.CutSuffix(t.Payer(), t.ID)
	if !isOwn {
		b.Text = strings.Join(texts[:], "")
		return b, prefix
	}
	text := prefix + strings.Join(texts[:], "")
	b.Text = text[len(prefix):]
	return b, text[:len(prefix)+len(t.ID)]
}

// isNoWord reports whether Text cannot hold a scope: an empty scope, or one with a blank,
// would come back as another list. No Guard issues such a scope.
func isNoWord(scope string) bool { return scope == "" || strings.Contains(scope, " ") }

// Token returns the present token of an entry. It shares no mutable memory with the entry.
func Token(e *ram.Entry[httpkey.Token]) httpkey.Token {
	b := e.Body()
	var t httpkey.Token
	if b.Full != nil {
		t = b.Full.Clone()
	} else {
		t = httpkey.Token{
			ID:          b.String(id),
			Hint:        b.String(hint),
			Kind:        httpkey.Kind(b.String(kind)),
			Label:       b.String(label),
			Description: b.String(description),
			User:        b.String(user),
			Workspace:   b.String(workspace),
			IsActive:    b.State&ram.Active != 0,
			ExpiredAt:   ram.Time(b.ExpiredAt),
			CreatedAt:   ram.Time(b.CreatedAt),
			RotatedFrom: b.String(rotatedFrom),
		}
		if text := b.String(scopes); text != "" {
			t.Scopes = strings.Split(text, " ")
		}
	}
	t.Digest = e.Digest()
	t.LastUsed = ram.Time(e.LastUsed())
	return t
}

// ID returns the ID of an entry's token.
func ID(e *ram.Entry[httpkey.Token]) string { return e.Body().String(id) }

// RotatedFrom returns the ID of the token that an entry's token succeeds.
func RotatedFrom(e *ram.Entry[httpkey.Token]) string { return e.Body().String(rotatedFrom) }

// Cursor returns the Cursor of an entry's token.
func Cursor(e *ram.Entry[httpkey.Token]) httpkey.Cursor {
	b := e.Body()
	return httpkey.Cursor{CreatedAt: ram.Time(b.CreatedAt), ID: b.String(id)}
}

// Package pack converts tokens to those of package ram and back.
package pack

import (
	"slices"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/ram"
)

// The places of the strings of a token, after its ID.
const (
	hint = iota
	kind
	label
	description
	user
	workspace
	rotatedFrom
	scopes // separated by blanks
)

// View is a token in memory at a moment.
type View = ram.View[httpkey.Token]

// Fields returns t in the form of package ram. It shares no memory with t. The strings of t
// must not exceed 4 GB together.
func Fields(t httpkey.Token) *ram.Fields[httpkey.Token] {
	f := &ram.Fields[httpkey.Token]{
		ExpiredAt: ram.Micros(t.ExpiredAt),
		CreatedAt: ram.Micros(t.CreatedAt),
		State:     ram.StateOf(t.IsActive, t.Kind == httpkey.ServiceToken, len(t.Limits) > 0 || len(t.Networks) > 0),
	}
	texts := ram.Others{
		t.Hint, string(t.Kind), t.Label, t.Description, t.User, t.Workspace, t.RotatedFrom, strings.Join(t.Scopes, " "),
	}
	if f.State&ram.Special != 0 || t.More() != "" || slices.ContainsFunc(t.Scopes, isNoWord) {
		full := t.Clone()
		f.Full = &full
		texts = ram.Others{rotatedFrom: t.RotatedFrom}
	}
	f.Text = ram.NewText(t.Payer(), t.ID, texts)
	return f
}

// isNoWord reports whether a Text cannot hold a scope: an empty scope, or one with a blank,
// would come back as another list. No Guard issues such a scope.
func isNoWord(scope string) bool { return scope == "" || strings.Contains(scope, " ") }

// Token returns the token of a View. It shares no mutable memory with it.
func Token(v View) httpkey.Token {
	var t httpkey.Token
	if v.Full != nil {
		t = v.Full.Clone()
	} else {
		texts := v.Text().Others()
		t = httpkey.Token{
			ID:          v.Text().ID(),
			Hint:        texts[hint],
			Kind:        httpkey.Kind(texts[kind]),
			Label:       texts[label],
			Description: texts[description],
			User:        texts[user],
			Workspace:   texts[workspace],
			IsActive:    v.State&ram.Active != 0,
			RotatedFrom: texts[rotatedFrom],
		}
		if text := texts[scopes]; text != "" {
			t.Scopes = strings.Split(text, " ")
		}
	}
	t.Digest = v.Digest
	t.ExpiredAt, t.CreatedAt, t.LastUsed = ram.Time(v.ExpiredAt), ram.Time(v.CreatedAt), ram.Time(v.LastUsed)
	return t
}

// RotatedFrom returns the ID of the token that a token succeeds.
func RotatedFrom(v View) string { return v.Text().Others()[rotatedFrom] }

// Cursor returns the Cursor of a token.
func Cursor(v View) httpkey.Cursor {
	return httpkey.Cursor{CreatedAt: ram.Time(v.CreatedAt), ID: v.Text().ID()}
}

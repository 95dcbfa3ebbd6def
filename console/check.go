package console

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console/internal/legible"
)

const (
	maxLabel       = 255 // characters, as in httpkey.Token
	maxReason      = 255
	maxDescription = 4096
	maxScopes      = 100
)

func checkLabel(label string, wrong problems) {
	switch {
	case wrong["label"] != nil:
	case strings.TrimSpace(label) == "":
		wrong.add("label", blank)
	case utf8.ValidString(label) && !legible.IsVisible(label):
		wrong.add("label", invisible)
	}
	checkText("label", label, maxLabel, false, wrong)
}

func checkDescription(description string, wrong problems) {
	checkText("description", description, maxDescription, true, wrong)
}

// checkText checks a text for people, which may have several lines.
func checkText(field, text string, most int, lines bool, wrong problems) {
	switch {
	case !utf8.ValidString(text):
		wrong.add(field, invalidText)
	case !legible.IsControlFree(text, lines):
		wrong.add(field, controlCharacter)
	case utf8.RuneCountInString(text) > most:
		wrong.add(field, tooLong(most))
	}
}

// checkKind admits an empty kind, which means an API key.
func checkKind(kind httpkey.Kind, wrong problems) {
	if kind != "" && kind != httpkey.APIKey && kind != httpkey.ServiceToken {
		wrong.add("kind", noChoice(string(kind)))
	}
}

// unique returns the scopes in the same order, each once. Of more than maxScopes it returns
// one too many, which shows that there are.
func unique(scopes []string) []string {
	var once []string
	for _, scope := range scopes {
		if len(once) <= maxScopes && !slices.Contains(once, scope) {
			once = append(once, scope)
		}
	}
	return once
}

// checkExpiry checks the expiry of a token that is created at a moment.
func (c *console) checkExpiry(at, created time.Time, wrong problems) {
	latest := created.Add(c.options.MaxLifetime)
	switch limited := c.options.MaxLifetime > 0; {
	case wrong["expired_at"] != nil:
	case at.IsZero() && limited:
		wrong.add("expired_at", mustExpire(latest))
	case at.IsZero():
	case !at.After(time.Now()):
		wrong.add("expired_at", past)
	case limited && at.After(latest):
		wrong.add("expired_at", tooLate(latest))
	}
}

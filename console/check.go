package console

import (
	"fmt"
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
		wrong.add("label", "blank", "This field may not be blank.")
	case utf8.ValidString(label) && !legible.IsVisible(label):
		wrong.add("label", "invisible", "This field needs a character that people can see.")
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
		wrong.add(field, "invalid_text", "Not a valid string.")
	case !legible.IsControlFree(text, lines):
		wrong.add(field, "control_character", "Control characters are not allowed.")
	case utf8.RuneCountInString(text) > most:
		wrong.addBound(field, "too_long", "Ensure this field has no more than %d characters.", most)
	}
}

// checkKind admits an empty kind, which means an API key.
func checkKind(kind httpkey.Kind, wrong problems) {
	if kind != "" && kind != httpkey.APIKey && kind != httpkey.ServiceToken {
		wrong.add("kind", "no_choice", fmt.Sprintf("%q is not a valid choice.", kind))
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

const notInFuture = "The expiry must be in the future."

// checkExpiry checks the expiry of a token that is created at a moment.
func (c *console) checkExpiry(at, created time.Time, wrong problems) {
	latest := created.Add(c.options.MaxLifetime)
	latestText := latest.UTC().Format(time.RFC3339)
	switch limited := c.options.MaxLifetime > 0; {
	case wrong["expired_at"] != nil:
	case at.IsZero() && limited:
		wrong.add("expired_at", "required", "A token may not live for ever. Give a time no later than "+latestText+".")
	case at.IsZero():
	case !at.After(time.Now()):
		wrong.add("expired_at", "past", notInFuture)
	case limited && at.After(latest):
		wrong.add("expired_at", "too_late", "The expiry must be no later than "+latestText+".")
	}
}

package console

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/httpkey/httpkey/console/internal/legible"
)

// tongue has the functions of templates that depend on the language of the texts.
type tongue struct {
	tag     language.Tag
	printer *message.Printer
}

// in makes t that of a language.
func (t *tongue) in(tag language.Tag) { t.tag, t.printer = tag, message.NewPrinter(tag) }

func (t *tongue) funcs() template.FuncMap {
	return template.FuncMap{"plural": t.plural, "number": t.number, "nth": nth}
}

// number returns n with the separators of the language.
func (t *tongue) number(n int) string { return t.printer.Sprintf("%d", n) }

// pluralForms are those that a language may have.
var pluralForms = []string{"zero", "one", "two", "few", "many", "other"}

// plural returns the text of the form that n demands, or of other if there is none, with n in
// place of each #. A form and its text alternate.
func (t *tongue) plural(n int, texts ...string) (string, error) {
	demanded, chosen, found := legible.PluralForm(t.tag, n), "", false
	for pair := range slices.Chunk(texts, 2) {
		switch form := pair[0]; {
		case !slices.Contains(pluralForms, form) || len(pair) < 2:
			return "", fmt.Errorf("plural wants a form, one of %s, and its text, in turn: it has %q",
				strings.Join(pluralForms, ", "), form)
		case form == demanded || form == "other" && !found:
			chosen, found = pair[1], form == demanded
		}
	}
	if !slices.Contains(texts, "other") {
		return "", fmt.Errorf("plural has no form other: %q", texts)
	}
	return strings.ReplaceAll(chosen, "#", t.number(n)), nil
}

// nth returns one of some texts, counted from 1.
func nth(n int, texts ...string) (string, error) {
	if n < 1 || n > len(texts) {
		return "", fmt.Errorf("nth has %d texts, and none for %d", len(texts), n)
	}
	return texts[n-1], nil
}

// languageOf returns the language in the name of a file of texts, such as texts.pt-BR.html.
func languageOf(file string) (language.Tag, bool) {
	name, isTexts := strings.CutPrefix(file, "texts.")
	name, isHTML := strings.CutSuffix(name, ".html")
	if !isTexts || !isHTML {
		return language.Und, false
	}
	tag, err := language.Parse(name)
	return tag, err == nil && tag.String() == name
}

// nearest returns the languages in which texts for a person may be, the best first: that of the
// person and what it derives from. Each has the name of its file. The last is "", texts.html.
func nearest(preferred string) []string {
	tag, err := language.Parse(preferred)
	if err != nil {
		return []string{""}
	}
	var names []string
	for ; !tag.IsRoot(); tag = tag.Parent() {
		names = append(names, tag.String())
	}
	return append(names, "")
}

package console

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"text/template/parse"
	"time"
	"unicode"

	"golang.org/x/text/language"

	"github.com/httpkey/httpkey"
)

// Every text that people read or hear is in texts.html, where a translator finds it.
func TestEveryTextIsInOneFile(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(embedded, "files/*.html")
	if err != nil || len(files) < 5 {
		t.Fatalf("the files are %v, %v", files, err)
	}
	for _, file := range files {
		if file == "files/texts.html" {
			continue
		}
		defined, err := parseDefinitions(embedded, file)
		if err != nil {
			t.Fatal(err)
		}
		for name, tree := range defined {
			if text := readable(tree.Root); text != "" {
				t.Errorf("%s: the definition %q has the text %q: move it to texts.html", file, name, text)
			}
		}
	}
}

func TestReadable(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`<p class="x">{{.Name}} · –</p>`:                            "",
		`<p class="x">Hello {{.Name}}</p>`:                          "Hello",
		`<p title="Hello {{.Name}}">`:                               "Hello",
		`<p title="{{template "x"}}" data-format="date">`:           "",
		`<a {{if .X}}aria-label="Hello"{{end}} href="y">`:           "Hello",
		`{{if .X}}<p>{{else}}<p data-done="Hello">{{end}}`:          "Hello",
		`{{with .X}}{{.}}{{else}}None{{end}}`:                       "None",
		`<p>{{or .X "None"}}</p>`:                                   "None",
		`<p>{{"None"}}</p>`:                                         "None",
		`<p id="{{if eq .X "none"}}a{{end}}">{{.Wrong "name"}}</p>`: "",
		`<p>&amp; &nbsp;</p>`:                                       "",
	} {
		if got := readable(parsed(t, source)); got != want {
			t.Errorf("%s has the text %q, want %q", source, got, want)
		}
	}
}

func parsed(t *testing.T, source string) *parse.ListNode {
	t.Helper()
	defined, err := parseDefinitions(fstest.MapFS{"f": {Data: []byte(`{{define "d"}}` + source + `{{end}}`)}}, "f")
	if err != nil {
		t.Fatal(err)
	}
	return defined["d"].Root
}

var (
	spoken  = regexp.MustCompile(`\s(?:title|alt|placeholder|label|aria-label|data-[a-z]+)="([^"]*)"`)
	silent  = regexp.MustCompile(`\sdata-(?:format|copy|save|scheme)="[^"]*"`)
	entity  = regexp.MustCompile(`&[a-z#0-9]+;`)
	letters = regexp.MustCompile(`\p{L}[\p{L} ,.:!?]*`)
)

// readable returns the first text in a template that people read or hear.
func readable(root *parse.ListNode) string {
	markup := silent.ReplaceAllString(markupOf(root), "")
	for _, attribute := range spoken.FindAllStringSubmatch(markup, -1) {
		if letters.MatchString(attribute[1]) {
			return strings.TrimSpace(letters.FindString(attribute[1]))
		}
	}
	return strings.TrimSpace(letters.FindString(entity.ReplaceAllString(tag.ReplaceAllString(markup, ""), "")))
}

// markupOf returns the markup of a template, both branches of each condition one after the other,
// and the texts that its actions write themselves.
func markupOf(node parse.Node) string {
	branch := func(b parse.BranchNode) string { return markupOf(b.List) + markupOf(b.ElseList) }
	switch node := node.(type) {
	case *parse.ListNode:
		var all strings.Builder
		if node != nil {
			for _, child := range node.Nodes {
				all.WriteString(markupOf(child))
			}
		}
		return all.String()
	case *parse.IfNode:
		return branch(node.BranchNode)
	case *parse.RangeNode:
		return branch(node.BranchNode)
	case *parse.WithNode:
		return branch(node.BranchNode)
	case *parse.TextNode:
		return string(node.Text)
	case *parse.ActionNode:
		var all strings.Builder
		for _, command := range node.Pipe.Cmds {
			_, isMethod := command.Args[0].(*parse.FieldNode)
			function, _ := command.Args[0].(*parse.IdentifierNode)
			if isMethod || function != nil && function.Ident == "asset" {
				continue // its arguments are names
			}
			for _, arg := range command.Args {
				if text, ok := arg.(*parse.StringNode); ok {
					all.WriteString(text.Text)
				}
			}
		}
		return all.String()
	}
	return ""
}

// A person reads the pages in their language, as far as there are texts for it.
func TestLanguages(t *testing.T) {
	t.Parallel()
	var p Principal
	options := &Options{
		Principal: func(*http.Request) (Principal, error) { return p, nil },
		Files: fstest.MapFS{
			"texts.html":       {Data: []byte(`{{define "product"}}Access keys{{end}}`)},
			"texts.de.html":    {Data: []byte(`{{define "product"}}Zugriffsschlüssel{{end}}`)},
			"texts.de-CH.html": {Data: []byte(`{{define "product"}}Zugriffs-Schlüssel{{end}}`)},
			"texts.pt-BR.html": {Data: []byte(`{{define "product"}}Chaves{{end}}`)},
			"texts.ar.html":    {Data: []byte(`{{define "product"}}مفاتيح{{end}}{{define "direction"}}rtl{{end}}`)},
			"list.html":        {Data: []byte(`{{define "list-lead"}}Hello{{end}}`)},
		},
	}
	s := &site{TB: t, handler: New(httpkey.New(newSite(t, Options{}).store, httpkey.Unlimited, nil), options)}
	for preferred, want := range map[string]string{
		"":           `<html lang="en" dir="ltr"> Access keys`,
		"en":         `<html lang="en" dir="ltr"> Access keys`,
		"fr":         `<html lang="en" dir="ltr"> Access keys`,
		"no tag":     `<html lang="en" dir="ltr"> Access keys`,
		"de":         `<html lang="de" dir="ltr"> Zugriffsschlüssel`,
		"de-AT":      `<html lang="de" dir="ltr"> Zugriffsschlüssel`,
		"DE_at":      `<html lang="de" dir="ltr"> Zugriffsschlüssel`,
		"de-CH":      `<html lang="de-CH" dir="ltr"> Zugriffs-Schlüssel`,
		"pt":         `<html lang="en" dir="ltr"> Access keys`,
		"pt-BR":      `<html lang="pt-BR" dir="ltr"> Chaves`,
		"ar-EG":      `<html lang="ar" dir="rtl"> مفاتيح`,
		"zh-Hant-TW": `<html lang="en" dir="ltr"> Access keys`,
	} {
		p = Principal{User: "ada", Language: preferred}
		body := s.page("", "/").Body.String()
		got := regexp.MustCompile(`<html[^>]*>`).FindString(body) + " " +
			textOf(regexp.MustCompile(`<h1>.*</h1>`).FindString(body))
		if got != want {
			t.Errorf("in %q it is %s, want %s", preferred, got, want)
		}
		if !strings.Contains(body, `<p class="lead">Hello</p>`) {
			t.Errorf("in %q a definition in another file is lost", preferred)
		}
	}
}

// Each language is tried at the start, and every definition must be of use.
func TestTextsAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	login := func(*http.Request) (Principal, error) { return Principal{}, nil }
	for _, tt := range []struct{ file, content, want string }{
		{"texts.de.html", `{{define "prodct"}}x{{end}}`, `texts.de.html defines "prodct", which no page uses`},
		{"texts.de.html", `{{define "prodct"}}x{{end}}`, `it may mean "product"`},
		{"texts.html", `{{define "list-leed"}}x{{end}}`, `it may mean "list-lead"`},
		{"list.html", `{{define "mian"}}x{{end}}`, `list.html defines "mian", which no page uses: it may mean "main"`},
		{"texts.de.html", `{{define "span"}}{{.NoUnit}}{{end}}`, "can't evaluate field NoUnit"},
		{"texts.de.html", `{{define "span"}}{{plural .N "one" "x"}}{{end}}`, "plural has no form other"},
		{"texts.de.html", `{{define "span"}}{{plural .N "on" "x" "other" "y"}}{{end}}`, `it has "on"`},
		{"texts.de.html", `{{define "span"}}{{plural .N "other"}}{{end}}`, `it has "other"`},
		{"texts.de.html", `{{define "month"}}{{nth . "Januar"}}{{end}}`, "nth has 1 texts"},
		{"texts.de.html", `{{define "product"}}x`, "texts.de.html"},
		{"texts.de.html", `{{define "product"}}{{nonsense}}{{end}}`, "nonsense"},
		{"texts.html", `{{define "language"}}English{{end}}`, `the definition language is "English"`},
		{"texts.german.html", ``, "no file texts.german.html"},
		{"texts.DE.html", ``, "no file texts.DE.html"},
		{"more/texts.de.html", ``, "no file more/texts.de.html"},
	} {
		files := fstest.MapFS{tt.file: {Data: []byte(tt.content)}}
		err := (&Options{Principal: login, Files: files}).Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "Files") {
			t.Errorf("%s %s: the error is %v, want Files and %q in it", tt.file, tt.content, err, tt.want)
		}
	}
	// A definition that another one uses is of use.
	files := fstest.MapFS{"texts.de.html": {Data: []byte(
		`{{define "product"}}{{template "our-product"}}{{end}}{{define "our-product"}}Schlüssel{{end}}`,
	)}}
	if err := (&Options{Principal: login, Files: files}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestPlural(t *testing.T) {
	t.Parallel()
	polish := []string{"one", "# dzień", "few", "# dni", "many", "# dni temu", "other", "# dnia"}
	for _, tt := range []struct {
		language string
		n        int
		texts    []string
		want     string
	}{
		{"en", 1, []string{"one", "# day", "other", "# days"}, "1 day"},
		{"en", 0, []string{"one", "# day", "other", "# days"}, "0 days"},
		{"en", 10_000, []string{"other", "# days", "one", "# day"}, "10,000 days"},
		{"de", 10_000, []string{"one", "ein Tag", "other", "# Tage"}, "10.000 Tage"},
		{"de", 1, []string{"other", "# Tage", "one", "ein Tag"}, "ein Tag"},
		{"pl", 1, polish, "1 dzień"},
		{"pl", 3, polish, "3 dni"},
		{"pl", 5, polish, "5 dni temu"},
		{"pl", 3, []string{"one", "# dzień", "other", "# dnia"}, "3 dnia"},
		{"en", 2, []string{"other", "# of #"}, "2 of 2"},
	} {
		var spoken tongue
		spoken.in(language.MustParse(tt.language))
		if got, err := spoken.plural(tt.n, tt.texts...); got != tt.want || err != nil {
			t.Errorf("%s, %d of %q: %q, %v; want %q", tt.language, tt.n, tt.texts, got, err, tt.want)
		}
	}
}

// Without a script, a page has the months and the order of its language, and names UTC.
func TestDatesOfALanguage(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"texts.de.html": {Data: []byte(`
		{{define "month"}}{{nth . "Januar" "Februar" "März" "April" "Mai" "Juni"
			"Juli" "August" "September" "Oktober" "November" "Dezember"}}{{end}}
		{{define "exact-text"}}{{.Format "2."}} {{template "month" .Month}} {{.Format "2006, 15:04:05 UTC"}}{{end}}
		{{define "date-text"}}{{.Format "2.1.2006"}}{{end}}`)}}
	l, err := lookOf(files)
	if err != nil {
		t.Fatal(err)
	}
	at := moment{time.Date(2026, 3, 7, 1, 2, 3, 0, time.FixedZone("", 7200)), time.Now()}
	for preferred, want := range map[string]map[string]string{
		"": {
			"date-text": "6 Mar 2026", "minute-text": "6 Mar 2026, 23:02 UTC", "exact-text": "6 March 2026, 23:02:03 UTC",
		},
		"de": {
			"date-text": "6.3.2026", "minute-text": "6.3.2026, 23:02 UTC", "exact-text": "6. März 2026, 23:02:03 UTC",
		},
	} {
		for name, text := range want {
			var got strings.Builder
			if err := l.page("list", preferred).ExecuteTemplate(&got, name, at); err != nil || got.String() != text {
				t.Errorf("%s of %q is %q, %v; want %q", name, preferred, &got, err, text)
			}
		}
	}
}

// Every time is a time element, which the script puts into the reader's zone.
func TestEveryTimeIsATimeElement(t *testing.T) {
	t.Parallel()
	for name, page := range ownPages(t) {
		for _, sample := range samples(time.Now()) {
			sample.Page = name
			var body strings.Builder
			if err := page.ExecuteTemplate(&body, "layout", sample); err != nil {
				t.Fatal(err)
			}
			for _, element := range regexp.MustCompile(`<time[^>]*>`).FindAllString(body.String(), -1) {
				if !regexp.MustCompile(`datetime="[^"]+" data-format="(date|minute|exact|relative)"`).MatchString(element) {
					t.Errorf("%s has %s", name, element)
				}
			}
			apart := regexp.MustCompile(`<time[^>]*>[^<]*</time>`).ReplaceAllString(body.String(), "")
			if found := regexp.MustCompile(`\d\d:\d\d| ago\b|just now`).FindString(textOf(apart)); found != "" {
				t.Errorf("%s has %q beside its time elements", name, found)
			}
		}
	}
}

func ownPages(t *testing.T) pages {
	t.Helper()
	own, err := ownLook()
	if err != nil {
		t.Fatal(err)
	}
	return own.pages[""]
}

// The texts are sentences, without a blank too many where they meet.
func TestTextsMeetWell(t *testing.T) {
	t.Parallel()
	for name, page := range ownPages(t) {
		for _, sample := range samples(time.Now()) {
			sample.Page = name
			var body strings.Builder
			if err := page.ExecuteTemplate(&body, "main", sample); err != nil {
				t.Fatal(err)
			}
			text := textOf(body.String())
			if found := regexp.MustCompile(`.{0,20}( [,.:?](\s|$)|\.\.|<no value>).{0,20}`).FindString(text); found != "" {
				t.Errorf("%s has %q", name, found)
			}
			if strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%s has a control character", name)
			}
		}
	}
}

// A text that no page shows would be translated in vain.
func TestEveryTextIsShown(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(embedded, "files/*.html")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"language": true, "direction": true} // by the frame of a program, too
	var texts definitions
	for _, file := range files {
		defined, err := parseDefinitions(embedded, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, tree := range defined {
			eachUse(tree.Root, func(name string) { used[name] = true })
		}
		if file == "files/texts.html" {
			texts = defined
		}
	}
	for name := range texts {
		if !used[name] {
			t.Errorf("no page shows the text %q", name)
		}
	}
}

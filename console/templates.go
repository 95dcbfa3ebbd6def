package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"
)

//go:embed files
var embedded embed.FS

// pageNames are the pages; each is a file that defines "title" and "main".
var pageNames = []string{"list", "new", "secret", "token", "rotate", "revoke", "delete", "bulk", "find", "failure"}

// look is how a console looks: its pages in each language of its texts, and its assets by path.
type look struct {
	pages  map[string]pages // by language; that of texts.html is ""
	assets map[string]asset
}

// pages are those of one language, by name.
type pages map[string]*template.Template

// page returns a page in the language that is nearest to that of a person.
func (l look) page(name, language string) *template.Template {
	for _, near := range nearest(language) {
		if found := l.pages[near]; found != nil {
			return found[name]
		}
	}
	return nil // never: the last is texts.html
}

// asset is a file that pages load. Its path changes with its content, so that a browser may
// keep it.
type asset struct {
	contentType string
	content     []byte
}

// lookOf returns the look of a console with files laid over its own; nil means none. It
// tries every page of it.
func lookOf(over fs.FS) (look, error) {
	if over == nil {
		return ownLook()
	}
	own, err := fs.Sub(embedded, "files")
	if err != nil {
		return look{}, err
	}
	if err := checkNames(over, own); err != nil {
		return look{}, err
	}
	if err := checkDefinitions(over, own); err != nil {
		return look{}, err
	}
	return newLook(own, over)
}

// ownLook returns the look without other files. It is made once, because that takes some
// milliseconds.
var ownLook = sync.OnceValues(func() (look, error) {
	own, err := fs.Sub(embedded, "files")
	if err != nil {
		return look{}, err
	}
	return newLook(own)
})

func newLook(layers ...fs.FS) (look, error) {
	l := look{pages: make(map[string]pages), assets: make(map[string]asset)}
	urls := make(map[string]string)
	for name, contentType := range map[string]string{
		"style.css": "text/css; charset=utf-8",
		"script.js": "text/javascript; charset=utf-8",
		"icon.svg":  "image/svg+xml",
	} {
		content, err := readAsset(layers, name)
		if err != nil {
			return look{}, err
		}
		sum := sha256.Sum256(content)
		urls[name] = fmt.Sprintf("%x-%s", sum[:6], name)
		l.assets["/"+urls[name]] = asset{contentType, content}
	}
	languages, err := languagesOf(layers)
	if err != nil {
		return look{}, err
	}
	for _, spoken := range languages {
		if l.pages[spoken], err = newPages(layers, spoken, urls); err != nil {
			return look{}, err
		}
	}
	return l, nil
}

// languagesOf returns the languages that have a file of texts, and "" for texts.html.
func languagesOf(layers []fs.FS) ([]string, error) {
	languages := []string{""}
	for _, layer := range layers {
		files, err := fs.Glob(layer, "texts.*.html")
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			tag, _ := languageOf(file)
			languages = append(languages, tag.String())
		}
	}
	return languages, nil
}

// newPages returns the pages with the texts of a language. urls are the paths of the assets.
func newPages(layers []fs.FS, spoken string, urls map[string]string) (pages, error) {
	all := make(pages)
	for _, name := range pageNames {
		page, err := newPage(layers, name, spoken, urls)
		if err != nil {
			return nil, err
		}
		all[name] = page
	}
	return all, nil
}

// newPage returns a page with the texts of a language, and has tried it.
func newPage(layers []fs.FS, name, spoken string, urls map[string]string) (*template.Template, error) {
	t := &tongue{}
	page := template.New("").Funcs(t.funcs()).
		Funcs(template.FuncMap{"asset": func(name string) string { return urls[name] }})
	for _, layer := range layers {
		if err := parseLayer(page, layer, "layout.html", "texts.html", "parts.html", "usage.html", name+".html"); err != nil {
			return nil, err
		}
	}
	if spoken != "" {
		if _, err := page.New("language").Parse(`{{define "language"}}` + spoken + `{{end}}`); err != nil {
			return nil, err
		}
		for _, layer := range layers {
			if err := parseLayer(page, layer, "texts."+spoken+".html"); err != nil {
				return nil, err
			}
		}
	}
	var defined strings.Builder
	if err := page.ExecuteTemplate(&defined, "language", nil); err != nil {
		return nil, err
	}
	tag, err := language.Parse(strings.TrimSpace(defined.String()))
	if err != nil {
		return nil, fmt.Errorf("the definition language is %q: %w", &defined, err)
	}
	t.in(tag)
	return page, try(name, page)
}

// checkNames refuses a file that none of ours has the name of, and that is no file of texts in
// another language.
func checkNames(over, own fs.FS) error {
	return fs.WalkDir(over, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if _, ok := languageOf(name); ok {
			return nil
		}
		if _, err := fs.Stat(own, name); err != nil {
			return fmt.Errorf("the console has no file %s that it could be laid over", name)
		}
		return nil
	})
}

// readAsset returns the content of a file in the last layer that has it. A stylesheet has
// the content of all layers, because later rules override earlier ones.
func readAsset(layers []fs.FS, name string) ([]byte, error) {
	var all []byte
	for _, layer := range layers {
		content, err := fs.ReadFile(layer, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case name == "style.css":
			all = append(all, content...)
		default:
			all = content
		}
	}
	return all, nil
}

// parseLayer adds the definitions of a layer's files to a page, in place of those of the same
// names.
func parseLayer(page *template.Template, layer fs.FS, names ...string) error {
	for _, name := range names {
		content, err := fs.ReadFile(layer, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			_, err = page.New(name).Parse(string(content))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// try executes a page on samples, so that a template that does not fit fails in New.
func try(name string, page *template.Template) error {
	all := samples(time.Now())
	for i := range all {
		all[i].Page = name
		if err := page.ExecuteTemplate(io.Discard, "layout", all[i]); err != nil {
			return err
		}
	}
	_, err := frame(page, all[0])
	return err
}

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Type", a.contentType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}

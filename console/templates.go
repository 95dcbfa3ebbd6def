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
	"sync"
	"time"
)

//go:embed files
var embedded embed.FS

// pageNames are the pages; each is a file that defines "title" and "main".
var pageNames = []string{"list", "new", "secret", "token", "rotate", "revoke", "delete", "bulk", "find", "failure"}

// look is how a console looks: its pages by name, and its assets by path.
type look struct {
	pages  map[string]*template.Template
	assets map[string]asset
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
	l := look{pages: make(map[string]*template.Template), assets: make(map[string]asset)}
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
	for _, name := range pageNames {
		page := template.New(name).Funcs(template.FuncMap{"asset": func(name string) string { return urls[name] }})
		for _, layer := range layers {
			if err := parse(page, layer, "layout.html", "texts.html", "parts.html", name+".html"); err != nil {
				return look{}, err
			}
		}
		if err := try(page); err != nil {
			return look{}, err
		}
		l.pages[name] = page
	}
	return l, nil
}

// checkNames refuses a file that none of ours has the name of.
func checkNames(over, own fs.FS) error {
	return fs.WalkDir(over, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
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

// parse adds the definitions of a layer's files to a page, in place of those of the same
// names.
func parse(page *template.Template, layer fs.FS, names ...string) error {
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
func try(page *template.Template) error {
	for _, sample := range samples(time.Now()) {
		if err := page.ExecuteTemplate(io.Discard, "layout", sample); err != nil {
			return err
		}
		if _, err := frame(page, sample); err != nil {
			return err
		}
	}
	return nil
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

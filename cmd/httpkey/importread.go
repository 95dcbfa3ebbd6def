package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// record is a key as a file of an import writes it.
type record struct {
	Key         string            `json:"key"`
	Digest      string            `json:"digest"`
	ID          string            `json:"id"`
	Kind        string            `json:"kind"`
	Label       string            `json:"label"`
	Description string            `json:"description"`
	User        string            `json:"user"`
	Workspace   string            `json:"workspace"`
	Scopes      []string          `json:"scopes"`
	Networks    []string          `json:"networks"`
	Limits      []string          `json:"limits"`
	ExpiredAt   string            `json:"expired_at"`
	CreatedAt   string            `json:"created_at"`
	LastUsed    string            `json:"last_used"`
	RevokedAt   string            `json:"revoked_at"`
	RevokedFor  string            `json:"revoked_for"`
	IsActive    *bool             `json:"is_active"`
	Metadata    map[string]string `json:"metadata"`
}

// reader returns the function that reads a format.
func reader(format, file string) (func(io.Reader) ([]line, error), error) {
	switch cmp.Or(format, strings.TrimPrefix(filepath.Ext(file), ".")) {
	case "csv":
		return readCSV, nil
	case "jsonl", "ndjson":
		return readJSONLines, nil
	}
	return nil, wrong("say which format the file has: --format csv or --format jsonl")
}

// columns set the fields of a record from a cell of CSV.
var columns = map[string]func(*record, string) error{
	"key":         text(func(r *record) *string { return &r.Key }),
	"digest":      text(func(r *record) *string { return &r.Digest }),
	"id":          text(func(r *record) *string { return &r.ID }),
	"kind":        text(func(r *record) *string { return &r.Kind }),
	"label":       text(func(r *record) *string { return &r.Label }),
	"description": text(func(r *record) *string { return &r.Description }),
	"user":        text(func(r *record) *string { return &r.User }),
	"workspace":   text(func(r *record) *string { return &r.Workspace }),
	"scopes":      words(func(r *record) *[]string { return &r.Scopes }),
	"networks":    words(func(r *record) *[]string { return &r.Networks }),
	"limits":      words(func(r *record) *[]string { return &r.Limits }),
	"expired_at":  text(func(r *record) *string { return &r.ExpiredAt }),
	"created_at":  text(func(r *record) *string { return &r.CreatedAt }),
	"last_used":   text(func(r *record) *string { return &r.LastUsed }),
	"revoked_at":  text(func(r *record) *string { return &r.RevokedAt }),
	"revoked_for": text(func(r *record) *string { return &r.RevokedFor }),
	"is_active":   setActive,
	"metadata":    setMetadata,
}

func text(field func(*record) *string) func(*record, string) error {
	return func(r *record, cell string) error {
		*field(r) = cell
		return nil
	}
}

func words(field func(*record) *[]string) func(*record, string) error {
	return func(r *record, cell string) error {
		*field(r) = strings.Fields(cell)
		return nil
	}
}

func setActive(r *record, cell string) error {
	switch strings.ToLower(cell) {
	case "":
		return nil
	case "true", "t", "1", "yes":
		r.IsActive = new(true)
	case "false", "f", "0", "no":
		r.IsActive = new(false)
	default:
		return errors.New("is_active must be true or false")
	}
	return nil
}

func setMetadata(r *record, cell string) error {
	if cell == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(cell), &r.Metadata); err != nil {
		return errors.New(`metadata must be a JSON object of texts, as {"plan":"team"}`)
	}
	return nil
}

// readCSV reads the lines of a CSV file. The error is about the file as a whole.
func readCSV(input io.Reader) ([]line, error) {
	r := csv.NewReader(withoutMark(input))
	r.FieldsPerRecord = -1 // each line has an error of its own
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	seen := map[string]bool{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		if columns[name] == nil || seen[name] { // a file without a header may have a key here
			return nil, fmt.Errorf("column %d of the header has no known name, or that of another column; the names are %s",
				i+1, strings.Join(sortedKeys(columns), ", "))
		}
		header[i], seen[name] = name, true
	}
	var lines []line
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil { // what follows cannot be told apart any more
			return nil, fmt.Errorf("the file is no CSV: %w", err)
		}
		number, _ := r.FieldPos(0)
		lines = append(lines, readCells(number, header, cells))
	}
}

func readCells(number int, header, cells []string) line {
	if len(cells) != len(header) {
		return line{number: number, err: fmt.Errorf("it has %d columns, the header has %d", len(cells), len(header))}
	}
	var r record
	for i, cell := range cells {
		if err := columns[header[i]](&r, strings.TrimSpace(cell)); err != nil {
			return line{number: number, err: err}
		}
	}
	return r.line(number)
}

// readJSONLines reads a file with a JSON object on each line. Empty lines do not count.
func readJSONLines(input io.Reader) (lines []line, err error) {
	r := bufio.NewReader(withoutMark(input))
	for number := 1; ; number++ {
		row, err := r.ReadBytes('\n')
		if trimmed := bytes.TrimSpace(row); len(trimmed) > 0 {
			lines = append(lines, readObject(number, trimmed))
		}
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func readObject(number int, row []byte) line {
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.DisallowUnknownFields()
	var r record
	err := decoder.Decode(&r)
	if err == nil && decoder.More() {
		err = errors.New("there is more behind the object")
	}
	if err != nil {
		return line{number: number, err: fmt.Errorf("it is no JSON object of the known properties: %w", harmless(err))}
	}
	return r.line(number)
}

// withoutMark returns a Reader without the byte order mark that spreadsheets write.
func withoutMark(input io.Reader) io.Reader {
	r := bufio.NewReader(input)
	if mark, err := r.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = r.Discard(3) // it was peeked
	}
	return r
}

// quoted finds the values in an error.
var quoted = regexp.MustCompile(`"[^"]*"`)

// harmless returns an error without values of the file: in a shifted column, one may be a key.
func harmless(err error) error {
	if text := quoted.ReplaceAllString(err.Error(), `"…"`); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// line returns the key that r describes, or what is wrong with it.
func (r *record) line(number int) line {
	t, err := r.token()
	return line{number: number, secret: httpkey.Secret(r.Key), token: t, err: err}
}

func (r *record) token() (t httpkey.Token, err error) {
	t = httpkey.Token{
		ID: r.ID, Label: r.Label, Description: r.Description, User: r.User, Workspace: r.Workspace, Scopes: r.Scopes,
		Metadata: r.Metadata, RevokedFor: r.RevokedFor,
	}
	t.IsActive = r.IsActive == nil || *r.IsActive
	switch {
	case (r.Key == "") == (r.Digest == ""):
		return t, errors.New("it must have either a key or a digest")
	case r.Digest != "":
		if t.Digest, err = httpkey.ParseDigest(r.Digest); err != nil {
			return t, err
		}
	case !isImportable(r.Key):
		return t, fmt.Errorf("the key must have %d to 255 visible ASCII characters", shortestImported)
	}
	if t.Kind, err = parseKind(cmp.Or(r.Kind, string(httpkey.APIKey))); err != nil {
		return t, err
	}
	if t.Networks, err = parseAll[netip.Prefix](r.Networks, parseNetwork); err != nil {
		return t, err
	}
	if t.Limits, err = parseAll(r.Limits, parseLimit); err != nil {
		return t, err
	}
	for _, m := range []struct {
		name, text string
		to         *time.Time
	}{
		{"expired_at", r.ExpiredAt, &t.ExpiredAt}, {"created_at", r.CreatedAt, &t.CreatedAt},
		{"last_used", r.LastUsed, &t.LastUsed}, {"revoked_at", r.RevokedAt, &t.RevokedAt},
	} {
		if m.text == "" {
			continue
		}
		if *m.to, err = time.Parse(time.RFC3339, m.text); err != nil {
			return t, fmt.Errorf("%s must be a moment as 2027-01-31T12:00:00Z", m.name)
		}
	}
	return t, r.validate(t)
}

// validate returns what a store would refuse.
func (r *record) validate(t httpkey.Token) error {
	t.ID = cmp.Or(t.ID, "new")
	if t.ID == "." || t.ID == ".." || strings.Contains(t.ID, "/") || strings.ContainsFunc(t.ID, isControl) {
		return errors.New("the id must be a segment of a URL path")
	}
	if t.IsActive && t.RevokedFor != "" {
		return errors.New("revoked_for is set, so is_active must be false")
	}
	if err := t.Validate(); err != nil {
		return harmless(err)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// isImportable reports whether a Guard with ImportedMinLength accepts a key.
func isImportable(key string) bool {
	return len(key) >= shortestImported && len(key) <= 255 &&
		!strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

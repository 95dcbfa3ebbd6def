package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/httpkey/httpkey"
)

// oldKey is a key of another program.
const oldKey = "old-key-0123456789abcdef0123456789abcdef"

func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// file writes a file for an import, and returns its name.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An import of CSV and of JSON lines is checked first, is written on demand, and may be repeated.
// The keys work.
func TestImport(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"keys.csv": "\ufeffkey,digest,id,label,user,scopes,limits,networks," +
			"expired_at,created_at,is_active,revoked_for,metadata\n" +
			oldKey + ",,old-1,\"ci, main\",u-1,read write,60/minute 9/day,10.0.0.0/8," +
			"2030-01-01T00:00:00Z,1999-05-01T10:00:00+02:00,,," +
			`"{""plan"":""team""}"` + "\n" +
			"," + digest("another") + ",old-2,\"two\nlines\",,,,,,1999-04-01T00:00:00Z,false,it leaked,\n",
		"keys.jsonl": `{"key":"` + oldKey + `","id":"old-1","label":"ci, main","user":"u-1","scopes":["read","write"],` +
			`"limits":["60/minute","9/day"],"networks":["10.0.0.0/8"],"expired_at":"2030-01-01T00:00:00Z",` +
			`"created_at":"1999-05-01T10:00:00+02:00","metadata":{"plan":"team"}}` + "\n\n" +
			`{"digest":"` + digest("another") + `","id":"old-2","label":"two\nlines","is_active":false,` +
			`"created_at":"1999-04-01T00:00:00Z","revoked_for":"it leaked"}`,
	}
	for name, text := range files {
		for _, database := range databases {
			t.Run(name+" "+database, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShell(t, database)
					path := file(t, name, text)
					s.must("", "import", path)
					s.must("", "list")
					s.must("", "import", path, "--write")
					s.must("", "import", path, "--write")
					s.must("", "show", "old-1")
					s.must("", "show", "old-2")
					s.must(oldKey, "verify")
					s.run("another", "verify")
					golden(t, "import", strings.ReplaceAll(s.transcript(), path, "FILE"))
				})
			})
		}
	}
}

// The command says per line what is wrong, without a value of the line, and then writes nothing.
func TestImportOfWrongLines(t *testing.T) {
	t.Parallel()
	const header = "key,digest,kind,expired_at,limits,networks,is_active,metadata,id,scopes\n"
	good := oldKey + ",,,,,,,,,\n"
	for name, test := range map[string]struct{ text, want string }{
		"no key":        {header + good + ",,,,,,,,,\n", "line 3: it must have either a key or a digest"},
		"both":          {header + oldKey + "," + digest("a") + ",,,,,,,,\n", "line 2: it must have either"},
		"short key":     {header + "abc,,,,,,,,,\n", "line 2: the key must have 16 to 255"},
		"digest":        {header + "," + oldKey + ",,,,,,,,\n", "line 2: invalid token: "},
		"kind":          {header + oldKey + ",," + oldKey + ",,,,,,,\n", "line 2: the kind must be api_key or"},
		"moment":        {header + oldKey + ",,," + oldKey + ",,,,,,\n", "line 2: expired_at must be a moment"},
		"limit":         {header + oldKey + ",,,," + oldKey + ",,,,,\n", "line 2: a limit must be as 60/minute"},
		"network":       {header + oldKey + ",,,,," + oldKey + ",,,,\n", "line 2: a network must be as"},
		"is_active":     {header + oldKey + ",,,,,," + oldKey + ",,,\n", "line 2: is_active must be true or false"},
		"metadata":      {header + oldKey + ",,,,,,," + oldKey + ",,\n", "line 2: metadata must be a JSON object"},
		"id":            {header + oldKey + ",,,,,,,," + oldKey + "/,\n", "line 2: the id must be a segment"},
		"scope":         {header + oldKey + ",,,,,,,,,\"" + oldKey + "\"\"\"\n", "line 2: "},
		"few columns":   {header + oldKey + "\n", "line 2: it has 1 columns, the header has 10"},
		"twice":         {header + good + good, "line 3: it has the key or the id of line 2"},
		"no header":     {good + good, "column 1 of the header has no known name"},
		"no CSV":        {header + "\"" + oldKey + "\n", "the file is no CSV"},
		"empty":         {"", "the header: EOF"},
		"json":          {`{"key":"` + oldKey + `"`, "line 1: it is no JSON object"},
		"json type":     {`{"key":["` + oldKey + `"]}`, "line 1: it is no JSON object"},
		"json unknown":  {`{"` + oldKey + `":1}`, "line 1: it is no JSON object"},
		"json two":      {`{"key":"` + oldKey + `"} {}`, "line 1: it is no JSON object"},
		"json not true": {"\n" + `{"key":"` + oldKey + `","revoked_for":"x"}`, "line 2: revoked_for is set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t, "memory")
			format := "csv"
			if strings.HasPrefix(name, "json") {
				format = "jsonl"
			}
			code, out, messages := s.run(test.text, "import", "-", "--format", format, "--write")
			if code != exitFailure || !strings.Contains(messages, test.want) {
				t.Errorf("exit %d: %q, want %q", code, messages, test.want)
			}
			if strings.Contains(out+messages, oldKey) {
				t.Errorf("it shows a value of the line: %s", messages)
			}
			if listed := s.must("", "list"); listed != "" {
				t.Errorf("it wrote %s", listed)
			}
		})
	}
}

// A line whose key or ID another token has is wrong; the others are not lost.
func TestImportOverOthers(t *testing.T) {
	t.Parallel()
	s := newShell(t, "memory")
	s.must("key,id\n"+oldKey+",a\n", "import", "-", "--format=csv", "--write")
	for input, want := range map[string]string{
		"key,id\n" + oldKey + "2,a\n": "line 2: another key has this id",
		"key,id\n" + oldKey + ",b\n":  "line 2: the key is there already, with another id",
	} {
		code, _, messages := s.run(input, "import", "-", "--format=csv", "--write")
		if code != exitFailure || !strings.Contains(messages, want) {
			t.Errorf("exit %d: %s", code, messages)
		}
	}
	s.must("key\n"+oldKey+"\n"+oldKey+"2\n", "import", "-", "--format=csv", "--write")
	if listed := s.must("", "list"); strings.Count(listed, "\n") != 2 {
		t.Errorf("two keys should be there:\n%s", listed)
	}
}

// A key and a digest that are imported find the same token, under a pepper also.
func TestImportUnderPepper(t *testing.T) {
	t.Parallel()
	s := newShell(t, "memory")
	s.env = map[string]string{"HTTPKEY_PEPPER": strings.Repeat("p", 32)}
	_, _, messages := s.run(`{"key":"`+oldKey+`"}`+"\n"+`{"digest":"`+digest("another-key-of-old")+`"}`,
		"import", "-", "--format=jsonl", "--write")
	if !strings.Contains(messages, "Options.PreviousPeppers") {
		t.Errorf("it does not say what digests without the pepper need: %s", messages)
	}
	backend, err := s.open("", false)
	if err != nil {
		t.Fatal(err)
	}
	guard := httpkey.New(backend.Store, backend.Limiter, &httpkey.Options{
		Pepper: httpkey.Secret(strings.Repeat("p", 32)), PreviousPeppers: []httpkey.Secret{""}, ImportedMinLength: 16,
	})
	for _, key := range []string{oldKey, "another-key-of-old"} {
		if _, err := guard.Verify(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

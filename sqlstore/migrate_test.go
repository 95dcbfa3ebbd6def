package sqlstore

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestMigrationsAreAFileSystem(t *testing.T) {
	t.Parallel()
	var names []string
	for _, dialect := range dialects {
		files := Migrations(dialect.WithPrefix("acme_"))
		found, err := fs.Glob(files, "*")
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", dialect, found, err)
		}
		if err := fstest.TestFS(files, found...); err != nil {
			t.Errorf("%s: %v", dialect, err)
		}
		if names == nil {
			names = found
		}
		if !slices.Equal(names, found) {
			t.Errorf("%s has the migrations %v, another has %v", dialect, found, names)
		}
		for _, name := range found {
			text, err := fs.ReadFile(files, name)
			if err != nil || strings.Contains(string(text), "httpkey_") || !strings.Contains(string(text), "acme_") {
				t.Errorf("%s: %s does not have the prefix (%v):\n%s", dialect, name, err, text)
			}
		}
	}
}

var (
	statements = regexp.MustCompile(`^(CREATE|INSERT|ALTER|UPDATE|TRUNCATE|DROP|SET|PREPARE|EXECUTE|DEALLOCATE) `)
	repeatable = regexp.MustCompile(`IF NOT EXISTS|IF EXISTS|INSERT IGNORE|^(SET @\w+ =|PREPARE|EXECUTE|DEALLOCATE) `)
)

// A statement ends with a line's end, and with nothing else: goose and this package split there.
func TestMigrationsSplit(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		steps, err := readSteps(Migrations(dialect))
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range steps {
			for _, statement := range step.statements {
				body := withoutComments(statement)
				if strings.Contains(body, ";") || !statements.MatchString(body) {
					t.Errorf("%s, version %d: %q", dialect, i+1, body)
				}
				if dialect == MySQL && !repeatable.MatchString(body) {
					t.Errorf("%s, version %d: a statement that cannot be repeated: %s", dialect, i+1, statement)
				}
			}
		}
	}
}

func withoutComments(statement string) string {
	lines := strings.Split(statement, "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "--") })
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

func TestMigrationsAreNumbered(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{
		{"0002_a.up.sql"}, {"0001_a.up.sql", "0003_b.up.sql"}, {"a.sql"}, {"0001_a.up.sql", "0001_b.up.sql"},
	} {
		files := fstest.MapFS{}
		for _, name := range names {
			files[name] = &fstest.MapFile{Data: []byte("CREATE TABLE a (b INT);\n")}
		}
		if steps, err := readSteps(files); err == nil {
			t.Errorf("%v are read as %v", names, steps)
		}
	}
}

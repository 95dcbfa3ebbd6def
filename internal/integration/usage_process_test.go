package integration

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/usage"
)

const (
	usageProcesses = 8
	usageRounds    = 300 // of a process that is not killed; a request of each token
	usageInterval  = 500 * time.Millisecond
	// usageSlack is for a machine that is busy with other tests: the timer, and the write, come late.
	usageSlack = time.Second
)

// usageTokens are the tokens of all processes, and the reasons for which they are refused. A key is
// the ID twice. The limits are those of each process.
var usageTokens = map[string]httpkey.Token{
	"token-that-passes":    {Scopes: []string{"read"}, Limits: []httpkey.Limit{httpkey.PerHour(1_000_000)}},
	"token-over-its-limit": {Scopes: []string{"read"}, Limits: []httpkey.Limit{httpkey.PerDay(100)}},
	"token-without-scope":  {Limits: []httpkey.Limit{httpkey.PerHour(1_000_000)}},
	"token-that-is-ended":  {Scopes: []string{"read"}},
}

// usageMember is a process of these tests. The environment has it as JSON.
type usageMember struct {
	Driver, DSN, Prefix string // of a database, or
	Redis               string // the address of a server
	Log                 string // a file
	Endless             bool   // until it is killed
}

const usageMemberEnv = "HTTPKEY_USAGE_MEMBER"

// usageEntry is a line of a log.
type usageEntry struct {
	At     time.Time
	Kind   string                  // asks, got, adds, added
	ID     string                  `json:",omitempty"`
	Status int                     `json:",omitempty"`
	Counts map[string]usage.Counts `json:",omitempty"` // that are added
}

// usageLog is written at once, so that the kernel has each line when its process is killed.
type usageLog struct{ file *os.File }

func (l usageLog) write(e usageEntry) error {
	e.At = time.Now()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = l.file.Write(append(line, '\n'))
	return err
}

// loggedUsage is a store that logs what it is given.
type loggedUsage struct {
	usage.Store
	log usageLog
}

func (s loggedUsage) Add(ctx context.Context, deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
	counts := make(map[string]usage.Counts)
	for _, d := range deltas {
		c := counts[d.ID]
		c.Add(d.Counts)
		counts[d.ID] = c
	}
	if err := s.log.write(usageEntry{Kind: "adds", Counts: counts}); err != nil {
		return deltas, err
	}
	if rest, err := s.Store.Add(ctx, deltas, keep); err != nil {
		return rest, err
	}
	return nil, s.log.write(usageEntry{Kind: "added", Counts: counts})
}

// TestUsageMember is a process: it serves requests, and logs each before and after.
func TestUsageMember(t *testing.T) {
	text := os.Getenv(usageMemberEnv)
	if text == "" {
		t.Skip("it is started by the tests of usage")
	}
	var m usageMember
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(m.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	log := usageLog{file}
	recorder := usage.NewRecorder(loggedUsage{m.open(t), log}, &usage.Options{
		Interval: usageInterval, OnError: func(err error) { t.Error(err) },
	})
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Observers: []httpkey.Observer{recorder}, ImportedMinLength: 16,
	})
	for id, token := range usageTokens {
		token.ID, token.IsActive = id, id != "token-that-is-ended"
		if _, err := guard.Import(t.Context(), httpkey.Secret(id+id), token); err != nil {
			t.Fatal(err)
		}
	}
	api := guard.Handler(httpkey.RequireScope("read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	for round := 0; m.Endless || round < usageRounds; round++ {
		for id := range usageTokens {
			if err := log.write(usageEntry{Kind: "asks", ID: id}); err != nil {
				t.Fatal(err)
			}
			status := httpkeytest.Get(api, id+id).Code
			if err := log.write(usageEntry{Kind: "got", ID: id, Status: status}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Millisecond) // so that a process writes several times
	}
	if err := recorder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// open opens the store. The end of the process closes it.
func (m *usageMember) open(t *testing.T) usage.Store {
	t.Helper()
	if m.Redis != "" {
		return redisstore.NewUsage(connect(t, m.Redis, patientDial), nil)
	}
	db, err := sql.Open(m.Driver, m.DSN)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(2)
	dialect := map[string]sqlstore.Dialect{
		"pgx": sqlstore.PostgreSQL, "postgres": sqlstore.PostgreSQL, "mysql": sqlstore.MySQL, "sqlite": sqlstore.SQLite,
		"sqlite3": sqlstore.SQLite,
	}[m.Driver]
	return sqlstore.NewUsage(db, dialect.WithPrefix(m.Prefix))
}

func TestRedisUsageProcesses(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	testUsageProcesses(t, usageMember{Redis: server.address()})
}

func testSQLUsageProcesses(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	testUsageProcesses(t, usageMember{Driver: b.driver, DSN: tables.dsn + b.options, Prefix: tables.prefix})
}

// Eight processes count in one store, and one of them is killed. The store has what the logs of the others
// say, and of the killed one all but the last Interval.
func testUsageProcesses(t *testing.T, m usageMember) {
	dir := t.TempDir()
	var logs [usageProcesses]string
	var commands [usageProcesses]*exec.Cmd
	for i := range commands {
		logs[i] = filepath.Join(dir, fmt.Sprint(i))
		member := m
		member.Log, member.Endless = logs[i], i == 0
		commands[i] = startUsageMember(t, member)
	}
	eventually(t, time.Minute, func() error {
		if text, err := os.ReadFile(logs[0]); err != nil || bytes.Count(text, []byte(`"added"`)) < 3 {
			return fmt.Errorf("it has not written three times, %v", err)
		}
		return nil
	})
	time.Sleep(usageInterval / 2) // so that it is killed between two writes
	if err := commands[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killedAt := time.Now()
	_ = commands[0].Wait()
	for _, command := range commands[1:] {
		if err := command.Wait(); err != nil {
			t.Errorf("a process ended with %v:\n%s", err, command.Stdout)
		}
	}

	var want [usageProcesses]map[string]usage.Counts
	for i, log := range logs {
		want[i] = countsOfLog(readUsageLog(t, log))
	}
	killed := readUsageLog(t, logs[0])
	added, adding := addedByLog(killed)
	stored := m.open(t)
	kept := int64(0) // of the killed process
	for id := range usageTokens {
		got := lastDayOf(t, stored, id)
		var others usage.Counts
		for i := range want[1:] {
			others.Add(want[i+1][id])
		}
		if others.Requests() != (usageProcesses-1)*usageRounds {
			t.Errorf("the logs say %+v of %s, want %d requests", others, id, (usageProcesses-1)*usageRounds)
		}
		least := others
		least.Add(added[id])
		most := least
		most.Add(adding[id])
		if !sameCounts(got, least) && !sameCounts(got, most) {
			t.Errorf("%s has %+v, want %+v of the others and %+v of the killed process, which was adding %+v",
				id, got, others, added[id], adding[id])
		}
		kept += got.Requests() - others.Requests()
	}
	checkKilledUsage(t, killed, kept, killedAt)
}

// startUsageMember starts a process. The end of the test kills it.
func startUsageMember(t *testing.T, m usageMember) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "-test.run=^TestUsageMember$")
	command.Env = append(os.Environ(), usageMemberEnv+"="+string(text))
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	return command
}

func readUsageLog(t *testing.T, path string) (entries []usageEntry) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e usageEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// countsOfLog counts the answers in a log.
func countsOfLog(log []usageEntry) map[string]usage.Counts {
	counts := make(map[string]usage.Counts)
	for _, e := range log {
		if e.Kind != "got" {
			continue
		}
		c := counts[e.ID]
		c.Add(map[int]usage.Counts{
			http.StatusOK:              {Passed: 1, Cost: 1},
			http.StatusTooManyRequests: {Throttled: 1},
			// The limits take before a route asks for a scope.
			http.StatusForbidden:    {Refused: 1, Cost: 1, Reasons: map[httpkey.Reason]int64{httpkey.ReasonScope: 1}},
			http.StatusUnauthorized: {Refused: 1, Reasons: map[httpkey.Reason]int64{httpkey.ReasonInactive: 1}},
		}[e.Status])
		counts[e.ID] = c
	}
	return counts
}

// lastDayOf returns the counts of a token, of whose hours and days the sums are the same.
func lastDayOf(t *testing.T, store usage.Store, id string) usage.Counts {
	t.Helper()
	var sums [2]usage.Counts
	for i, step := range []time.Duration{usage.Hour, usage.Day} {
		intervals, err := store.Of(t.Context(), id, time.Now().Add(-usage.Day), time.Now().Add(usage.Hour), step)
		if err != nil {
			t.Fatal(err)
		}
		for _, interval := range intervals {
			sums[i].Add(interval.Counts)
		}
	}
	if !sameCounts(sums[0], sums[1]) {
		t.Errorf("%s has %+v in hours and %+v in days", id, sums[0], sums[1])
	}
	return sums[0]
}

// sameCounts does not tell an empty map from none.
func sameCounts(a, b usage.Counts) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// addedByLog returns what a process has added to the store, and what it may have added in an Add
// without an answer.
func addedByLog(log []usageEntry) (added, adding map[string]usage.Counts) {
	added = make(map[string]usage.Counts)
	for _, e := range log {
		switch e.Kind {
		case "adds":
			adding = e.Counts
		case "added":
			adding = nil
			for id, counts := range e.Counts {
				c := added[id]
				c.Add(counts)
				added[id] = c
			}
		}
	}
	return added, adding
}

// checkKilledUsage checks what the store has of a killed process.
func checkKilledUsage(t *testing.T, log []usageEntry, kept int64, killedAt time.Time) {
	t.Helper()
	var answered, due int64
	written := log[0].At
	for _, e := range log {
		switch e.Kind {
		case "got":
			answered++
			if e.At.Before(killedAt.Add(-usageInterval - usageSlack)) {
				due++
			}
		case "adds":
			if pause := e.At.Sub(written); pause > usageInterval+usageSlack {
				t.Errorf("the killed process has not written for %v", pause)
			}
			written = e.At
		}
	}
	if kept < due {
		t.Errorf("the store has %d requests of the killed process, which answered %d before the last Interval", kept, due)
	}
	if kept >= answered {
		t.Error("nothing was lost: the process was not killed between two writes")
	}
	t.Logf("%d of %d requests of the killed process were lost, of the last %v", answered-kept, answered, usageInterval)
}

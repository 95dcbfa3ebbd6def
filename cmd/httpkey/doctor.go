package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey"
)

// finding is what doctor says about one thing.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // good, warning or bad
	Detail string `json:"detail"`
}

const (
	good    = "good"
	warning = "warning"
	bad     = "bad"
)

func (a *app) doctor() *cobra.Command {
	return a.bare("doctor", "Check the database: tables, clock, settings, a write and a read", cobra.NoArgs,
		func(ctx context.Context, _ []string) error {
			s, err := a.begin(ctx, false)
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }() // the probes are over
			return s.writeFindings(s.examine(ctx))
		})
}

// examine runs all checks of the database.
func (s *session) examine(ctx context.Context) (findings []finding) {
	switch {
	case s.SQL != nil:
		tables := s.examineTables(ctx)
		findings = append(findings, tables, s.examineClock(ctx))
		if tables.Status == bad { // the probes need tables
			return findings
		}
	case s.Redis != nil:
		findings = append(findings, s.examineClock(ctx))
		findings = append(findings, s.examineRedis(ctx)...)
	}
	return append(findings, s.probeStore(ctx), s.probeLimiter(ctx))
}

func (s *session) writeFindings(findings []finding) error {
	out := newTable(s.out)
	failed := 0
	for _, f := range findings {
		f.Detail = s.line(errors.New(f.Detail))
		if f.Status == bad {
			failed++
		}
		if !s.json {
			out.row(f.Status, f.Check, f.Detail)
			continue
		}
		if err := s.writeJSON(f); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks found a fault", failed, len(findings))
	}
	return nil
}

func (s *session) examineTables(ctx context.Context) finding {
	if err := s.mustBeCurrent(ctx); err != nil {
		return finding{"tables", bad, err.Error()}
	}
	_, want, _ := s.schema(ctx) // it was read just now
	return finding{"tables", good, fmt.Sprintf("version %d of %s", want, s.Dialect)}
}

// clockQueries read the clock of a database in seconds since 1970. SQLite has the clock of the machine.
var clockQueries = map[string]string{
	"PostgreSQL": "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)",
	"MySQL":      "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) AS double)",
}

// mostSkew is the difference of clocks that does not matter.
const mostSkew = time.Second

func (s *session) examineClock(ctx context.Context) finding {
	read := s.redisClock
	if s.SQL != nil {
		query := clockQueries[s.Dialect.String()]
		if query == "" {
			return finding{"clock", good, "that of this machine"}
		}
		read = func(ctx context.Context) (time.Time, error) {
			var seconds float64
			err := s.SQL.QueryRowContext(ctx, query).Scan(&seconds)
			return time.UnixMicro(int64(seconds * 1e6)), err
		}
	}
	before := time.Now()
	theirs, err := read(ctx)
	return clockFinding(before, theirs, time.Now(), err)
}

func (s *session) redisClock(ctx context.Context) (time.Time, error) {
	return s.Redis.Time(ctx).Result()
}

// clockFinding judges a clock that was read between two moments of ours.
func clockFinding(before, theirs, after time.Time, err error) finding {
	if err != nil {
		return finding{"clock", bad, err.Error()}
	}
	skew := time.Duration(0)
	switch {
	case theirs.Before(before):
		skew = theirs.Sub(before)
	case theirs.After(after):
		skew = theirs.Sub(after)
	}
	if skew.Abs() > mostSkew {
		return finding{"clock", warning, fmt.Sprintf("that of the database differs by %v from this machine's: "+
			"keys expire, and quotas begin, at other moments", skew.Round(time.Millisecond))}
	}
	return finding{"clock", good, fmt.Sprintf("the difference is below %v", mostSkew)}
}

// examineRedis judges the settings of Redis. INFO serves where a provider forbids CONFIG.
func (s *session) examineRedis(ctx context.Context) []finding {
	memory, err := s.Redis.Info(ctx, "memory").Result()
	eviction := finding{"eviction", warning, fmt.Sprintf("maxmemory-policy cannot be read: %v", err)}
	if err == nil {
		eviction = evictionFinding(memory)
	}
	stored, err := s.Redis.Info(ctx, "persistence").Result()
	persistence := finding{"persistence", warning, fmt.Sprintf("it cannot be read: %v", err)}
	if err == nil {
		save, _ := s.Redis.ConfigGet(ctx, "save").Result() // none: a provider may forbid it
		persistence = persistenceFinding(stored, save)
	}
	return []finding{eviction, persistence}
}

// field returns a value of INFO; empty: there is none.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, isIt := strings.CutPrefix(strings.TrimSpace(line), name+":"); isIt {
			return value
		}
	}
	return ""
}

// evictionFinding judges what Redis does when its memory is full.
func evictionFinding(info string) finding {
	switch policy := field(info, "maxmemory_policy"); {
	case policy == "":
		return finding{"eviction", warning, "the server does not tell maxmemory-policy; it must be noeviction or volatile-*"}
	case strings.HasPrefix(policy, "allkeys"):
		return finding{"eviction", bad, "maxmemory-policy is " + policy +
			", so Redis may drop keys of your API: set noeviction or volatile-ttl"}
	default:
		return finding{"eviction", good, "maxmemory-policy is " + policy}
	}
}

// persistenceFinding judges what a restart of Redis keeps. save is the answer of CONFIG GET save.
func persistenceFinding(info string, save map[string]string) finding {
	snapshots, isKnown := save["save"]
	switch {
	case field(info, "aof_enabled") == "1":
		return finding{"persistence", good, "appendonly is on"}
	case !isKnown:
		return finding{"persistence", warning, "appendonly is off, or the server does not tell: a crash may lose keys"}
	case snapshots == "":
		return finding{"persistence", bad, "appendonly and save are off: a restart loses all keys"}
	}
	return finding{"persistence", warning, "there are snapshots alone (save " + snapshots +
		"): a crash loses the keys, and the revocations, since the last one; set appendonly yes"}
}

// probeStore writes, reads and deletes a token that admits nobody: it is revoked, and its digest
// is that of no key.
func (s *session) probeStore(ctx context.Context) finding {
	now := time.Now()
	probe := httpkey.Token{
		ID: "doctor-" + rand.Text(), Kind: httpkey.APIKey, Label: "probe of httpkey doctor", CreatedAt: now, RevokedAt: now,
	}
	_, _ = rand.Read(probe.Digest[:]) // it never returns an error
	ctx, cancel := whole(ctx)
	defer cancel()
	_, err := s.Store.Create(ctx, probe)
	if err == nil {
		_, err = s.Store.Lookup(ctx, probe.Digest)
	}
	if deleteErr := s.Store.Delete(ctx, probe.ID); err == nil {
		err = deleteErr
	}
	if err != nil {
		return finding{"store", bad, err.Error()}
	}
	return finding{"store", good, "a token was written, read and deleted"}
}

// probeLimiter charges a bucket of its own.
func (s *session) probeLimiter(ctx context.Context) finding {
	limits := []httpkey.Limit{httpkey.PerSecond(1000)}
	ctx, cancel := whole(ctx)
	defer cancel()
	result, err := s.Limiter.Allow(ctx, &httpkey.Charge{Bucket: "doctor:" + rand.Text(), Limits: limits, Cost: 1})
	switch {
	case err != nil:
		return finding{"limiter", bad, err.Error()}
	case result.Remaining != 999:
		return finding{"limiter", bad, fmt.Sprintf("after 1 of 1000 requests it counts %d as left", result.Remaining)}
	}
	return finding{"limiter", good, "a request was counted"}
}

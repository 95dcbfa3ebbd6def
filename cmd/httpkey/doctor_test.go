package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/httpkey/httpkey/cmd/httpkey/internal/dsn"
)

// doctor finds nothing wrong with a good database, and leaves nothing in it.
func TestDoctor(t *testing.T) {
	t.Parallel()
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			s := newShell(t, database)
			s.must("", "doctor")
			s.must("", "doctor", "--json")
			s.must("", "list")
			golden(t, "doctor-"+database, s.transcript())
		})
	}
}

// doctor asks Redis, and says what the server does not tell.
func TestDoctorOfRedis(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	server.RequireAuth("hunter2")
	s := &shell{t: t, dsn: "redis://:hunter2@" + server.Addr(), open: dsn.Open}
	out := s.must("", "doctor")
	for _, want := range []string{
		"good     clock", "warning  eviction", "warning  persistence", "good     store", "good     limiter",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if listed := s.must("", "list"); listed != "" {
		t.Errorf("the probe is left: %s", listed)
	}
	server.RequireAuth("another")
	if code, _, messages := s.run("", "doctor"); code != exitFailure || strings.Contains(messages, "hunter2") {
		t.Errorf("with a wrong password: exit %d: %s", code, messages)
	}
}

func TestClockFinding(t *testing.T) {
	t.Parallel()
	before := time.Now()
	after := before.Add(50 * time.Millisecond)
	for name, test := range map[string]struct {
		theirs time.Time
		err    error
		want   string
	}{
		"between":    {before.Add(20 * time.Millisecond), nil, good},
		"just ahead": {after.Add(time.Second), nil, good},
		"ahead":      {after.Add(1100 * time.Millisecond), nil, warning},
		"behind":     {before.Add(-time.Minute), nil, warning},
		"broken":     {time.Time{}, errors.New("x"), bad},
	} {
		if got := clockFinding(before, test.theirs, after, test.err); got.Status != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRedisFindings(t *testing.T) {
	t.Parallel()
	for info, want := range map[string]string{
		"maxmemory_policy:noeviction\r\n":                 good,
		"# Memory\r\nmaxmemory_policy:volatile-ttl\r\n":   good,
		"used:1\r\nmaxmemory_policy:allkeys-lru\r\na:b\r": bad,
		"used_memory:1\r\n":                               warning,
	} {
		if got := evictionFinding(info); got.Status != want {
			t.Errorf("%q: %+v", info, got)
		}
	}
	for _, test := range []struct {
		info string
		save map[string]string
		want string
	}{
		{"aof_enabled:1\r\n", nil, good},
		{"aof_enabled:0\r\n", nil, warning},
		{"aof_enabled:0\r\n", map[string]string{"save": "3600 1"}, warning},
		{"aof_enabled:0\r\n", map[string]string{"save": ""}, bad},
	} {
		if got := persistenceFinding(test.info, test.save); got.Status != test.want {
			t.Errorf("%q, %v: %+v", test.info, test.save, got)
		}
	}
}

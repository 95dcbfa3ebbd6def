package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestRedisNeedsRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := compareRedis(io.Discard, quick); !errors.Is(err, errNoRedis) {
		t.Errorf("without redis-server: %v", err)
	}
}

func TestRedisReportsAll(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("REQUIRE_TOOLS") != "" { // as the gate sets it
			t.Fatal(errNoRedis)
		}
		t.Skip(errNoRedis) // a newcomer has Go alone
	}
	var out bytes.Buffer
	if err := compareRedis(&out, quick); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the report has a number that is %s:\n%s", bad, &out)
		}
	}
	var names []string
	for _, c := range redisContestants(nil) {
		names = append(names, c.name+": "+room.name)
	}
	names = append(names, "redis_rate.Allow: "+overdone.name, "httpkey: "+overdone.name, "Guard.Revoke, feed on")
	for _, name := range names {
		if strings.Count(out.String(), "\n| "+name+" | ") != 1 {
			t.Errorf("%s is not in the report once:\n%s", name, &out)
		}
	}
}

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// BenchmarkAdmitted measures an admitted request, of keys at random, by the number of
// tokens. The bare handler has the time of the loop itself. On a busy machine the time of
// the CPU is the one to look at.
func BenchmarkAdmitted(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		keys := issue(n)
		load := uniform.load(keys)
		for _, c := range append([]contestant{ours, bare}, foreign...) {
			b.Run(fmt.Sprintf("%d/%s", n, c.name), func(b *testing.B) {
				h, end := c.build(ok, keys, uniform.limit)
				defer end()
				load.warm(h)
				client := newClient()
				b.ReportAllocs()
				cpu := processCPU()
				for i := 0; b.Loop(); i++ {
					key := load.order[i%len(load.order)]
					if got := client.send(h, keys[key:key+1:key+1]); got != load.want {
						b.Fatalf("answered %d", got)
					}
				}
				b.ReportMetric(float64(processCPU()-cpu)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// TestMain lets the test be the processes that it starts.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) == 5 && os.Args[1] == "-serve":
		err = serve(os.Args[2], os.Args[4])
	case len(os.Args) == 3 && os.Args[1] == "-measure":
		err = measureJobs(os.Args[2], os.Stdin, os.Stdout)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestContestantsAnswerAsTheyShould(t *testing.T) {
	keys := issue(100)
	for _, c := range slices.Concat(contestants, foreign, []contestant{staticHeaders}) {
		t.Run(c.name, func(t *testing.T) {
			if err := c.check(keys); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check that finds nothing wrong in a contestant that never denies would be none.
func TestCheckFindsAContestantThatDoesNotDeny(t *testing.T) {
	open := bare
	open.does = limitOnly
	if err := open.check(issue(2)); err == nil || !strings.Contains(err.Error(), "answered 200, want 429") {
		t.Errorf("the check of a limiter that limits nothing: %v", err)
	}
	silent := bare
	silent.headers = ours.headers
	if err := silent.check(issue(2)); err == nil || !strings.Contains(err.Error(), "without X-RateLimit-Limit") {
		t.Errorf("the check of a limiter that sets no headers: %v", err)
	}
}

// Each loop sends the keys in the order of the load, from any place on, and begins again.
func TestLoopsSendTheOrder(t *testing.T) {
	keys := issue(50)
	load := uniform.load(keys)
	for _, by := range []loop{fresh, parsed} {
		t.Run(string(by), func(t *testing.T) {
			from := requests - 100
			s := load.sendable(by).sender(from)
			for n := range 300 {
				s.next(&s.client)
				want := keys[load.order[(from+n)%requests]]
				if got := s.request.Header[keyHeader]; len(got) != 1 || got[0] != want {
					t.Fatalf("request %d has the keys %q, want %q", n, got, want)
				}
				if len(s.response.header) != 0 || s.response.status != 0 || s.request.RemoteAddr != remoteAddr {
					t.Fatalf("request %d has a response from before", n)
				}
				s.response.header.Set("X-RateLimit-Limit", "60")
				s.response.WriteHeader(http.StatusOK)
			}
		})
	}
}

func TestRunReportsAll(t *testing.T) {
	o := quick
	o.svg = filepath.Join(t.TempDir(), "bars.svg")
	var out bytes.Buffer
	if err := run(&out, o); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the report has a number that is %s:\n%s", bad, &out)
		}
	}
	for _, c := range foreign {
		if strings.Count(out.String(), "\n| "+c.name+" | ") != 1 {
			t.Errorf("%s is not in the report once:\n%s", c.name, &out)
		}
	}
	for _, c := range contestants {
		want := 5
		if got := strings.Count(out.String(), "\n| "+c.name+" | "); got < want {
			t.Errorf("%s is in %d tables, want %d", c.name, got, want)
		}
	}
	svg, err := os.ReadFile(o.svg)
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the chart is not XML: %v", err)
		}
		if e, isStart := token.(xml.StartElement); isStart && e.Name.Local == "text" {
			texts++
		}
	}
	if want := 1 + 2*(len(contestants)-1); texts != want { // without the bare handler
		t.Errorf("the chart has %d texts, want %d", texts, want)
	}
}

func TestServersAnswerAsTheyShould(t *testing.T) {
	keys := issue(2)
	files, err := writeKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(files.dir) })
	for _, name := range processNames {
		t.Run(name, func(t *testing.T) {
			p, err := start(name, files.keys)
			if err != nil {
				t.Fatal(err)
			}
			defer p.end()
			if err := p.check(keys[1]); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestProcessesNeedWrk(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := compareProcesses(io.Discard, quick); !errors.Is(err, errNoWrk) {
		t.Errorf("without wrk: %v", err)
	}
}

func TestProcessesAreCompared(t *testing.T) {
	if _, err := exec.LookPath("wrk"); err != nil {
		if os.Getenv("REQUIRE_TOOLS") != "" { // as the gate sets it
			t.Fatal(errNoWrk)
		}
		t.Skip(errNoWrk) // a newcomer has Go alone
	}
	var out bytes.Buffer
	if err := compareProcesses(&out, quick); err != nil {
		t.Fatal(err)
	}
	for _, name := range processNames {
		if strings.Count(out.String(), "| "+name+" | ") != 2 {
			t.Errorf("%s is not in the report:\n%s", name, &out)
		}
	}
}

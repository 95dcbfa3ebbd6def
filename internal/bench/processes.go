package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var errNoWrk = errors.New("wrk is not installed; it is the Debian package wrk: apt-get install wrk")

// process is a server in a process of its own.
type process struct {
	*child
	address string
	rates   []float64 // requests a second
}

// processNames has the bare handler first, with which the others are compared.
var processNames = []string{bare.name, staticHeaders.name, ours.name, "go-chi/httprate"}

// compareProcesses measures requests a second over loopback, server by server, with one key
// and with many.
func compareProcesses(out io.Writer, o options) error {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return errNoWrk
	}
	for _, keys := range []int{1, o.keys} {
		if err := compareProcessesOf(out, wrk, keys, o); err != nil {
			return err
		}
	}
	return nil
}

func compareProcessesOf(out io.Writer, wrk string, n int, o options) error {
	duration := "5s"
	if o.quick {
		duration = "1s"
	}
	keys := issue(n)
	files, err := writeKeys(keys)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(files.dir) }()
	var processes []*process
	for _, name := range processNames {
		p, err := start(name, files.keys)
		if err != nil {
			return fmt.Errorf("the server of %s: %w", name, err)
		}
		defer p.end()
		if err := p.check(keys[0]); err != nil {
			return err
		}
		processes = append(processes, p)
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "http, %d keys, round %d of %d\n", n, round+1, o.rounds)
		for i := range processes {
			p := processes[(i+round)%len(processes)]
			rate, err := p.load(wrk, duration, files.script)
			if err != nil {
				return fmt.Errorf("wrk against %s: %w", p.name, err)
			}
			p.rates = append(p.rates, rate)
		}
	}
	report{out}.processes(n, processes, duration)
	return nil
}

// keyFiles are the valid keys, and a script with which wrk sends them at random.
type keyFiles struct{ dir, keys, script string }

func writeKeys(keys []string) (f keyFiles, err error) {
	if f.dir, err = os.MkdirTemp("", "httpkey-bench"); err != nil {
		return f, err
	}
	f.keys, f.script = filepath.Join(f.dir, "keys"), filepath.Join(f.dir, "keys.lua")
	script := fmt.Sprintf(`
local requests = {}
for key in io.lines(%q) do
	requests[#requests + 1] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n%s: " .. key .. "\r\n\r\n"
end
function request() return requests[math.random(#requests)] end
`, f.keys, keyHeader)
	err = errors.Join(
		os.WriteFile(f.keys, []byte(strings.Join(keys, "\n")+"\n"), 0o600),
		os.WriteFile(f.script, []byte(script), 0o600))
	return f, err
}

// start starts the server of a contestant.
func start(name, keyFile string) (*process, error) {
	c, err := startChild(name, "-serve", name, "-keys", keyFile)
	if err != nil {
		return nil, err
	}
	address, err := c.stdout.ReadString('\n')
	if err != nil {
		c.end()
		return nil, fmt.Errorf("it told no address: %w", err)
	}
	return &process{child: c, address: strings.TrimSpace(address)}, nil
}

func (p *process) url() string { return "http://" + p.address + "/" }

// check reports an answer of the server that is not as it should be.
func (p *process) check(key string) error {
	unknown := http.StatusOK
	if p.name == ours.name {
		unknown = http.StatusUnauthorized
	}
	for key, want := range map[string]int{key: http.StatusOK, "unknown": unknown} {
		request := must(http.NewRequest(http.MethodGet, p.url(), http.NoBody))
		request.Header.Set(keyHeader, key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		if response.StatusCode != want || want == http.StatusOK && string(body) != smallJSON {
			return fmt.Errorf("%s answers %s, %q, want %d", p.name, response.Status, body, want)
		}
	}
	return nil
}

var (
	wrkRate   = regexp.MustCompile(`(?m)^Requests/sec: *([0-9.]+)$`)
	wrkErrors = regexp.MustCompile(`(?m)^ *(Non-2xx or 3xx responses|Socket errors):.*$`)
)

// load returns the requests a second that wrk gets answered.
func (p *process) load(wrk, duration, script string) (float64, error) {
	output, err := exec.Command(wrk, "-t1", "-c32", "-d"+duration, "-s", script, p.url()).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, output)
	}
	if failed := wrkErrors.Find(output); failed != nil {
		return 0, fmt.Errorf("%s", failed)
	}
	rate := wrkRate.FindSubmatch(output)
	if rate == nil {
		return 0, fmt.Errorf("it tells no rate: %s", output)
	}
	return strconv.ParseFloat(string(rate[1]), 64)
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

var errNoWrk = errors.New("wrk is not installed; it is the Debian package wrk: apt-get install wrk")

// process is a server in a process of its own.
type process struct {
	name    string
	address string
	stdin   io.Closer
	command *exec.Cmd
	rates   []float64 // requests a second
}

// processNames has the bare handler first, with which the others are compared.
var processNames = []string{bare.name, ours.name, "go-chi/httprate"}

// compareProcesses measures requests a second over loopback, server by server.
func compareProcesses(out io.Writer, o options) error {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return errNoWrk
	}
	duration := "5s"
	if o.quick {
		duration = "1s"
	}
	key := issue(1)[0]
	var processes []*process
	for _, name := range processNames {
		p, err := start(name, key)
		if err != nil {
			return fmt.Errorf("the server of %s: %w", name, err)
		}
		defer p.end()
		if err := p.check(key); err != nil {
			return err
		}
		processes = append(processes, p)
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "http, round %d of %d\n", round+1, o.rounds)
		for i := range processes {
			p := processes[(i+round)%len(processes)]
			rate, err := p.load(wrk, duration, key)
			if err != nil {
				return fmt.Errorf("wrk against %s: %w", p.name, err)
			}
			p.rates = append(p.rates, rate)
		}
	}
	report{out}.processes(processes, duration)
	return nil
}

// start starts the server of a contestant, which is this program again.
func start(name, key string) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(program, "-serve", name, "-key", key)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, stdin: stdin, command: command}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.end()
		return nil, fmt.Errorf("it told no address: %w", err)
	}
	p.address = strings.TrimSpace(address)
	return p, nil
}

func (p *process) url() string { return "http://" + p.address + "/" }

func (p *process) end() {
	_ = p.stdin.Close()
	_ = p.command.Wait()
}

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
func (p *process) load(wrk, duration, key string) (float64, error) {
	output, err := exec.Command(wrk, "-t1", "-c32", "-d"+duration, "-H", keyHeader+": "+key, p.url()).CombinedOutput()
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

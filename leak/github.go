package leak

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
)

// GitHubKeysURL is where GitHub publishes the keys that sign its reports.
const GitHubKeysURL = "https://api.github.com/meta/public_keys/secret_scanning"

// GitHubOptions configure [GitHub]. The zero value, and nil, are the defaults.
type GitHubOptions struct {
	// KeysURL is the https address of the list of public keys. Empty: [GitHubKeysURL].
	KeysURL string

	// Client fetches the list, for example through a proxy or with a token of GitHub, which raises
	// its limit of 60 fetches an hour. Redirects are not followed, whatever the Client says. A fetch
	// takes 5 seconds at most. Nil: a Client with [http.DefaultTransport].
	Client *http.Client

	// OnLeak is told of each place where a key was found, after the key has ended. It runs before
	// the response, one place at a time, and all of them within 10 seconds. So it should only put
	// the mail into a queue. Calls of several reports can run at once. ctx does not end when GitHub
	// hangs up. After a failure GitHub sends the report again, and OnLeak then gets it with
	// [Report.Again]. Nil: nobody is told.
	OnLeak func(ctx context.Context, r Report)
}

const (
	// maxReport is the largest report in bytes. Ten thousand matches have some 4 MB.
	maxReport  = 8 << 20
	maxMatches = 20_000
	maxHeader  = 256 // bytes of an identifier or a signature

	// GitHub waits 30 seconds for an answer: readTimeout, endTimeout and tellTimeout are less
	// together.
	readTimeout = 5 * time.Second
	endTimeout  = 10 * time.Second

	// maxFailures is the number of failures after which the rest of a report has to wait.
	maxFailures = 8
)

// GitHub returns the handler for the reports of GitHub's secret scanning partner program
// (docs.github.com, "Secret scanning partner program"). It revokes the key of each match, for the
// reason that names the place, by "github secret scanning". The answer says which matches were
// keys of the Guard, also if they had ended: true_positive, or false_positive.
//
// Mount the handler beside the Guard's handler, not behind it. Let its Guard have the store itself,
// without a cache: a cache may not know a key yet that another process issued a few seconds ago.
//
//   - 200: every match is done.
//   - 401: the signature is not that of the body by a key of GitHub. The response does not say why.
//   - 400 or 413: the signed report is no JSON of GitHub, or the body has more than 8 MiB, or the
//     report more than 20,000 matches. The body may also end too early.
//   - 503, as [httpkey.Guard.Unavailable] answers: the store, or GitHub's list of keys, cannot be
//     read, or the report took more than 10 seconds. GitHub should send the report again. The
//     keys that have ended are then skipped quickly.
//
// A report may be sent again without harm. The list of keys is fetched when the first report
// comes, after an hour, and for an unknown identifier. There is a minute at least between fetches.
// Within that minute an unknown identifier gets 503. While GitHub cannot be reached, the list is of
// use for a day.
//
// GitHub does no I/O and starts no goroutine before the first report. It panics if guard is nil,
// and with an error that wraps [httpkey.ErrInvalidOptions] if a field of opts is invalid. The
// handler is safe for concurrent use. The keys of a report are in no log, event or error.
func GitHub(guard *httpkey.Guard, opts *GitHubOptions) http.Handler {
	if guard == nil {
		panic("httpkey: leak.GitHub needs a Guard, as httpkey.New makes one")
	}
	var o GitHubOptions
	if opts != nil {
		o = *opts
	}
	if o.KeysURL == "" {
		o.KeysURL = GitHubKeysURL
	}
	if u, err := url.Parse(o.KeysURL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		panic(fmt.Errorf("%w: GitHubOptions.KeysURL must be an https address without a password",
			httpkey.ErrInvalidOptions))
	}
	client := &http.Client{}
	if o.Client != nil {
		*client = *o.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &gitHub{
		ender:  newEnder(guard, "github secret scanning"),
		onLeak: o.OnLeak,
		keys:   publicKeys{url: o.KeysURL, client: client},
	}
}

type gitHub struct {
	ender
	onLeak func(context.Context, Report)
	keys   publicKeys
}

// match is a part of a report.
type match struct {
	Token  httpkey.Secret `json:"token"`
	Type   string         `json:"type"`
	URL    string         `json:"url"`
	Source string         `json:"source"`
}

// label is the answer to a match.
type label struct {
	TokenRaw  string `json:"token_raw"`
	TokenType string `json:"token_type"`
	Label     string `json:"label"`
}

// ServeHTTP answers a report.
func (g *gitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		write(w, r, http.StatusMethodNotAllowed, detail{"Method not allowed."})
		return
	}
	body, err := g.read(w, r)
	var matches []match
	if err == nil {
		matches, err = parse(body)
	}
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	ends := g.endAll(r.Context(), matches)
	g.tell(r.Context(), matches, ends)
	labels, err := labelsOf(matches, ends)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	write(w, r, http.StatusOK, labels)
}

var (
	errForged   = errors.New("httpkey: leak: the report has no valid signature of GitHub")
	errTooLarge = errors.New("httpkey: leak: the report is too large")
	errNoReport = errors.New("httpkey: leak: the body is no report")
	errTimeout  = errors.New("httpkey: leak: the report took too long")
)

// refuse answers a report that is not done.
func (g *gitHub) refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errForged), errors.Is(err, errUnknownKey):
		w.Header().Set("WWW-Authenticate", "Github-Public-Key-Signature") // RFC 9110 demands one
		write(w, r, http.StatusUnauthorized, detail{"The report has no valid signature."})
	case errors.Is(err, errTooLarge):
		write(w, r, http.StatusRequestEntityTooLarge, detail{"The report is too large."})
	case errors.Is(err, errNoReport):
		write(w, r, http.StatusBadRequest, detail{"The report is not valid."})
	default:
		g.guard.Unavailable(w, r, err)
	}
}

// read returns the body of a report that GitHub has signed.
func (g *gitHub) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	id, isOne := only(r.Header["Github-Public-Key-Identifier"])
	encoded, isSigned := only(r.Header["Github-Public-Key-Signature"])
	signature, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case !isOne || !isSigned || err != nil:
		return nil, errForged
	case r.ContentLength > maxReport:
		return nil, errTooLarge
	}
	key, err := g.keys.find(r.Context(), id)
	if err != nil {
		return nil, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(body); !ecdsa.VerifyASN1(key, sum[:], signature) {
		return nil, errForged
	}
	return body, nil
}

// only returns the value of a header of one line, unless it is empty or too long.
func only(lines []string) (value string, ok bool) {
	if len(lines) != 1 || lines[0] == "" || len(lines[0]) > maxHeader {
		return "", false
	}
	return lines[0], true
}

// readBody reads a body of at most maxReport bytes, within readTimeout.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	if connection.SetReadDeadline(time.Now().Add(readTimeout)) == nil { // some writers have no deadline
		defer func() { _ = connection.SetReadDeadline(time.Time{}) }()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, errNoReport
	}
	return body, nil
}

// parse returns the matches of a report.
func parse(body []byte) ([]match, error) {
	var matches []match
	if err := json.Unmarshal(body, &matches); err != nil || matches == nil {
		return nil, errNoReport // an error of JSON could show a part of a key
	}
	if len(matches) > maxMatches {
		return nil, errTooLarge
	}
	return matches, nil
}

// ending is what has become of a key.
type ending struct {
	report  Report
	err     error
	isAsked bool
}

// endAll ends the keys of a report, each once. It continues also if GitHub hangs up.
func (g *gitHub) endAll(ctx context.Context, matches []match) map[httpkey.Secret]*ending {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	ends := make(map[httpkey.Secret]*ending, len(matches))
	var firsts []match
	for _, m := range matches {
		if ends[m.Token] == nil {
			ends[m.Token] = &ending{}
			firsts = append(firsts, m)
		}
	}
	var next, failures atomic.Int64
	var panicked atomic.Value
	work := func() {
		defer func() {
			if cause := recover(); cause != nil { // a panic of this goroutine would end the program
				panicked.Store(fmt.Sprint(cause))
			}
		}()
		for i := next.Add(1); i <= int64(len(firsts)); i = next.Add(1) {
			m := &firsts[i-1]
			if failures.Load() >= maxFailures || !g.endOne(ctx, m, ends[m.Token]) {
				return
			}
			if err := ends[m.Token].err; err != nil && !errors.Is(err, httpkey.ErrNotFound) {
				failures.Add(1)
			}
		}
	}
	var workers sync.WaitGroup
	for range min(maxCalls, len(firsts)) {
		workers.Go(work)
	}
	workers.Wait()
	if cause := panicked.Load(); cause != nil {
		panic(cause)
	}
	return ends
}

// endOne ends the key of a match when it has its turn. It returns false if the time is over.
func (g *gitHub) endOne(ctx context.Context, m *match, e *ending) bool {
	done, ok := g.wait(ctx)
	if !ok {
		return false
	}
	defer done()
	e.isAsked = true
	e.report, e.err = g.end(ctx, m.Token, placeOf(m.Token.Reveal(), m.Source, m.URL))
	return true
}

// tell tells OnLeak of each place of a key that has ended.
func (g *gitHub) tell(ctx context.Context, matches []match, ends map[httpkey.Secret]*ending) {
	if g.onLeak == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTimeout)
	defer cancel()
	told := make(map[httpkey.Secret]bool)
	for _, m := range matches {
		e := ends[m.Token]
		if !e.isAsked || e.err != nil {
			continue
		}
		p, report := placeOf(m.Token.Reveal(), m.Source, m.URL), e.report
		report.Source, report.URL = p.source, p.url
		report.Again = report.Again || told[m.Token]
		report.Token = report.Token.Clone()
		told[m.Token] = true
		g.onLeak(ctx, report)
	}
}

// labelsOf returns the answer to each match, or an error if a key may be alive.
func labelsOf(matches []match, ends map[httpkey.Secret]*ending) ([]label, error) {
	labels := make([]label, 0, len(matches))
	for _, m := range matches {
		l := label{TokenRaw: m.Token.Reveal(), TokenType: m.Type, Label: "true_positive"}
		switch e := ends[m.Token]; {
		case errors.Is(e.err, httpkey.ErrNotFound):
			l.Label = "false_positive"
		case e.err != nil:
			return nil, e.err
		case !e.isAsked:
			return nil, errTimeout
		}
		labels = append(labels, l)
	}
	return labels, nil
}

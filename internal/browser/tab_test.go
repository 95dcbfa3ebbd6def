package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds every wait for the browser.
const patience = 30 * time.Second

// tab is a page in a browser.
type tab struct {
	t    testing.TB
	ctx  context.Context
	site *site

	mu         sync.Mutex
	complaints []string // of the browser about the page
	hosts      []string // that it sent requests to
	questions  int      // that the browser asked before it left a page
	stays      bool     // the answer to them
}

// open opens a tab in the browser, with cookies and a history of its own, signed in as a user
// of the site. Only the clipboard is that of all tabs.
func open(t testing.TB, s *site, user string) *tab {
	t.Helper()
	b := &tab{t: t, site: s}
	ctx, stop := chromedp.NewContext(start(t), chromedp.WithNewBrowserContext(), chromedp.WithListener(b.hear))
	t.Cleanup(stop)
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // it opens here, and closes with ctx
		t.Fatal(err)
	}
	command(b, audits.Enable, cdp.Empty{})
	command(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	b.signIn(user)
	b.permit("clipboard-read", browser.PermissionSettingGranted)
	b.permit("clipboard-write", browser.PermissionSettingGranted)
	return b
}

// signIn makes the tab that of a user.
func (b *tab) signIn(user string) {
	b.t.Helper()
	command(b, network.SetCookie,
		network.SetCookieParams{Name: cookie, Value: user, URL: b.site.URL, HTTPOnly: new(true)})
}

// signOut ends the session of the tab.
func (b *tab) signOut() {
	b.t.Helper()
	command(b, network.DeleteCookies, network.DeleteCookiesParams{Name: cookie, URL: b.site.URL})
}

// hasSession returns an error unless somebody is signed in.
func (b *tab) hasSession() error {
	cookies, err := attempt(b, func(ctx context.Context, t *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{URLs: []string{b.site.URL}})
	})
	if err == nil && len(cookies.Cookies) == 0 {
		err = errors.New("nobody is signed in")
	}
	return err
}

// inZone moves the tab to a time zone.
func (b *tab) inZone(name string) {
	b.t.Helper()
	command(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name})
}

// withoutScripts turns JavaScript off. The tests can still evaluate it.
func (b *tab) withoutScripts() {
	b.t.Helper()
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// wholeKey matches a key, and not the part of it that pages show.
var wholeKey = regexp.MustCompile(`hk_[a-z]_[0-9A-Za-z]{20,}`)

// hear collects complaints, and answers the question whether to leave a page.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	complain := func(format string, args ...any) { b.complaints = append(b.complaints, fmt.Sprintf(format, args...)) }
	switch event := event.(type) {
	case *runtime.EventConsoleAPICalled:
		for _, arg := range event.Args {
			complain("console.%s: %s %s", event.Type, arg.Value, arg.Description)
		}
	case *runtime.EventExceptionThrown:
		complain("exception: %s", event.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if !isPageWithFailure(event.Entry) {
			complain("log, %s, %s: %s %s", event.Entry.Level, event.Entry.Source, event.Entry.Text, event.Entry.URL)
		}
	case *audits.EventIssueAdded:
		complain("issue: %s %s", event.Issue.Code, detailsOf(event.Issue))
	case *page.EventJavascriptDialogOpening:
		if event.Type != page.DialogTypeBeforeunload {
			complain("a dialog: %s", event.Message)
		}
		b.questions++
		answer := page.HandleJavaScriptDialogParams{Accept: !b.stays}
		go func() { // the browser waits for the answer, and a listener may not
			_, _ = attempt(b, func(ctx context.Context, t *chromedp.Target) (cdp.Empty, error) {
				return cdp.Call(ctx, t, page.HandleJavaScriptDialog, answer)
			})
		}()
	case *network.EventRequestWillBeSent:
		if wholeKey.MatchString(event.Request.URL) {
			complain("a key is in the URL %s", event.Request.URL)
		}
		u, err := url.Parse(event.Request.URL)
		if err != nil {
			complain("a request for %s", event.Request.URL)
			return
		}
		if u.Host != "" && !slices.Contains(b.hosts, u.Host) {
			b.hosts = append(b.hosts, u.Host)
		}
	}
}

// isPageWithFailure reports whether the browser logs that a page has a status from 400 on. The tests look
// at the statuses of pages themselves.
func isPageWithFailure(entry *log.Entry) bool {
	return entry.Source == log.EntrySourceNetwork && path.Ext(entry.URL) == "" &&
		strings.HasPrefix(entry.Text, "Failed to load resource: the server responded with a status of")
}

// detailsOf returns the details of an issue, as JSON.
func detailsOf(issue *audits.InspectorIssue) string {
	text, err := json.Marshal(issue.Details)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// mustBeCalm fails the test if the browser complained, or asked another host.
func (b *tab) mustBeCalm() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints {
		b.t.Error(complaint)
	}
	if own := strings.TrimPrefix(b.site.URL, "http://"); !slices.Equal(b.hosts, []string{own}) {
		b.t.Errorf("it sent requests to %v, and should to %s alone", b.hosts, own)
	}
}

// complained returns an error unless the browser has complained in these words. It forgets the complaint.
func (b *tab) complained(words string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	isIt := func(complaint string) bool { return strings.Contains(complaint, words) }
	if !slices.ContainsFunc(b.complaints, isIt) {
		return fmt.Errorf("the browser has not complained of %s: %q", words, b.complaints)
	}
	b.complaints = slices.DeleteFunc(b.complaints, isIt)
	return nil
}

// attempt returns the result of an action, in time.
func attempt[T any](b *tab, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// run returns the result of an action that must not fail.
func run[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	result, err := attempt(b, action)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, b.whatIsThere())
	}
	return result
}

// whatIsThere describes the page for a message.
func (b *tab) whatIsThere() string {
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location + "\n" + document.body?.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

func command[P, R any](b *tab, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	return run(b, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, c, params) })
}

func (b *tab) permit(name string, setting browser.PermissionSetting) {
	b.t.Helper()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission:       &browser.PermissionDescriptor{Name: name},
		Setting:          setting,
		Origin:           b.site.URL,
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// evaluate returns the value of an expression, or the value of its promise.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	return run(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// visit goes to a path below the console's own and returns the status.
func (b *tab) visit(path string) int {
	b.t.Helper()
	return int(run(b, chromedp.NavigateResponse(b.site.URL+mount+path)).Status)
}

// reload loads the page again.
func (b *tab) reload() {
	b.t.Helper()
	run(b, chromedp.Reload())
}

// follow clicks a link or button that leads to another page, and returns its status.
func (b *tab) follow(text string) int {
	b.t.Helper()
	return int(b.arrive(chromedp.Click(clickable(text))).Status)
}

// arrive waits for the page that an action leads to.
func (b *tab) arrive(action chromedp.Action[chromedp.Void]) *network.Response {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	response, err := chromedp.RunResponse(ctx, action)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, b.whatIsThere())
	}
	return response
}

// press clicks a button that leads nowhere.
func (b *tab) press(text string) {
	b.t.Helper()
	run(b, chromedp.Click(clickable(text)))
}

// clickable selects the link or button of this text.
func clickable(text string) string {
	return fmt.Sprintf(`//*[self::a or self::button][normalize-space()=%q]`, text)
}

// field selects the field whose label begins so.
func field(label string) string {
	return fmt.Sprintf(`//*[@id=//label[starts-with(normalize-space(), %q)]/@for]`, label)
}

// fill types a text into a field, in place of the old one.
func (b *tab) fill(label, text string) {
	b.t.Helper()
	run(b, chromedp.Focus(field(label)))
	run(b, chromedp.Evaluate[chromedp.Void](`document.activeElement.select()`))
	command(b, input.InsertText, input.InsertTextParams{Text: text})
}

// value returns what a field holds.
func (b *tab) value(label string) string {
	b.t.Helper()
	run(b, chromedp.Focus(field(label)))
	return evaluate[string](b, `document.activeElement.value`)
}

// choose clicks a radio button or checkbox.
func (b *tab) choose(label string) {
	b.t.Helper()
	run(b, chromedp.Click(field(label)))
}

// check clicks the checkbox of a list whose name begins so.
func (b *tab) check(name string) {
	b.t.Helper()
	run(b, chromedp.Click(fmt.Sprintf(`//input[@type="checkbox"][starts-with(@aria-label, %q)]`, name)))
}

// text returns all that a person can read on the page.
func (b *tab) text() string {
	b.t.Helper()
	return evaluate[string](b, `document.body.innerText`)
}

// mustRead fails the test unless the page says each of these now.
func (b *tab) mustRead(texts ...string) {
	b.t.Helper()
	page := b.text()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			b.t.Fatalf("the page should say %q; it says:\n%s", text, page)
		}
	}
}

// mustNotRead fails the test if anything of the page holds a text, seen or not.
func (b *tab) mustNotRead(text string) {
	b.t.Helper()
	if strings.Contains(evaluate[string](b, `document.documentElement.outerHTML`), text) {
		b.t.Errorf("%s holds %q", evaluate[string](b, `String(location)`), text)
	}
}

// eventually asks until there is no error.
func eventually(t testing.TB, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still: %v", patience, err)
		}
		time.Sleep(10 * time.Millisecond) // between two questions
	}
}

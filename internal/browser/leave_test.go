package browser

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// A person who leaves the page of a new key is asked whether they mean it, unless the key was copied.
func TestLeavingBeforeCopying(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	b.visit("new")
	b.fill("Name", "laptop")
	b.follow("Generate token")
	key := run(b, chromedp.Text(`#secret`))

	b.answer(false)
	b.press("API tokens")
	eventually(t, func() error { return b.asked(1) })
	b.mustRead(key)

	b.answer(true)
	b.copied()
	b.follow("API tokens")
	if err := b.asked(1); err != nil {
		t.Error(err)
	}
	b.mustNotRead(key)
	b.mustBeCalm()
}

// answer sets what the person says if the browser asks whether to leave a page.
func (b *tab) answer(leave bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stays = !leave
}

// asked returns an error unless the browser has asked so often whether to leave a page.
func (b *tab) asked(times int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.questions != times {
		return fmt.Errorf("the browser asked %d times, want %d", b.questions, times)
	}
	return nil
}

var curl = regexp.MustCompile(`^curl .*(hk_[A-Za-z0-9_]+).* ['"]?(http://[^ '"]+)['"]?$`)

// One press copies a command that calls the API with the whole key.
func TestCopyCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	b.visit("new")
	b.fill("Name", "laptop")
	b.follow("Generate token")
	key := run(b, chromedp.Text(`#secret`))
	command := b.copiedBy(func() { run(b, chromedp.Click(`[data-copy=try]`)) })
	if parts := curl.FindStringSubmatch(command); parts == nil || parts[1] != key || parts[2] != s.URL+apiURL {
		t.Errorf("copied is %q, the key is %q", command, key)
	}
	b.mustBeCalm()
}

// A person whose session ends while they type signs in in another tab, and loses nothing.
func TestSessionEndsWhileTyping(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	b.visit("new")
	b.fill("Name", "laptop \"1\" <ü>")
	b.fill("Description", "one\ntwo")
	b.choose("issues:read")
	b.choose("In 30 days")
	b.signOut()
	if status := b.follow("Generate token"); status != http.StatusUnauthorized {
		t.Fatalf("without a session: %d", status)
	}
	if tokens := s.tokens(t); len(tokens) != 0 {
		t.Fatalf("there are %+v", tokens)
	}

	b.press("Sign in") // which opens a tab
	eventually(t, b.hasSession)

	if status := b.follow("Send again"); status != http.StatusCreated {
		t.Fatalf("after the login: %d\n%s", status, b.text())
	}
	b.copied()
	token := s.tokens(t)[0]
	if token.Label != `laptop "1" <ü>` || token.Description != "one\ntwo" ||
		strings.Join(token.Scopes, " ") != "issues:read" ||
		token.ExpiredAt.Sub(token.CreatedAt).Round(day) != 30*day {
		t.Errorf("it is %+v", token)
	}
	b.mustBeCalm()
}

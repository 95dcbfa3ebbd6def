package browser

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/httpkey/httpkey"
)

// The whole life of a token, as its owner sees it.
func TestStory(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")

	b.visit("")
	b.mustRead("You have no tokens yet.")
	first := b.generate("deploy script")
	if used := b.usedOf("deploy script"); used != "Never" {
		t.Errorf("a new token was last used %q", used)
	}
	if status := s.call(t, first); status != http.StatusOK {
		t.Fatalf("the API answers the copied key with %d", status)
	}
	eventually(t, func() error {
		b.visit("")
		if used := b.usedOf("deploy script"); used != "just now" {
			return fmt.Errorf("last used %q", used)
		}
		return nil
	})

	b.follow("deploy script")
	b.follow("Rotate")
	b.choose("In 1 hour")
	if status := b.follow("Rotate"); status != http.StatusCreated {
		t.Fatalf("rotate: %d", status)
	}
	second := b.copied()
	b.mustRead("The old key hk_k_…"+first[len(first)-4:], "works until")
	for _, key := range []string{first, second} {
		if status := s.call(t, key); status != http.StatusOK {
			t.Errorf("during the grace, the API answers %s… with %d", key[:8], status)
		}
	}
	b.follow("I have copied it")
	eventually(t, func() error {
		b.visit("")
		if text := b.text(); !strings.Contains(text, "Rotated, ends in 1 hour") ||
			!strings.Contains(text, "Last used just now, right after the rotation") {
			return fmt.Errorf("the list says:\n%s", text)
		}
		return nil
	})

	// The hour passes.
	successor := s.tokens(t)[0]
	soon := time.Now().Add(100 * time.Millisecond).UTC().Format(time.RFC3339Nano)
	if status := s.patch(t, successor.RotatedFrom, fmt.Sprintf(`{"expired_at":%q}`, soon)); status != http.StatusOK {
		t.Fatalf("bringing the end nearer: %d", status)
	}
	eventually(t, func() error {
		if status := s.call(t, first); status != http.StatusUnauthorized {
			return fmt.Errorf("the API answers the old key with %d", status)
		}
		return nil
	})
	if status := s.call(t, second); status != http.StatusOK {
		t.Errorf("after the grace, the API answers the new key with %d", status)
	}
	b.visit("")
	b.mustRead("Expired")

	b.visit(successor.ID + "/")
	b.follow("Revoke")
	b.mustRead("Last used", "just now")
	b.follow("Revoke")
	b.mustRead("The token is revoked.", "Revoked")
	if status := s.call(t, second); status != http.StatusUnauthorized {
		t.Errorf("the API answers a revoked key with %d", status)
	}

	b.follow("Delete")
	b.follow("Delete")
	b.mustRead("The token is deleted.")
	if left := s.tokens(t); len(left) != 1 || left[0].ID != successor.RotatedFrom {
		t.Errorf("left are %v", left)
	}
	b.mustBeCalm()
}

// generate creates a token from the list, copies its key and goes back to the list.
func (b *tab) generate(name string) (key string) {
	b.t.Helper()
	b.follow("Generate new token")
	b.fill("Name", name)
	b.choose("In 30 days")
	if status := b.follow("Generate token"); status != http.StatusCreated {
		b.t.Fatalf("generate: %d\n%s", status, b.text())
	}
	key = b.copied()
	b.follow("I have copied it")
	return key
}

// copied presses Copy, and returns the key on the clipboard.
func (b *tab) copied() string {
	b.t.Helper()
	key := b.copiedBy(func() { b.press("Copy") })
	if shown := evaluate[string](b, `document.getElementById("secret").innerText`); shown != key ||
		!strings.HasPrefix(key, "hk_") {
		b.t.Fatalf("shown is %q, copied %q", shown, key)
	}
	return key
}

// clipboard is that of all tabs. A test holds it from writing to reading.
var clipboard sync.Mutex

// copiedBy returns the text on the clipboard after an act that copies it.
func (b *tab) copiedBy(act func()) string {
	b.t.Helper()
	clipboard.Lock()
	defer clipboard.Unlock()
	act()
	run(b, chromedp.Poll[chromedp.Void](`document.body.innerText.includes("Copied")`,
		chromedp.WithPollingTimeout(patience)))
	return evaluate[string](b, `navigator.clipboard.readText()`)
}

// usedOf returns the last use of the token of this name, as the list shows it.
func (b *tab) usedOf(name string) string {
	b.t.Helper()
	return run(b, chromedp.Text(fmt.Sprintf(`//tr[th[normalize-space()=%q]]/td[@data-label="Last used"]`, name)))
}

// If the clipboard's own interface is refused, as on plain HTTP, Copy has another way.
func TestCopyWithoutPermission(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	b.permit("clipboard-write", browser.PermissionSettingDenied)
	b.visit("")
	if key := b.generate("laptop"); s.call(t, key) != http.StatusOK {
		t.Errorf("%q is not the key", key)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	dir := t.TempDir()
	if _, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior:         browser.SetDownloadBehaviorBehaviorAllow,
		DownloadPath:     dir,
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	}); err != nil {
		t.Fatal(err)
	}
	b.visit("new")
	b.fill("Name", `my/laptop "1" <ü>`)
	b.follow("Generate token")
	key := b.copied()
	b.press("Download")
	eventually(t, func() error {
		content, err := os.ReadFile(filepath.Join(dir, "my-laptop-1-ü-.txt"))
		if err == nil && string(content) != key+"\n" {
			err = fmt.Errorf("the file holds %q", content)
		}
		if err != nil {
			entries, _ := os.ReadDir(dir)
			err = fmt.Errorf("%w; there are %v", err, entries)
		}
		return err
	})
	b.mustBeCalm()
}

// No way back shows a key again, and a form that is sent once more makes no second token.
func TestShownOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		show   func(*tab)
		tokens int
	}{
		{"create", func(b *tab) {
			b.visit("new")
			b.fill("Name", "laptop")
			b.follow("Generate token")
		}, 1},
		{"rotate", func(b *tab) {
			b.site.add(b.t, httpkey.Token{Label: "laptop", IsActive: true})
			b.visit("id-0/rotate/")
			b.follow("Rotate")
		}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			b := open(t, s, "ada")
			mustStay := func(key string) {
				t.Helper()
				b.mustNotRead(key)
				if tokens := s.tokens(t); len(tokens) != tt.tokens {
					t.Errorf("there are %d tokens, want %d", len(tokens), tt.tokens)
				}
			}

			tt.show(b)
			key := b.copied()
			b.reload()
			b.mustRead("already")
			mustStay(key)

			b.follow("Back to the list")
			b.back()
			mustStay(key)
		})
		t.Run(tt.name+" and back", func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			b := open(t, s, "ada")
			tt.show(b)
			key := b.copied()
			b.follow("I have copied it")
			b.back()
			b.mustNotRead(key)
			if tokens := s.tokens(t); len(tokens) != tt.tokens {
				t.Errorf("there are %d tokens, want %d", len(tokens), tt.tokens)
			}
		})
	}
}

// A browser may keep the page, to go back to it. The kept page neither shows the key nor has
// a button that copies it.
func TestKeptPageHasNoKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	b.visit("new")
	b.fill("Name", "laptop")
	b.follow("Generate token")
	key := b.copied()
	clipboard.Lock()
	defer clipboard.Unlock()
	text := evaluate[string](b, `(async () => {
		await navigator.clipboard.writeText("");
		const copy = document.querySelector("[data-copy=secret]");
		dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
		copy.click();
		return navigator.clipboard.readText();
	})()`)
	if text == key {
		t.Error("the button copies the key")
	}
	b.mustNotRead(key)
	b.mustNotRead("Download")
	b.mustRead("It will not be shown again")
}

// back presses the browser's button.
func (b *tab) back() {
	b.t.Helper()
	was := evaluate[string](b, `String(location)`)
	history := command(b, page.GetNavigationHistory, cdp.Empty{})
	command(b, page.NavigateToHistoryEntry,
		page.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID})
	eventually(b.t, func() error {
		// Between two pages this fails.
		now, err := attempt(b, chromedp.Evaluate[string](`String(location) + " " + document.readyState`))
		if err == nil && (now == was+" complete" || !strings.HasSuffix(now, " complete")) {
			err = fmt.Errorf("it is still at %s", now)
		}
		return err
	})
}

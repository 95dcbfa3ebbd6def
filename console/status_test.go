package console

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		age     time.Duration
		expires time.Duration // from now; 0: never
		unused  time.Duration // since the last use; 0: never used
		revoked bool
		want    string
		care    bool
	}{
		{"new", 0, 0, 0, false, "Active", false},
		{"nearly old", 90*day - time.Second, 0, time.Second, false, "Active", false},
		{"old", 97 * day, 0, time.Hour, false, "Rotate: 97 days old", true},
		{"just old", 90 * day, 200 * day, time.Hour, false, "Rotate: 90 days old", true},
		{"very old", 800 * day, 0, time.Hour, false, "Rotate: 2 years old", true},
		{"never used", 90 * day, 0, 0, false, "Unused for 90 days", true},
		{"not used for long", 300 * day, 0, 131 * day, false, "Unused for 131 days", true},
		{"ends in a week", time.Hour, 7 * day, time.Hour, false, "Expires in 7 days", true},
		{"ends in more than a week", time.Hour, 7*day + time.Second, time.Hour, false, "Active", false},
		{"ends soon", 100 * day, 6*day + time.Hour, time.Hour, false, "Expires in 6 days", true},
		{"ends today", time.Hour, 5 * time.Hour, 0, false, "Expires in 5 hours", true},
		{"ends now", time.Hour, time.Second, 0, false, "Expires in 1 minute", true},
		{"ended", 10 * day, -time.Nanosecond, 0, false, "Expired", false},
		{"revoked", 200 * day, -day, 0, true, "Revoked", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, Options{})
				token := httpkey.Token{ID: "id", Label: "x", User: "ada"}
				if tt.expires != 0 {
					token.ExpiredAt = time.Now().Add(tt.age + tt.expires)
				}
				secret, _ := s.issue(token)
				httpkeytest.Elapse(tt.age - tt.unused)
				if tt.unused != 0 {
					if _, err := s.guard.Verify(t.Context(), secret); err != nil {
						t.Fatal(err)
					}
					httpkeytest.Elapse(tt.unused)
				}
				if tt.revoked {
					if err := s.guard.Revoke(t.Context(), "id", ""); err != nil {
						t.Fatal(err)
					}
				}
				for _, path := range []string{"/", "/id/"} {
					if body := s.page("ada", path).Body.String(); badgeOn(body) != tt.want {
						t.Errorf("%s does not say %q: %s", path, tt.want, body)
					}
				}
				body := s.api("ada", "GET", "/?status=care", "").Body.String()
				if got := strings.Contains(body, `"id":"id"`); got != tt.care {
					t.Errorf("it needs care: %v, want %v", got, tt.care)
				}
			})
		})
	}
}

var badgePattern = regexp.MustCompile(`(?s)<span class="badge [a-z]+">(.*?)</span>`)

// badgeOn returns the text of the first badge on a page.
func badgeOn(body string) string { return textOf(badgePattern.FindString(body)) }

func TestSpans(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]span{
		0:                              {0, "second"},
		59 * time.Second:               {59, "second"},
		time.Minute:                    {1, "minute"},
		2*time.Hour - 1:                {1, "hour"},
		day:                            {1, "day"},
		2*365*day - 1:                  {729, "day"},
		2 * 365 * day:                  {2, "year"},
		time.Duration(1<<63 - 1):       {292, "year"},
		89*day + 23*time.Hour + 59*1e9: {89, "day"},
	} {
		if got := spanOf(d); got != want {
			t.Errorf("%v is %v, want %v", d, got, want)
		}
	}
}

package integration

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/notices"
	"github.com/httpkey/httpkey/sqlstore"
)

const noticeLease = 3 * time.Second

func noticeGuard(db *sql.DB, d sqlstore.Dialect) *httpkey.Guard {
	return httpkey.New(sqlstore.New(db, d, nil), httpkey.Unlimited, nil)
}

// noticeChild sends notices, and says so, until the lease of a killed process is over.
func noticeChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	notifier := notices.New(noticeGuard(db, d), func(_ context.Context, user string, due []notices.Notice) error {
		for _, n := range due {
			fmt.Println("told", user, n.Token.ID, n.Threshold)
		}
		time.Sleep(20 * time.Millisecond) // so that the others meet the claim
		return nil
	}, &notices.Options{Lease: noticeLease})
	fmt.Println("begins")
	for end := time.Now().Add(2 * noticeLease); time.Now().Before(end); {
		if _, err := notifier.Send(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // an hour in a program
	}
}

// stickChild claims the tokens of an owner, and says so, and never mails.
func stickChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	_, err := notices.New(noticeGuard(db, d), func(_ context.Context, user string, _ []notices.Notice) error {
		fmt.Println("claimed", user)
		select {}
	}, &notices.Options{Lease: noticeLease}).Send(t.Context())
	t.Fatal(err)
}

// Four processes send notices, and one is killed between its claim and the mail. Each token has its notice
// once.
func testNoticeProcesses(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	store := sqlstore.New(tables.open(t), tables.dialect, nil)
	const owners = 10
	var want []string
	now := time.Now()
	for n := range 4 * owners {
		token := sqlToken(n)
		token.User = fmt.Sprint("user-", n%owners)
		token.CreatedAt, token.ExpiredAt = now.Add(-90*24*time.Hour), now.Add(3*24*time.Hour)
		if err := createTokens(t.Context(), store, token); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%s %s %v", token.User, token.ID, 7*24*time.Hour))
	}
	victim := tables.spawn(t, "stick")
	claimed := victim.next(t, "claimed ")
	var children []*sqlChild
	for range 3 {
		children = append(children, tables.spawn(t, "notice"))
	}
	for _, child := range children {
		child.next(t, "begins")
	}
	victim.kill(t, "")
	var got []string
	for _, child := range children {
		told := child.wait(t, "told ")
		for _, line := range told {
			if strings.HasPrefix(line, claimed+" ") {
				t.Logf("%s was told by another process", line)
			}
		}
		got = append(got, told...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the notices are %q, want %q", got, want)
	}
}

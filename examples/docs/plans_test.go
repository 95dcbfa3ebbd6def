package docs

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/sqlstore"
)

func TestPlans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := withPlans(memstore.New(), memstore.NewLimiter())
		api := guard.Handler(http.HandlerFunc(hello))
		issue := func(workspace, plan string) string {
			token := httpkey.Token{Workspace: workspace, Metadata: map[string]string{"plan": plan}}
			return httpkeytest.Issue(t, guard, token).Secret.Reveal()
		}
		one, two := issue("acme", "free"), issue("acme", "free")
		expect := func(key string, want answer) {
			t.Helper()
			if got := answerOf(httpkeytest.Get(api, key)); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		}
		expect(one, answer{200, "60", "59"})
		expect(two, answer{200, "60", "58"})
		expect(issue("globex", "team"), answer{200, "600", "599"})
		if err := changePlan(t.Context(), guard, "acme", "team"); err != nil {
			t.Fatal(err)
		}
		expect(one, answer{200, "600", "579"}) // the two requests were a thirtieth of the minute, and still are
	})
}

func TestNewTokensHaveThePlanOfTheirWorkspace(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	if err := sqlstore.Migrate(t.Context(), db, sqlstore.SQLite); err != nil {
		t.Fatal(err)
	}
	unknown := errors.New("no such workspace")
	planOf := func(_ context.Context, workspace string) (string, error) {
		if workspace != "acme" {
			return "", unknown
		}
		return "team", nil
	}
	guard := withPlans(cached(sqlstore.New(db, sqlstore.SQLite, nil), planOf), memstore.NewLimiter())
	key := httpkeytest.Issue(t, guard, httpkey.Token{Workspace: "acme"})
	rotated, err := guard.Rotate(t.Context(), key.Token.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := untilAnswered(guard.Handler(http.HandlerFunc(hello)), rotated.Secret.Reveal())
	if got := answerOf(w); got.limit != "600" {
		t.Errorf("%v, want a limit of 600", got)
	}
	if _, err := guard.Issue(t.Context(), httpkey.Token{}); !errors.Is(err, unknown) {
		t.Errorf("a token without a plan: %v", err)
	}
}

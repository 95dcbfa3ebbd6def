package console

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

// The Metadata of a token is the program's own: a plan there decides on limits. So no request to
// the console writes it, whatever the name of the field, and a successor has it as it was.
func TestNobodyWritesMetadata(t *testing.T) {
	t.Parallel()
	plan := map[string]string{"plan": "free"}
	for _, field := range []string{"metadata", "Metadata", "METADATA", "more", "More", "metadata[plan]", "metadata.plan"} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{})
			for _, id := range []string{"mine", "old", "older", "ended", "gone"} {
				s.issue(httpkey.Token{ID: id, Label: "bot", User: "ada", Metadata: plan})
			}
			inJSON := func(body string) string {
				return strings.TrimSuffix(body, "}") + `,"` + field + `":{"plan":"gold"}}`
			}
			inForm := func(form string) string {
				return form + "&" + url.Values{field: {"gold"}, field + "[plan]": {"gold"}}.Encode()
			}
			expiry := fmt.Sprintf(`"expired_at":%q`, time.Now().Add(day).Format(time.RFC3339))
			for _, tt := range []struct{ method, path, body string }{
				{http.MethodPost, "/", `{"label":"x",` + expiry + `}`},
				{http.MethodPatch, "/mine/", `{"label":"y"}`},
				{http.MethodPatch, "/ended/", `{"is_active":false}`},
				{http.MethodPost, "/old/rotate/", `{"grace":60}`},
			} {
				s.want(http.StatusBadRequest, s.api("ada", tt.method, tt.path, inJSON(tt.body)))
				s.want(http.StatusBadRequest, s.api("ada", tt.method, tt.path, tt.body+`{"`+field+`":{"plan":"gold"}}`))
				if w := s.api("ada", tt.method, tt.path, tt.body); w.Code >= 300 {
					t.Fatalf("%s %s without the field: %d %s", tt.method, tt.path, w.Code, w.Body)
				}
			}
			query := "?" + url.Values{field: {`{"plan":"gold"}`}}.Encode()
			s.api("ada", http.MethodPatch, "/mine/"+query, `{"label":"z"}`)
			for path, form := range map[string]string{
				"/": newForm(), "/mine/": "label=b&expiry=keep", "/older/rotate/": "grace=3600",
				"/gone/revoke/": "label=bot&confirm=bot",
			} {
				s.submit("ada", path+query, inForm(form))
			}
			tokens, err := s.store.List(t.Context(), httpkey.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			made, successors := 0, 0
			for _, token := range tokens {
				want := plan
				switch {
				case token.RotatedFrom != "":
					successors++
				case token.Metadata == nil:
					made++
					want = nil
				}
				if !maps.Equal(token.Metadata, want) {
					t.Errorf("%s, from %q, has the metadata %v", token.ID, token.RotatedFrom, token.Metadata)
				}
			}
			if made != 2 || successors != 2 || len(tokens) != 9 {
				t.Errorf("of %d tokens, %d are new and %d are successors, want 2 and 2", len(tokens), made, successors)
			}
			if got := s.get("mine").Label; got != "b" && got != "z" {
				t.Errorf("nothing has changed: the label is %q", got)
			}
		})
	}
}

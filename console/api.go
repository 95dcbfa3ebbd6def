package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/httpkey/httpkey"
)

// tokenList is a page of tokens on the wire, with the names of the Plane documentation.
// It is an object because an array has no place for the cursor.
type tokenList struct {
	Results         []httpkey.Token `json:"results"`
	NextCursor      string          `json:"next_cursor"`
	NextPageResults bool            `json:"next_page_results"`
}

func (c *console) apiList(w http.ResponseWriter, r *http.Request, p Principal) error {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	page, err := c.list(r.Context(), p, q)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, tokenList{
		Results:         append([]httpkey.Token{}, page.tokens...), // [] where nil would be null
		NextCursor:      page.next,
		NextPageResults: page.next != "",
	})
	return nil
}

func (c *console) apiCreate(w http.ResponseWriter, r *http.Request, p Principal) error {
	body, err := readObject(w, r)
	if err != nil {
		return err
	}
	t := httpkey.Token{
		Label:       body.text("label"),
		Description: body.text("description"),
		Kind:        body.kind("kind"),
		Workspace:   body.nullableText("workspace"),
		Scopes:      body.texts("scopes"),
		ExpiredAt:   body.expiry("expired_at"),
	}
	body.refuseRest()
	created, err := c.create(r.Context(), p, t, body.wrong)
	if err != nil {
		return err
	}
	writeCreated(w, "./", created)
	return nil
}

func (c *console) apiGet(w http.ResponseWriter, r *http.Request, p Principal) error {
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, t)
	return nil
}

func (c *console) apiUpdate(w http.ResponseWriter, r *http.Request, p Principal) error {
	body, err := readObject(w, r)
	if err != nil {
		return err
	}
	var ch change
	if body.has("label") {
		ch.label = pointer(body.text("label"))
	}
	if body.has("description") {
		ch.description = pointer(body.text("description"))
	}
	if body.has("is_active") {
		ch.isActive = pointer(body.boolean("is_active"))
	}
	if body.has("expired_at") {
		ch.expiredAt = pointer(body.expiry("expired_at"))
	}
	body.refuseRest()
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return err
	}
	updated, err := c.update(r.Context(), p, t, ch, body.wrong)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, updated)
	return nil
}

func (c *console) apiDelete(w http.ResponseWriter, r *http.Request, p Principal) error {
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := c.remove(r.Context(), p, t); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *console) apiRotate(w http.ResponseWriter, r *http.Request, p Principal) error {
	body, err := readObject(w, r)
	if err != nil {
		return err
	}
	grace := body.grace("grace")
	body.refuseRest()
	if err := body.wrong.asError(); err != nil {
		return err
	}
	created, err := c.rotate(r.Context(), p, r.PathValue("id"), grace)
	if err != nil {
		return err
	}
	writeCreated(w, "../../", created)
	return nil
}

// writeCreated writes the only answer that has the secret.
func writeCreated(w http.ResponseWriter, root string, created httpkey.Created) {
	w.Header().Set("Location", root+url.PathEscape(created.Token.ID)+"/")
	writeJSON(w, http.StatusCreated, created)
}

// writeFailure answers a program with a failure.
func writeFailure(w http.ResponseWriter, _ *http.Request, _ Principal, f *failure) {
	f.setHeaders(w.Header())
	writeJSON(w, f.status, f)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // a year of five digits, which Validate refuses
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // an error means that the client has gone
}

func pointer[T any](value T) *T { return &value }

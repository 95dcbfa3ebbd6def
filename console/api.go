package console

import (
	"net/http"

	"github.com/httpkey/httpkey"
)

func (c *console) apiCreate(r *http.Request, p Principal) (answer, error) {
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
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
	token, err := c.create(r.Context(), p, t, body.wrong)
	if err != nil {
		return answer{}, err
	}
	return created("./", token), nil
}

func (c *console) apiGet(r *http.Request, p Principal) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, value: t, version: versionOf(t)}, nil
}

func (c *console) apiUpdate(r *http.Request, p Principal) (answer, error) {
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
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
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	updated, err := c.update(r.Context(), p, t, ch, body.wrong)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, value: updated, version: versionOf(updated)}, nil
}

func (c *console) apiDelete(r *http.Request, p Principal) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	if err := c.remove(r.Context(), p, t); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

func (c *console) apiRotate(r *http.Request, p Principal) (answer, error) {
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
	}
	ro := rotation{grace: body.grace("grace")}
	if body.has("expired_at") {
		ro.expiredAt = pointer(body.expiry("expired_at"))
	}
	body.refuseRest()
	token, err := c.rotate(r.Context(), p, tokenID(r), ro, body.wrong)
	if err != nil {
		return answer{}, err
	}
	return created("../../", token), nil
}

// writeAnswer answers a program.
func (c *console) writeAnswer(w http.ResponseWriter, _ *http.Request, _ Principal, a answer) {
	a.write(w)
}

// writeFailure answers a program with a failure.
func writeFailure(w http.ResponseWriter, _ *http.Request, _ Principal, f *failure) {
	f.setHeaders(w.Header())
	writeJSON(w, f.status, f)
}

func pointer[T any](value T) *T { return &value }

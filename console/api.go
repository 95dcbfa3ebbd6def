package console

import (
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

func (c *console) apiCreate(r *http.Request, p Principal) (answer, error) {
	key, err := readIdempotencyKey(r.Header)
	if err != nil {
		return answer{}, err
	}
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
	}
	t := httpkey.Token{
		ID:          idOfRequest(p.User, key),
		Label:       body.text("label"),
		Description: body.text("description"),
		Kind:        body.kind("kind"),
		Workspace:   body.nullableText("workspace"),
		Scopes:      body.texts("scopes"),
		ExpiredAt:   c.defaultExpiry(),
	}
	if body.has("expired_at") {
		t.ExpiredAt = body.expiry("expired_at")
	}
	body.refuseRest()
	token, err := c.create(r.Context(), p, t, body.wrong)
	if err != nil {
		return answer{}, err
	}
	return c.created("./", token), nil
}

// defaultExpiry returns that of a token that is created without one, as the form chooses it.
func (c *console) defaultExpiry() time.Time {
	if c.options.DefaultLifetime < 0 {
		return time.Time{}
	}
	return stored(time.Now().Add(c.options.DefaultLifetime))
}

func (c *console) apiGet(r *http.Request, p Principal) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	value := resource{Token: t, further: c.watch(r.Context(), p, t)}
	return answer{status: http.StatusOK, value: value, version: versionOf(t)}, nil
}

func (c *console) apiUpdate(r *http.Request, p Principal) (answer, error) {
	condition, err := readIfMatch(r.Header)
	if err != nil {
		return answer{}, err
	}
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
	}
	ch := change{condition: condition}
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
	ch.reason = body.reason("revoked_for", ch.isActive != nil && !*ch.isActive)
	body.refuseRest()
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	updated, err := c.update(r.Context(), p, t, ch, body.wrong)
	if err != nil {
		return answer{}, err
	}
	value := resource{Token: updated, further: c.effectiveOf(updated)}
	return answer{status: http.StatusOK, value: value, version: versionOf(updated)}, nil
}

func (c *console) apiDelete(r *http.Request, p Principal) (answer, error) {
	condition, err := readIfMatch(r.Header)
	if err != nil {
		return answer{}, err
	}
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	if err := c.remove(r.Context(), p, t, condition); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

func (c *console) apiRotate(r *http.Request, p Principal) (answer, error) {
	condition, err := readIfMatch(r.Header)
	if err != nil {
		return answer{}, err
	}
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
	}
	ro := rotation{grace: body.grace("grace"), condition: condition}
	if body.has("expired_at") {
		ro.expiredAt = pointer(body.expiry("expired_at"))
	}
	body.refuseRest()
	token, err := c.rotate(r.Context(), p, tokenID(r), ro, body.wrong)
	if err != nil {
		return answer{}, err
	}
	return c.created("../../", token), nil
}

// created is the only answer that has the secret. root is the path to the console's own.
func (c *console) created(root string, made httpkey.Created) answer {
	return answer{
		status:   http.StatusCreated,
		value:    resource{made.Token, made.Secret, c.effectiveOf(made.Token)},
		location: root + pathOf(made.Token.ID) + "/",
		version:  versionOf(made.Token),
	}
}

// writeAnswer answers a program.
func (c *console) writeAnswer(w http.ResponseWriter, _ *http.Request, _ Principal, a answer) {
	a.write(w)
}

func pointer[T any](value T) *T { return &value }

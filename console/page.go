package console

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/httpkey/httpkey"
)

func (c *console) newPage(_ *http.Request, p Principal) (answer, error) {
	return page("new", view{Form: c.newForm(p, time.Now())}), nil
}

// submitNew answers with the secret itself. A redirect to it would have to store it. If the
// form is sent again, as by a reload, its nonce makes the same ID, which is a conflict.
func (c *console) submitNew(r *http.Request, p Principal) (answer, error) {
	values, err := readForm(r)
	if err != nil {
		return answer{}, err
	}
	f := c.newForm(p, time.Now())
	f.fill(values)
	if len(f.Nonce) < 16 {
		return answer{}, errIncompleteForm
	}
	wrong := problems{}
	created, err := c.create(r.Context(), p, httpkey.Token{
		ID:          idOf(p.User, f.Nonce),
		Label:       f.Label,
		Description: f.Description,
		Kind:        f.Kind,
		Workspace:   f.Workspace,
		Scopes:      f.Scopes,
		ExpiredAt:   f.expiry(wrong),
	}, wrong)
	if err != nil {
		return again("new", view{Form: f}, err)
	}
	return secretPage(view{Token: c.tokenView(p, created.Token, nil, time.Now()), Secret: created.Secret}), nil
}

// secretPage is the only page with a secret.
func secretPage(v view) answer {
	return answer{status: http.StatusCreated, page: "secret", view: v}
}

func (c *console) tokenPage(r *http.Request, p Principal) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	v, err := c.describe(r, p, t)
	if err != nil {
		return answer{}, err
	}
	v.Form = c.changeForm(t, time.Now())
	v.Usage = c.usageOf(r.Context(), p, t, time.Now())
	if !v.Token.HasEnded {
		v.Token.Remaining = c.remaining(r.Context(), p, t)
	}
	// A link may be old, or made up.
	if done := r.URL.Query().Get("done"); done == "updated" || done == "revoked" && !t.IsActive {
		v.Done = done
	}
	return page("token", v), nil
}

func (c *console) submitChange(r *http.Request, p Principal) (answer, error) {
	t, values, err := c.submitted(r, p)
	if err != nil {
		return answer{}, err
	}
	f, wrong := c.changeForm(t, time.Now()), problems{}
	f.fill(values)
	ch := change{label: &f.Label, description: &f.Description}
	if values.Has("version") {
		ch.condition = madeFor(f.Version)
	}
	if values.Has("expiry") { // the form of an ended token has no such field
		ch.expiredAt = pointer(f.expiry(wrong))
	}
	_, err = c.update(r.Context(), p, t, ch, wrong)
	switch {
	case errors.Is(err, errChanged):
		return c.changedMeanwhile(r, p, f)
	case err != nil:
		v, describing := c.describe(r, p, t)
		if describing != nil {
			return answer{}, describing
		}
		v.Form = f
		return again("token", v, err)
	}
	return c.doneAt(r, "./", "updated"), nil
}

// changedMeanwhile shows a form that was made for another version of the token, beside the token as
// it is now. Sent once more, the form replaces that.
func (c *console) changedMeanwhile(r *http.Request, p Principal, f *form) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	v, err := c.describe(r, p, t)
	if err != nil {
		return answer{}, err
	}
	v.Theirs, v.Form = v.Token, f
	f.Version = versionOf(t)
	return page("token", v), errChanged
}

func (c *console) rotatePage(r *http.Request, p Principal) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	if err := c.checkRotatable(r.Context(), p, t); err != nil {
		return answer{}, err
	}
	now := time.Now()
	return page("rotate", view{Token: c.tokenView(p, t, nil, now), Form: c.rotateForm(t, now)}), nil
}

// submitRotate answers with the secret, as submitNew does. If the form is sent again, the
// token has a successor, which is a conflict.
func (c *console) submitRotate(r *http.Request, p Principal) (answer, error) {
	t, values, err := c.submitted(r, p)
	if err != nil {
		return answer{}, err
	}
	if err := c.checkRotatable(r.Context(), p, t); err != nil {
		return answer{}, err
	}
	now := time.Now()
	f, wrong := c.rotateForm(t, now), problems{}
	f.fill(values)
	ro := rotation{grace: f.grace(c.options.Graces, wrong)}
	if values.Has("expiry") {
		expiry := f.expiry(wrong)
		if f.Expiry != "keep" {
			ro.expiredAt = &expiry
		}
	}
	created, err := c.rotate(r.Context(), p, t.ID, ro, wrong)
	if err != nil {
		return again("rotate", view{Token: c.tokenView(p, t, nil, now), Form: f}, err)
	}
	v := view{Token: c.tokenView(p, created.Token, nil, time.Now()), Secret: created.Secret}
	if old, err := c.find(r.Context(), p, t.ID); err == nil { // if not, the secret is shown all the same
		v.Old = c.tokenView(p, old, &created.Token, time.Now())
	}
	return secretPage(v), nil
}

func (c *console) revokePage(r *http.Request, p Principal) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	v, err := c.describe(r, p, t)
	v.Form = &form{}
	return page("revoke", v), err
}

func (c *console) submitRevoke(r *http.Request, p Principal) (answer, error) {
	t, values, err := c.submitted(r, p)
	if err != nil {
		return answer{}, err
	}
	f, wrong := &form{}, problems{}
	f.fill(values)
	checkText("reason", f.Reason, maxReason, false, wrong)
	if err = wrong.asError(); err == nil {
		_, err = c.revoke(r.Context(), p, t, f.Reason)
	}
	if err != nil {
		return again("revoke", view{Token: c.tokenView(p, t, nil, time.Now()), Form: f}, err)
	}
	return c.doneAt(r, "../", "revoked"), nil
}

func (c *console) deletePage(r *http.Request, p Principal) (answer, error) {
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	v, err := c.describe(r, p, t)
	return page("delete", v), err
}

// submitDelete deletes a token. Of a token that works, a person must have typed the name.
func (c *console) submitDelete(r *http.Request, p Principal) (answer, error) {
	t, values, err := c.submitted(r, p)
	if err != nil {
		return answer{}, err
	}
	now, wrong := time.Now(), problems{}
	if !hasEnded(t, now) && !isSameName(values.Get("name"), nameOf(t)) {
		wrong.add("name", otherName)
	}
	if err = wrong.asError(); err == nil {
		err = c.remove(r.Context(), p, t, nil)
	}
	if err != nil {
		return again("delete", view{Token: c.tokenView(p, t, nil, now)}, err)
	}
	return c.backToList(r, "done=deleted"), nil
}

// submitted returns the token that a form is about, and the fields of the form.
func (c *console) submitted(r *http.Request, p Principal) (httpkey.Token, url.Values, error) {
	values, err := readForm(r)
	if err != nil {
		return httpkey.Token{}, nil, err
	}
	t, err := c.find(r.Context(), p, tokenID(r))
	return t, values, err
}

// again shows a form once more, with the error of the last try, unless another try cannot help.
func again(name string, v view, err error) (answer, error) {
	f := asFailure(err)
	isFinal := f.status == http.StatusNotFound || f.status == http.StatusConflict && f.code != codeTooManyTokens
	if isFinal {
		return answer{}, f
	}
	return page(name, v), err
}

// describe returns the view of t, of its successor, and of the token that it succeeds.
func (c *console) describe(r *http.Request, p Principal, t httpkey.Token) (view, error) {
	now := time.Now()
	successor, err := c.successor(r.Context(), p, t)
	if err != nil {
		return view{}, err
	}
	v := view{Token: c.tokenView(p, t, successor, now)}
	if successor != nil && p.manages(*successor) {
		v.Successor = c.tokenView(p, *successor, nil, now)
	}
	if t.RotatedFrom != "" {
		old, err := c.find(r.Context(), p, t.RotatedFrom)
		switch {
		case err == nil:
			v.Old = c.tokenView(p, old, &t, now)
		case asFailure(err).status != http.StatusNotFound:
			return view{}, err
		}
	}
	return v, nil
}

package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

func (c *console) listPage(w http.ResponseWriter, r *http.Request, p Principal) error {
	values := r.URL.Query()
	q, err := parseQuery(values)
	if err != nil {
		return err
	}
	page, err := c.list(r.Context(), p, q)
	if err != nil {
		return err
	}
	list := &listView{
		Query:     q,
		Truncated: !page.all,
		Filtered:  q.Status != "" || q.Kind != "" || q.Search != "",
	}
	if q.after.ID != "" {
		list.First = linkTo(values, "")
	}
	if page.next != "" {
		list.Next = linkTo(values, page.next)
	}
	now := time.Now()
	for _, t := range page.tokens {
		var successor *httpkey.Token
		if t.RotatedTo != "" && !hasEnded(t, now) {
			if successor, err = c.successor(r.Context(), p, t); err != nil {
				return err
			}
		}
		list.Tokens = append(list.Tokens, c.tokenView(p, t, successor, now))
	}
	v := view{List: list}
	if values.Get("done") == "deleted" {
		v.Done = "deleted"
	}
	return c.render(w, r, p, http.StatusOK, "list", v)
}

// linkTo returns the link to the same list at another place.
func linkTo(values url.Values, cursor string) string {
	link := url.Values{}
	for _, name := range []string{"search", "status", "kind", "order_by", "per_page"} {
		if value := values.Get(name); value != "" {
			link.Set(name, value)
		}
	}
	if cursor != "" {
		link.Set("cursor", cursor)
	}
	return "?" + link.Encode()
}

func (c *console) newPage(w http.ResponseWriter, r *http.Request, p Principal) error {
	return c.render(w, r, p, http.StatusOK, "new", view{Form: c.newForm(p, time.Now())})
}

// submitNew answers with the secret itself. A redirect to it would have to store it. If the
// form is sent again, as by a reload, its nonce makes the same ID, which is a conflict.
func (c *console) submitNew(w http.ResponseWriter, r *http.Request, p Principal) error {
	values, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := c.newForm(p, time.Now())
	f.fill(values)
	if len(f.Nonce) < 16 {
		return malformed("The form is incomplete. Open it anew.")
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
		return c.again(w, r, p, err, "new", view{Form: f})
	}
	return c.render(w, r, p, http.StatusCreated, "secret", view{
		Token:  c.tokenView(p, created.Token, nil, time.Now()),
		Secret: created.Secret,
	})
}

func (c *console) tokenPage(w http.ResponseWriter, r *http.Request, p Principal) error {
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return err
	}
	v, err := c.describe(r, p, t)
	if err != nil {
		return err
	}
	v.Form = c.changeForm(t, time.Now())
	// A link may be old, or made up.
	if done := r.URL.Query().Get("done"); done == "updated" || done == "revoked" && !t.IsActive {
		v.Done = done
	}
	return c.render(w, r, p, http.StatusOK, "token", v)
}

func (c *console) submitChange(w http.ResponseWriter, r *http.Request, p Principal) error {
	values, err := readForm(w, r)
	if err != nil {
		return err
	}
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return err
	}
	f, wrong := c.changeForm(t, time.Now()), problems{}
	f.fill(values)
	ch := change{label: &f.Label, description: &f.Description}
	if values.Has("expiry") { // the form of an ended token has no such field
		ch.expiredAt = pointer(f.expiry(wrong))
	}
	if _, err := c.update(r.Context(), p, t, ch, wrong); err != nil {
		v, describing := c.describe(r, p, t)
		if describing != nil {
			return describing
		}
		v.Form = f
		return c.again(w, r, p, err, "token", v)
	}
	redirect(w, http.StatusSeeOther, "./?done=updated")
	return nil
}

func (c *console) rotatePage(w http.ResponseWriter, r *http.Request, p Principal) error {
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := c.checkRotatable(r.Context(), p, t); err != nil {
		return err
	}
	now := time.Now()
	return c.render(w, r, p, http.StatusOK, "rotate", view{Token: c.tokenView(p, t, nil, now), Form: rotateForm(now)})
}

// submitRotate answers with the secret, as submitNew does. If the form is sent again, the
// token has a successor, which is a conflict.
func (c *console) submitRotate(w http.ResponseWriter, r *http.Request, p Principal) error {
	values, err := readForm(w, r)
	if err != nil {
		return err
	}
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return err
	}
	now := time.Now()
	f, wrong := rotateForm(now), problems{}
	f.fill(values)
	grace, err := f.grace(wrong), wrong.asError()
	var created httpkey.Created
	if err == nil {
		created, err = c.rotate(r.Context(), p, t.ID, grace)
	}
	if err != nil {
		return c.again(w, r, p, err, "rotate", view{Token: c.tokenView(p, t, nil, now), Form: f})
	}
	v := view{Token: c.tokenView(p, created.Token, nil, time.Now()), Secret: created.Secret}
	if old, err := c.find(r.Context(), p, t.ID); err == nil { // if not, the secret is shown all the same
		v.Old = c.tokenView(p, old, &created.Token, time.Now())
	}
	return c.render(w, r, p, http.StatusCreated, "secret", v)
}

// confirmPage returns the handler of a page on which a person confirms a change.
func (c *console) confirmPage(name string) handler {
	return func(w http.ResponseWriter, r *http.Request, p Principal) error {
		t, err := c.find(r.Context(), p, r.PathValue("id"))
		if err != nil {
			return err
		}
		return c.confirm(w, r, p, t, nil, name)
	}
}

// submitConfirmed returns the handler of the form on such a page. It makes the change and
// redirects to another page.
func (c *console) submitConfirmed(
	name string, change func(context.Context, Principal, httpkey.Token) error, location string,
) handler {
	return func(w http.ResponseWriter, r *http.Request, p Principal) error {
		t, err := c.confirmed(w, r, p)
		if err == nil {
			err = change(r.Context(), p, t)
		}
		if err != nil {
			return c.confirm(w, r, p, t, err, name)
		}
		redirect(w, http.StatusSeeOther, location)
		return nil
	}
}

// confirmed returns the token of a form, with an error unless its name was typed there.
func (c *console) confirmed(w http.ResponseWriter, r *http.Request, p Principal) (httpkey.Token, error) {
	values, err := readForm(w, r)
	if err != nil {
		return httpkey.Token{}, err
	}
	t, err := c.find(r.Context(), p, r.PathValue("id"))
	if err != nil {
		return httpkey.Token{}, err
	}
	// A text field has no line breaks, and blanks in a row look like one.
	if strings.Join(strings.Fields(values.Get("name")), " ") != nameOf(t) {
		wrong := problems{}
		wrong.add("name", "This is not the name of the token.")
		return t, wrong.asError()
	}
	return t, nil
}

// confirm shows the form into which a person types t's name, and the error of the last try.
func (c *console) confirm(
	w http.ResponseWriter, r *http.Request, p Principal, t httpkey.Token, err error, name string,
) error {
	if t.ID == "" {
		return err
	}
	v, describing := c.describe(r, p, t)
	if describing != nil {
		return describing
	}
	if err != nil {
		return c.again(w, r, p, err, name, v)
	}
	return c.render(w, r, p, http.StatusOK, name, v)
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
		case !errors.Is(err, errNotFound):
			return view{}, err
		}
	}
	return v, nil
}

// again shows a form once more, with the error of the last try.
func (c *console) again(w http.ResponseWriter, r *http.Request, p Principal, err error, name string, v view) error {
	f := asFailure(err)
	if f.status == http.StatusNotFound || f.status == http.StatusConflict {
		return f // sending the form once more would not help
	}
	f.setHeaders(w.Header())
	v.Failure = newFailureView(f)
	return c.render(w, r, p, f.status, name, v)
}

// failurePage answers a person with a failure.
func (c *console) failurePage(w http.ResponseWriter, r *http.Request, p Principal, f *failure) {
	f.setHeaders(w.Header())
	if err := c.render(w, r, p, f.status, "failure", view{Failure: newFailureView(f)}); err != nil {
		http.Error(w, f.detail, f.status)
	}
}

// rootOf returns the relative path from that of r to the console's own.
func rootOf(r *http.Request) string {
	if depth := strings.Count(r.URL.EscapedPath(), "/") - 1; depth > 0 {
		return strings.Repeat("../", depth)
	}
	return "./"
}

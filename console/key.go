package console

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/httpkey/httpkey"
)

// A whole key must not travel in a URL, which ends in logs and in the history of browsers. A search is
// in the URL, so it refuses keys. This form finds the token of a key, whatever its state.

// keyShape is that of a key that a Guard makes, with any prefix, also if some of it is missing. In
// an attribute, keyPattern keeps a browser from sending one.
var keyShape = regexp.MustCompile(`_[ks]_[0-9A-Za-z]{16}`)

const keyPattern = `(?!.*_[ks]_[0-9A-Za-z]{16}).*`

// checkSearch refuses a search for the key of a token, of any shape.
func (c *console) checkSearch(ctx context.Context, p Principal, search string) error {
	const shortest = 16 // that a Guard admits
	if len(search) < shortest || strings.ContainsAny(search, " \t\n") {
		return nil
	}
	_, err := c.guard.Lookup(ctx, httpkey.Secret(search))
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return nil
	case err != nil:
		return c.failed(ctx, Event{Action: ActionRead, Principal: p, Err: err})
	}
	return errWholeKey
}

func (c *console) findPage(*http.Request, Principal) (answer, error) {
	return page("find", view{}), nil
}

func (c *console) submitFind(r *http.Request, p Principal) (answer, error) {
	values, err := readForm(r)
	if err != nil {
		return answer{}, err
	}
	t, err := c.findKey(r.Context(), p, values.Get("key"), problems{})
	if err != nil {
		return page("find", view{}), err
	}
	from, _ := c.waysOf(r, nil)
	return redirect(http.StatusSeeOther, "./"+pathOf(t.ID)+"/"+from), nil
}

func (c *console) apiFind(r *http.Request, p Principal) (answer, error) {
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
	}
	key := body.text("key")
	body.refuseRest()
	t, err := c.findKey(r.Context(), p, key, body.wrong)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, value: resource{Token: t, further: c.effectiveOf(t)}, version: versionOf(t)}, nil
}

// findKey returns the token of a key if p manages it. wrong has the problems of reading the key. It
// takes from the limit of reads, as it changes nothing.
func (c *console) findKey(ctx context.Context, p Principal, key string, wrong problems) (httpkey.Token, error) {
	if err := c.charge(ctx, p, ActionRead, c.options.ReadLimit); err != nil {
		return httpkey.Token{}, err
	}
	key = strings.TrimSpace(key)
	if key == "" && wrong["key"] == nil {
		wrong.add("key", required)
	}
	if err := wrong.asError(); err != nil {
		return httpkey.Token{}, err
	}
	t, err := c.guard.Lookup(ctx, httpkey.Secret(key))
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Token{}, errNobodysKey
	case err != nil:
		return httpkey.Token{}, c.failed(ctx, Event{Action: ActionRead, Principal: p, Err: err})
	case !p.manages(t):
		f := *errNobodysKey
		f.token = t
		return httpkey.Token{}, &f
	}
	return t, nil
}

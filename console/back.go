package console

import (
	"net/http"
	"net/url"
)

// A page that was opened from the list carries the list's query in its URL as "from". So every way
// back leads to the same list. Only what parseQuery reads from it is written anywhere.

// listOf returns the query of the list that the reader came from: all tokens, if the URL has none.
func (c *console) listOf(r *http.Request) query {
	all, _ := c.parseQuery(nil)
	values, err := url.ParseQuery(r.URL.Query().Get("from"))
	if err != nil {
		return all
	}
	q, err := c.parseQuery(values)
	if err != nil {
		return all
	}
	return q
}

// waysOf returns what the links of a page to other pages end in, and the link to the list.
func (c *console) waysOf(r *http.Request, list *listView) (from, back string) {
	q := c.listOf(r)
	if list != nil {
		q = list.Query
	}
	if parameters := q.encode(); parameters != "" {
		return "?" + url.Values{"from": {parameters}}.Encode(), rootOf(r) + "?" + parameters
	}
	return "", rootOf(r)
}

// doneAt redirects to the page of a token, which says what was done and leads back to the same list.
func (c *console) doneAt(r *http.Request, location, done string) answer {
	values := url.Values{"done": {done}}
	if parameters := c.listOf(r).encode(); parameters != "" {
		values.Set("from", parameters)
	}
	return redirect(http.StatusSeeOther, location+"?"+values.Encode())
}

// backToList redirects to the list that the reader came from, with further parameters.
func (c *console) backToList(r *http.Request, further string) answer {
	parameters := c.listOf(r).encode()
	if parameters != "" && further != "" {
		parameters += "&"
	}
	return redirect(http.StatusSeeOther, rootOf(r)+"?"+parameters+further)
}

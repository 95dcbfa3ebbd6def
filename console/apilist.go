package console

import "net/http"

// tokenList is a page of tokens on the wire, with the names of the Plane documentation.
// It is an object because an array has no place for the cursors.
type tokenList struct {
	Results         []resource `json:"results"`
	NextCursor      string     `json:"next_cursor"`
	PrevCursor      string     `json:"prev_cursor"`
	NextPageResults bool       `json:"next_page_results"`
	PrevPageResults bool       `json:"prev_page_results"`
	TotalResults    *int       `json:"total_results"` // null: not all tokens were looked at
}

func (c *console) apiList(r *http.Request, p Principal) (answer, error) {
	q, err := c.parseQuery(r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	found, err := c.list(r.Context(), p, q)
	if err != nil {
		return answer{}, err
	}
	list := tokenList{
		Results:         []resource{}, // [] where nil would be null
		NextCursor:      found.next,
		PrevCursor:      found.prev,
		NextPageResults: found.next != "",
		PrevPageResults: found.prev != "",
	}
	for _, t := range found.tokens {
		list.Results = append(list.Results, resource{Token: t, further: c.effectiveOf(t)})
	}
	if !found.isCut {
		list.TotalResults = &found.total
	}
	return answer{status: http.StatusOK, value: list}, nil
}

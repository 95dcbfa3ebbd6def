package console

import (
	"context"
	"encoding/json"
	"time"

	"github.com/httpkey/httpkey"
)

// resource is a token on the wire: the object of its own JSON, with further properties.
type resource struct {
	httpkey.Token
	secret  httpkey.Secret // of a new token
	further any            // effective or watched
}

// MarshalJSON writes one object.
func (r resource) MarshalJSON() ([]byte, error) {
	write := r.Token.MarshalJSON
	if r.secret != "" {
		write = httpkey.Created{Token: r.Token, Secret: r.secret}.MarshalJSON
	}
	token, err := write()
	if err != nil {
		return nil, err
	}
	further, err := json.Marshal(r.further)
	if err != nil {
		return nil, err
	}
	return append(append(token[:len(token)-1], ','), further[1:]...), nil
}

// effective are the limits of a request with the key; nil: not known now.
type effective struct {
	Limits []httpkey.Limit `json:"effective_limits"`
}

// watched has also what remains of them; nil: not known now.
type watched struct {
	effective
	Remaining []remaining `json:"remaining"`
}

// remaining is what remains of a limit, as the headers X-RateLimit-Limit, -Remaining and -Reset
// have it.
type remaining struct {
	Name      string `json:"name"`
	Limit     int    `json:"limit"`
	Remaining int    `json:"remaining"`
	Reset     int64  `json:"reset"` // Unix seconds
}

// effectiveOf returns the limits of a request with t's key. An error is one of Options.Charge.
func (c *console) effectiveOf(t httpkey.Token) effective {
	limits, err := c.askLimits(t)
	if err != nil {
		return effective{}
	}
	return effective{append([]httpkey.Limit{}, limits...)} // [] where nil would be null
}

// watch returns the limits of t with what remains of them.
func (c *console) watch(ctx context.Context, p Principal, t httpkey.Token) watched {
	w, now := watched{effective: c.effectiveOf(t)}, time.Now()
	results := c.peek(ctx, p, t)
	if results == nil {
		return w
	}
	w.Remaining = []remaining{}
	for _, r := range results {
		reset := now.Add(r.ResetAfter + time.Second - time.Nanosecond).Unix() // rounded up
		w.Remaining = append(w.Remaining, remaining{r.Limit.Name, r.Limit.Burst, r.Remaining, reset})
	}
	return w
}

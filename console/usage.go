package console

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// usageTimeout bounds how long a page waits for Options.Usage.
const usageTimeout = time.Second

// used is what a token was used for, up to a moment.
type used struct {
	hours, days []usage.Interval // the last 24 and 30, those without requests left out
	client      usage.Client
}

// usedFor returns what a token was used for up to now.
func (c *console) usedFor(ctx context.Context, t httpkey.Token, now time.Time) (u used, err error) {
	if u.hours, err = c.options.Usage.Of(ctx, t.ID, hours.first(now), now, hours.step); err != nil {
		return used{}, err
	}
	if u.days, err = c.options.Usage.Of(ctx, t.ID, days.first(now), now, days.step); err != nil {
		return used{}, err
	}
	u.client, err = c.options.Usage.LastClient(ctx, t.ID)
	return u, err
}

// usageObject is the usage of a token on the wire.
type usageObject struct {
	Hours      []usage.Interval `json:"hours"`
	Days       []usage.Interval `json:"days"`
	LastClient *clientObject    `json:"last_client,omitempty"` // nil: not known, or not recorded
}

// clientObject is the last client of a token on the wire.
type clientObject struct {
	Address   string    `json:"address"` // empty: not known
	UserAgent string    `json:"user_agent"`
	At        time.Time `json:"at"`
}

func (c *console) apiUsage(r *http.Request, p Principal) (answer, error) {
	if c.options.Usage == nil {
		return answer{}, errNotFound
	}
	t, err := c.find(r.Context(), p, tokenID(r))
	if err != nil {
		return answer{}, err
	}
	u, err := c.usedFor(r.Context(), t, time.Now())
	if err != nil {
		return answer{}, c.failed(r.Context(), Event{Action: ActionRead, Principal: p, Token: t, Err: err})
	}
	value := usageObject{Hours: append([]usage.Interval{}, u.hours...), Days: append([]usage.Interval{}, u.days...)}
	if !u.client.At.IsZero() {
		value.LastClient = &clientObject{textOfAddr(u.client.Addr), u.client.UserAgent, u.client.At.UTC()}
	}
	return answer{status: http.StatusOK, value: value}, nil
}

func textOfAddr(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}

// usageView is what a token was used for, as a page shows it.
type usageView struct {
	Known       bool // Options.Usage has answered
	Hours, Days chart
	Client      *clientView // nil: not known, or not recorded
}

// clientView is the last client of a token.
type clientView struct {
	Addr, UserAgent string
	At              moment
}

// usageOf returns what a page shows of the use of a token; nil without Options.Usage. The page shows
// the token also if that does not answer.
func (c *console) usageOf(ctx context.Context, p Principal, t httpkey.Token, now time.Time) *usageView {
	if c.options.Usage == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	u, err := c.usedFor(waiting, t, now)
	if err != nil {
		_ = c.failed(ctx, Event{Action: ActionRead, Principal: p, Token: t, Err: err})
		return &usageView{}
	}
	v := &usageView{Known: true, Hours: hours.chart(u.hours, now), Days: days.chart(u.days, now)}
	if !u.client.At.IsZero() {
		v.Client = &clientView{textOfAddr(u.client.Addr), u.client.UserAgent, moment{u.client.At, now}}
	}
	return v
}

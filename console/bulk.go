package console

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/paging"
)

// maxBulk bounds the tokens that one request names.
const maxBulk = 1000

// bulk is what a request revokes: the tokens with these IDs, or else all tokens of a user.
type bulk struct {
	ids    []string
	user   string
	reason string
}

// check returns an error if b, or the reading of it, has problems.
func (b bulk) check(wrong problems) error {
	checkText("reason", b.reason, maxReason, false, wrong)
	switch {
	case wrong["ids"] != nil || wrong["user"] != nil:
	case len(b.ids) == 0 && b.user == "":
		wrong.add("ids", requiredTokens)
	case len(b.ids) > 0 && b.user != "":
		wrong.add("ids", tokensAndUser)
	case len(b.ids) > maxBulk:
		wrong.add("ids", tooMany(maxBulk))
	}
	return wrong.asError()
}

// revoked are the outcome of revoking many tokens.
type revoked struct {
	Revoked []string     `json:"revoked"` // their IDs
	Failed  []notRevoked `json:"failed"`
}

// notRevoked is a token that could not be revoked, and why.
type notRevoked struct {
	ID   string `json:"id"`
	Code string `json:"code"`
}

// mayStillWork reports whether there is still something to revoke.
func (n notRevoked) mayStillWork() bool { return n.Code != errNotFound.code }

func (c *console) apiRevoke(r *http.Request, p Principal) (answer, error) {
	body, err := readObject(r)
	if err != nil {
		return answer{}, err
	}
	b := bulk{ids: body.texts("ids"), user: body.text("user"), reason: body.text("reason")}
	body.refuseRest()
	if err := b.check(body.wrong); err != nil {
		return answer{}, err
	}
	all, err := c.revokeBulk(r.Context(), p, b)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, value: all}, nil
}

// revokeBulk revokes what b says. Each revocation is an event of its own. They go on if the client
// hangs up, and no limit stops them.
func (c *console) revokeBulk(ctx context.Context, p Principal, b bulk) (revoked, error) {
	ctx, done := detached(ctx)
	defer done()
	if b.user != "" {
		return c.revokeUser(ctx, p, b.user, b.reason)
	}
	all := revoked{[]string{}, []notRevoked{}}
	seen := make(map[string]bool)
	for _, id := range b.ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		all.add(id, c.revokeID(ctx, p, id, b.reason))
	}
	return all, nil
}

// add notes the outcome of revoking one token.
func (r *revoked) add(id string, err error) {
	if err != nil {
		r.Failed = append(r.Failed, notRevoked{id, asFailure(err).code})
		return
	}
	r.Revoked = append(r.Revoked, id)
}

// revokeID revokes the token with an ID, if p manages it. A refusal of one of many is no answer, but
// the audit is told of it.
func (c *console) revokeID(ctx context.Context, p Principal, id, reason string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := c.find(ctx, p, id)
	if err != nil {
		c.auditRefusal(ctx, ActionRevoke, p, asFailure(err))
		return err
	}
	_, err = c.revoke(ctx, p, t, reason)
	return err
}

// revokeUser revokes the tokens of a user that p manages and that work, until there are none: others
// may be issued meanwhile.
func (c *console) revokeUser(ctx context.Context, p Principal, user, reason string) (revoked, error) {
	filters := query{User: user}.filters(p)
	if len(filters) == 0 {
		return revoked{}, errMayNotRevokeTheirs
	}
	all := revoked{[]string{}, []notRevoked{}}
	for {
		pass := revoked{Failed: []notRevoked{}}
		for _, filter := range filters {
			for t, err := range c.each(ctx, filter) {
				switch {
				case err != nil:
					return revoked{}, c.failed(ctx, Event{Action: ActionRevoke, Principal: p, Err: err})
				case ctx.Err() != nil:
					return revoked{}, c.failed(ctx, Event{Action: ActionRevoke, Principal: p, Err: ctx.Err()})
				case hasEnded(t, time.Now()):
					continue
				}
				_, err := c.revoke(ctx, p, t, reason)
				pass.add(t.ID, err)
			}
		}
		all.Revoked = append(all.Revoked, pass.Revoked...)
		all.Failed = pass.Failed
		if len(pass.Revoked) == 0 {
			return all, nil
		}
	}
}

// each yields all tokens that a filter selects.
func (c *console) each(ctx context.Context, filter httpkey.Filter) iter.Seq2[httpkey.Token, error] {
	filter.Limit = scanPage
	list := func(f httpkey.Filter) ([]httpkey.Token, error) { return c.store.List(ctx, f) }
	return paging.All(filter, scanPage, list, func(f httpkey.Filter, t httpkey.Token) httpkey.Filter {
		f.After = t.Cursor()
		return f
	})
}

// bulkView is what a person is about to revoke.
type bulkView struct {
	Tokens []*tokenView // that still work; of a user's, the first ones
	Count  int          // of all of them
	More   bool         // there are more than Count: not all were looked at
	User   string       // the ID, if all tokens of a user are revoked
	Reason string
}

// Rest returns how many tokens the table leaves out.
func (v bulkView) Rest() int { return v.Count - len(v.Tokens) }

// submitBulk shows what would be revoked, which is a read. Confirmed, it revokes that.
func (c *console) submitBulk(r *http.Request, p Principal) (answer, error) {
	values, err := readForm(r)
	if err != nil {
		return answer{}, err
	}
	b := bulk{values["id"], values.Get("user"), strings.TrimSpace(values.Get("reason"))}
	if err := b.check(problems{}); err != nil {
		if asFailure(err).fields["reason"] == nil { // there is nothing to show
			return answer{}, err
		}
		return c.confirmBulk(r, p, b, err)
	}
	if !values.Has("confirm") {
		if err := c.charge(r.Context(), p, ActionRead, c.options.ReadLimit); err != nil {
			return answer{}, err
		}
		return c.confirmBulk(r, p, b, nil)
	}
	done, err := c.revokeBulk(r.Context(), p, b)
	if err != nil {
		return answer{}, err
	}
	if slices.ContainsFunc(done.Failed, notRevoked.mayStillWork) {
		return c.confirmBulk(r, p, b, errUnavailable)
	}
	return c.backToList(r, "revoked="+strconv.Itoa(len(done.Revoked))), nil
}

// confirmBulk shows the tokens of b that still work, with what went wrong the last time.
func (c *console) confirmBulk(r *http.Request, p Principal, b bulk, wrong error) (answer, error) {
	v, err := c.bulkView(r.Context(), p, b)
	if err != nil {
		return answer{}, err
	}
	if v.Count == 0 {
		return c.backToList(r, ""), nil
	}
	return page("bulk", view{Bulk: v}), wrong
}

func (c *console) bulkView(ctx context.Context, p Principal, b bulk) (*bulkView, error) {
	v := &bulkView{User: b.user, Reason: b.reason}
	tokens, err := c.named(ctx, p, b.ids)
	if b.user != "" {
		var l listing
		l, err = c.list(ctx, p, query{User: b.user, Status: "works", Order: "-last_used", PerPage: maxPage})
		tokens, v.Count, v.More = l.tokens, l.total, l.isCut
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, t := range tokens {
		if !hasEnded(t, now) {
			v.Tokens = append(v.Tokens, c.tokenView(p, t, nil, now))
		}
	}
	v.Count = max(v.Count, len(v.Tokens))
	return v, nil
}

// named returns the tokens of p with these IDs. It fails if there are none.
func (c *console) named(ctx context.Context, p Principal, ids []string) ([]httpkey.Token, error) {
	var tokens []httpkey.Token
	var missing error
	for _, id := range ids {
		t, err := c.find(ctx, p, id)
		switch f := asFailure(err); {
		case err == nil:
			tokens = append(tokens, t)
		case f.status == http.StatusNotFound:
			missing = err
		default:
			return nil, err
		}
	}
	if tokens == nil {
		return nil, missing
	}
	return tokens, nil
}

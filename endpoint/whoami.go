package endpoint

import (
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

// WhoAmI returns a handler that tells the holder of a key what the key is and may do:
//
//	{
//		"id": "0192f3a4-…",
//		"hint": "a1B2",
//		"kind": "api_key",
//		"label": "laptop",
//		"user": "ada",
//		"workspace": null,
//		"scopes": ["read", "write"],
//		"expired_at": "2027-01-31T00:00:00Z",
//		"rate_limits": [
//			{"rate": 60, "burst": 60, "period": 60, "remaining": 59, "reset_after": 1},
//			{"rate": 5000, "calendar": "month", "remaining": 4999, "reset_after": 86400}
//		]
//	}
//
// The names and values are those of a [httpkey.Token] in JSON, so a client in Go may read them
// into a Token. Later versions may add properties. The rate_limits are those that apply to the
// key, in a list that is empty if there are none. Beside the properties of a [httpkey.Limit],
// remaining is the cost that would pass now, and reset_after is the time until the limit is full
// again, in whole seconds, rounded up. A limit that is not enforced has "dry_run": true.
//
// The response leaves out what the holder of a key does not need, and a thief might: networks,
// description, metadata, creator, and the history of uses and rotations.
//
// A request costs nothing and is no use of the key, so a key over its limit is told its limits.
// A request that is refused is answered by the Guard, through [httpkey.Options.ErrorHandler], as
// any other: so a key with a limit of nothing gets 403. A request without a key gets 401, also
// if [httpkey.Options.Anonymous] would let it pass. Only GET and HEAD are allowed. Nothing
// limits these requests; [httpkey.Guard.LimitBy] around the handler may.
func WhoAmI(guard *httpkey.Guard) http.Handler {
	mustHave(guard, "WhoAmI")
	return only(func(w http.ResponseWriter, r *http.Request) {
		// An admission around this handler may be that of LimitBy. A header of its own makes
		// the Guard look at the key again.
		r = r.WithContext(r.Context())
		r.Header = r.Header.Clone()
		r, ok := guard.CheckCost(w, r, 0)
		if !ok {
			return
		}
		admission, _ := httpkey.AdmissionFrom(r.Context())
		if _, hasKey := httpkey.FromContext(r.Context()); !hasKey {
			refuseMissing.ServeHTTP(w, r)
			return
		}
		write(w, r, http.StatusOK, identityOf(admission))
	}, http.MethodGet, http.MethodHead)
}

// refuseMissing answers requests without a token, as the Guard in their context does.
var refuseMissing = httpkey.RequireKind(httpkey.APIKey)(nil)

// holder is what the holder of a key may know of its token.
type holder struct {
	ID        string       `json:"id"`
	Hint      string       `json:"hint"`
	Kind      httpkey.Kind `json:"kind"`
	Label     string       `json:"label"`
	User      string       `json:"user"`
	Workspace *string      `json:"workspace"`
	Scopes    []string     `json:"scopes"`
	ExpiredAt *time.Time   `json:"expired_at"`
}

func holderOf(t *httpkey.Token) holder {
	h := holder{
		ID: t.ID, Hint: t.Hint, Kind: t.Kind, Label: t.Label, User: t.User, Scopes: append([]string{}, t.Scopes...),
	}
	if t.Workspace != "" {
		h.Workspace = &t.Workspace
	}
	if !t.ExpiredAt.IsZero() {
		expiry := t.ExpiredAt.UTC()
		h.ExpiredAt = &expiry
	}
	return h
}

// identity is what the holder of a key may know of it.
type identity struct {
	holder
	Limits []limit `json:"rate_limits"`
}

// limit is a [httpkey.Limit], whose JSON has no place for the state of its bucket.
type limit struct {
	Name       string           `json:"name,omitempty"`
	Rate       int              `json:"rate"`
	Burst      int              `json:"burst,omitempty"`
	Period     float64          `json:"period,omitempty"` // seconds
	Calendar   httpkey.Calendar `json:"calendar,omitempty"`
	DryRun     bool             `json:"dry_run,omitempty"`
	Remaining  int              `json:"remaining"`
	ResetAfter int64            `json:"reset_after"` // seconds
}

func identityOf(admission *httpkey.Admission) identity {
	who := identity{holderOf(&admission.Token), []limit{}}
	each := admission.Result.Each
	if len(each) == 0 && admission.Result.Limit != (httpkey.Limit{}) {
		each = []httpkey.Result{admission.Result}
	}
	for i := range each {
		who.Limits = append(who.Limits, limitOf(&each[i]))
	}
	return who
}

func limitOf(r *httpkey.Result) limit {
	l := limit{
		Name: r.Limit.Name, Rate: r.Limit.Rate, Calendar: r.Limit.Calendar, DryRun: r.Limit.DryRun,
		Remaining: max(0, r.Remaining), ResetAfter: int64((r.ResetAfter + time.Second - 1) / time.Second),
	}
	if l.Calendar == "" {
		l.Burst, l.Period = r.Limit.Burst, r.Limit.Period.Seconds()
	}
	return l
}

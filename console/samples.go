package console

import (
	"net/netip"
	"time"

	"github.com/httpkey/httpkey"
)

// samples returns views of every state, with everything that a page can show, to try
// templates on.
func samples(now time.Time) []view {
	var views []view
	limits := limitsView{true, []limitView{{60, 10, span{1, "minute"}}, {1000, 0, span{1, "month"}}}}
	used := usageView{
		Known:  true,
		Client: &clientView{"192.0.2.1", "curl/8.5.0", moment{now.Add(-time.Minute), now}},
		Hours:  chart{Step: "hour"},
		Days: chart{
			Step: "day", Width: 10, Height: 100, Passed: 1, Refused: 2, Bars: []bar{{"passed", 0, 0, 10, 100}},
			Reasons: []reasonView{{1, "scope"}, {1, "reason"}},
		},
	}
	one := []problem{{Field: "field", Code: "code", N: 1, Text: "text"}}
	dones := []string{"", "updated", "revoked", "deleted"}
	for i, state := range []string{"active", "expiring", "old", "unused", "rotating", "expired", "revoked"} {
		token := &tokenView{
			Token: httpkey.Token{
				ID: "id", Label: "label", Description: "description", Kind: httpkey.APIKey, Scopes: []string{"scope"},
				Networks: []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)},
			},
			Path:    "id",
			Name:    "label",
			Key:     "…a1B2",
			Owner:   "user",
			Place:   "workspace",
			Created: moment{now.Add(-day), now},
			Used:    moment{now.Add(-time.Hour), now},
			Expires: moment{now.Add(day), now},
			Status: status{
				State: state, Since: moment{now.Add(-day), now}, Until: moment{now.Add(day), now},
				Used: moment{now, now}, InUse: true, After: span{1, "day"},
			},
			Replaces:   &tokenView{Key: "…c3D4", Status: status{State: "rotating", Until: moment{now, now}}},
			Revocation: &revocation{moment{now.Add(-day), now}, "user", "reason"},
			HasEnded:   state == "expired" || state == "revoked",
			Limits:     limits,
			Remaining:  []remainingView{{1, limits.All[0]}},
		}
		f := &form{Graces: []graceChoice{{Value: "0"}, {"60", span{1, "minute"}, moment{now, now}}}}
		f.Kinds = []kindView{{httpkey.APIKey, limits}, {Kind: httpkey.ServiceToken}}
		for _, value := range []string{"keep", "7", "longest", "custom", "never"} {
			f.Expiries = append(f.Expiries, expiryChoice{value, moment{now, now}, span{7, "day"}})
		}
		failed := newFailureView(&failure{status: 400, detail: "detail", inTheWay: "id", fields: problems{
			"label": one, "description": one, "kind": one, "workspace": one, "scopes": one, "expired_at": one, "grace": one,
			"reason": one, "name": one, "key": one, "ids": one,
		}})
		views = append(views, view{
			Root: "./",
			Principal: Principal{
				User: "user", Workspaces: []string{"workspace"}, ServiceTokens: true, Scopes: []string{"scope"},
			},
			Done:    dones[i%len(dones)],
			Failure: failed,
			List: &listView{
				Tokens: []*tokenView{token}, From: 1, To: 1, Total: 1, Scanned: 1, IsCut: true, Filtered: true,
				Revoked: 2, First: "?", Prev: "?", Next: "?", Users: []string{"", "user"}, Workspaces: []string{"", "workspace"},
			},
			Bulk:      &bulkView{Tokens: []*tokenView{token}, Count: 2, More: true, User: "user", Reason: "reason"},
			Token:     token,
			Back:      "./?search=x",
			From:      "?from=search%3Dx",
			Successor: token,
			Old:       token,
			Usage:     &used,
			Theirs:    token,
			Secret:    "secret",
			Form:      f,
			SignIn:    "/login",
			Unsent:    []formField{{"label", "label"}},
			Data:      noData,
		})
	}
	bare := views[0]
	bare.List, bare.Bulk, bare.Usage = &listView{}, &bulkView{}, &usageView{}
	bare.Successor, bare.Old = nil, nil
	bare.Failure = &failureView{Status: 401}
	return append(views, bare)
}

// Package telemetry says which counts packages otelkey and promkey make of an event, so that both
// count the same.
package telemetry

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/streams"
)

// Request has the attributes of httpkey.requests. All but Result may be empty.
type Request struct {
	Result string // admitted, throttled, refused or unavailable
	Reason string // a httpkey.Reason
	Kind   string // that of the token
	Route  string // the pattern of a ServeMux in front, without method and host
}

// RequestOf returns the attributes of the request that an event is about, and false if the event
// counts no request. A second admission of one request does not count.
func RequestOf(e *httpkey.Event) (Request, bool) {
	r := Request{Result: "admitted", Reason: string(e.Reason), Kind: string(e.Token.Kind)}
	switch {
	case e.Type == httpkey.EventAdmitted && !e.Again:
	case e.Type != httpkey.EventRefused:
		return Request{}, false
	case e.Reason == httpkey.ReasonThrottled || e.Reason == httpkey.ReasonFailures:
		r.Result = "throttled"
	case e.Reason == httpkey.ReasonStore || e.Reason == httpkey.ReasonLimiter:
		r.Result = "unavailable"
	default:
		r.Result = "refused"
	}
	if e.Request != nil {
		if i := strings.IndexByte(e.Request.Pattern, '/'); i >= 0 { // behind the method and the host
			r.Route = e.Request.Pattern[i:]
		}
	}
	return r, true
}

// Decision has the attributes of httpkey.rate_limiting.requests.
type Decision struct {
	Policy string // the Name of the limit; may be empty
	Result string // allowed, denied or dry_run
}

// EachDecision calls count for each decision of a limit that an event tells of. Of an admitted
// or denied request it is that of the limit that binds.
func EachDecision(e *httpkey.Event, count func(Decision)) {
	switch {
	case e.Type == httpkey.EventDryRun:
		for i := range e.Result.Each {
			if r := &e.Result.Each[i]; r.Limit.DryRun && !r.Allowed {
				count(Decision{r.Limit.Name, "dry_run"})
			}
		}
	case e.Result.Limit == httpkey.Limit{} || e.Result.Limit.DryRun:
	case e.Type == httpkey.EventAdmitted:
		count(Decision{e.Result.Limit.Name, "allowed"})
	case e.Reason == httpkey.ReasonThrottled || e.Reason == httpkey.ReasonLimit:
		count(Decision{e.Result.Limit.Name, "denied"})
	}
}

// Components are the values of httpkey.component.
var Components = []string{"limiter", "store", "feed", "streams_feed"}

// ChangeOf returns the component that an event says to be down (1) or up again (-1), and 0 for
// other events.
func ChangeOf(t httpkey.EventType) (component string, change int64) {
	switch t {
	case httpkey.EventLimiterDown:
		return "limiter", 1
	case httpkey.EventLimiterUp:
		return "limiter", -1
	case cachestore.EventStoreDown:
		return "store", 1
	case cachestore.EventStoreUp:
		return "store", -1
	case cachestore.EventFeedDown:
		return "feed", 1
	case cachestore.EventFeedUp:
		return "feed", -1
	case streams.EventFeedDown:
		return "streams_feed", 1
	case streams.EventFeedUp:
		return "streams_feed", -1
	}
	return "", 0
}

// Counts reports whether events of a type count.
func Counts(t httpkey.EventType) bool {
	switch t {
	case httpkey.EventAdmitted, httpkey.EventRefused, httpkey.EventDryRun, httpkey.EventFlushFailed:
		return true
	}
	_, change := ChangeOf(t)
	return change != 0
}

// mostSeries bounds the memory of a Series. A program has fewer routes and names of limits.
const mostSeries = 2000

// Series remembers what Make has made for each key, so that a request looks it up without a
// lock. Make may be called more than once for a key. Series is safe for concurrent use.
type Series[K comparable, V any] struct {
	Make func(K) V // makes the value of a key; not nil

	mu  sync.Mutex // held by writers
	all atomic.Pointer[map[K]V]
}

// Of returns the value of a key.
func (s *Series[K, V]) Of(key K) V {
	if all := s.all.Load(); all != nil {
		if v, ok := (*all)[key]; ok {
			return v
		}
	}
	return s.add(key)
}

func (s *Series[K, V]) add(key K) V {
	v := s.Make(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[K]V{key: v}
	if old := s.all.Load(); old != nil {
		if len(*old) >= mostSeries {
			return v
		}
		for k, v := range *old {
			all[k] = v
		}
	}
	s.all.Store(&all)
	return v
}

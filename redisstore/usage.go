package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/httpkey/httpkey/internal/tally"
	"github.com/httpkey/httpkey/usage"
	"github.com/redis/go-redis/v9"
)

// Usage is a [usage.Store] in Redis. Make one with [NewUsage]. It is safe for concurrent use. It
// works on a single server, with Sentinel and on a Cluster, over which the tokens are spread.
//
// An Add is a pipeline for each 200 tokens of a server, with a script for each token. So a token's
// counts are added as a whole. Keys expire by themselves. A token that is used in every hour takes some 17 KB for a
// month, and one that is used in one hour of each day some 7 KB.
//
// A client that retries by itself may count twice: see the package comment.
type Usage struct {
	rdb     redis.UniversalClient
	servers servers // the pipeline of a ClusterClient would repeat itself after some errors
	prefix  string
}

var _ usage.Store = (*Usage)(nil)

// NewUsage returns a Usage in rdb. Nil opts mean the defaults; only their Prefix matters. NewUsage
// does not call Redis. It panics if rdb is nil, if opts are invalid, and if rdb is a [redis.Ring]:
// while one of its servers is down, a Ring counts on another.
func NewUsage(rdb redis.UniversalClient, opts *Options) *Usage {
	if rdb == nil {
		panic("httpkey: redisstore.NewUsage: rdb is nil")
	}
	if _, ok := rdb.(*redis.Ring); ok {
		panic("httpkey: redisstore.NewUsage: rdb is a Ring, which loses counts while a server is down; " +
			"use a Cluster or Sentinel")
	}
	u := &Usage{rdb: rdb, prefix: opts.withDefaults().Prefix + "usage:"}
	u.servers.init(rdb)
	return u
}

// A token's counts are in hashes, small enough for the compact form of Redis: one for the hours of
// each day, and one for the days of each month. The names of their fields are the number of the
// hour or the day, and the name of the count. A hash tag keeps those of a token in one slot.

// hash is one of a token's hashes.
type hash struct {
	key     string
	expires time.Time // with the last of its intervals
}

func (u *Usage) base(id string) string { return u.prefix + "{" + payerTag.Replace(id) + "}:" }

// place returns the hash of an interval, and what its fields begin with.
func (u *Usage) place(id string, start time.Time, step, keep time.Duration) (h hash, field string) {
	if step == usage.Hour {
		day := start.Truncate(usage.Day)
		return hash{u.base(id) + day.Format("2006-01-02"), day.Add(usage.Day + keep)}, strconv.Itoa(start.Hour()) + " "
	}
	month := time.Date(start.Year(), start.Month(), 1, 0, 0, 0, 0, time.UTC)
	return hash{u.base(id) + month.Format("2006-01"), month.AddDate(0, 1, 0).Add(keep)}, strconv.Itoa(start.Day()) + " "
}

// addUsage adds to a token's hashes. KEYS[1] is its last client, and the others are hashes. ARGV has the
// client, as in HSET, or four empty texts. Then it has for each hash when it expires, and the
// number of the pairs of a field and a count that follow.
var addUsage = redis.NewScript(`
if ARGV[1] ~= '' then
	local last = redis.call('HGET', KEYS[1], 'at')
	if not last or last < ARGV[1] then
		redis.call('HSET', KEYS[1], 'at', ARGV[1], 'addr', ARGV[2], 'agent', ARGV[3])
		redis.call('EXPIREAT', KEYS[1], ARGV[4])
	end
end
local at = 5
for i = 2, #KEYS do
	local expires, count = ARGV[at], tonumber(ARGV[at + 1])
	at = at + 2
	for _ = 1, count do
		redis.call('HINCRBY', KEYS[i], ARGV[at], ARGV[at + 1])
		at = at + 2
	end
	redis.call('EXPIREAT', KEYS[i], expires)
end
return 1
`)

// readUsage is a script, as all reads of this package are, so that it runs on a master.
var readUsage = redis.NewScript(`
local all = {}
for i, key in ipairs(KEYS) do all[i] = redis.call('HGETALL', key) end
return all
`)

// addition is what is to be added for a token.
type addition struct {
	deltas []usage.Delta
	keys   []string
	args   []any
}

func (u *Usage) addition(id string, deltas []usage.Delta, keep usage.Keep) addition {
	last := slices.MaxFunc(deltas, func(a, b usage.Delta) int { return a.Client.At.Compare(b.Client.At) }).Client
	a := addition{deltas, []string{u.base(id) + "client"}, []any{"", "", "", ""}}
	if !last.At.IsZero() {
		a.args = []any{stamp(last.At), text(last.Addr), last.UserAgent, last.At.Add(keep.Hours).Unix()}
	}
	fields := make(map[hash][]any)
	for _, d := range deltas {
		for step, keep := range map[time.Duration]time.Duration{usage.Hour: keep.Hours, usage.Day: keep.Days} {
			h, field := u.place(id, d.Hour.UTC().Truncate(step), step, keep)
			for name, n := range tally.Of(d.Counts) {
				fields[h] = append(fields[h], field+name, n)
			}
		}
	}
	for h, pairs := range fields {
		a.keys = append(a.keys, h.key)
		a.args = append(append(a.args, h.expires.Unix(), len(pairs)/2), pairs...)
	}
	return a
}

// text returns an address, or nothing for the invalid one.
func text(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}

// Add implements [usage.Store].
func (u *Usage) Add(ctx context.Context, deltas []usage.Delta, keep usage.Keep) (rest []usage.Delta, err error) {
	byID := make(map[string][]usage.Delta)
	for _, d := range deltas {
		byID[d.ID] = append(byID[d.ID], d)
	}
	byServer := make(map[*redis.Client][]addition)
	for id, deltas := range byID {
		server := u.servers.of(ctx, u.base(id))
		byServer[server] = append(byServer[server], u.addition(id, deltas, keep))
	}
	for server, additions := range byServer {
		missing, failed := u.addAll(ctx, server, additions)
		if failed != nil {
			u.servers.reload(ctx)
			err = fmt.Errorf("httpkey: add usage in Redis: %w", failed)
		}
		for _, a := range missing {
			rest = append(rest, a.deltas...)
		}
	}
	return rest, err
}

// addAtOnce is the maximum number of tokens of a pipeline.
const addAtOnce = 200

// addAll adds on a server, or nil if that is not known. It returns those that it did not add, with an
// error. It gives up at the first pipeline that fails as a whole.
func (u *Usage) addAll(ctx context.Context, server *redis.Client, additions []addition) (rest []addition, err error) {
	var rdb redis.UniversalClient = server
	if server == nil {
		rdb = u.rdb
	}
	for i := 0; i < len(additions); i += addAtOnce {
		batch := additions[i:min(i+addAtOnce, len(additions))]
		missing, failed := add(ctx, rdb, batch)
		if redis.HasErrorPrefix(failed, "NOSCRIPT") && addUsage.Load(ctx, rdb).Err() == nil {
			missing, failed = add(ctx, rdb, missing)
		}
		rest, err = append(rest, missing...), cmp.Or(err, failed)
		if len(missing) == len(batch) {
			return append(rest, additions[i+len(batch):]...), err
		}
	}
	return rest, err
}

// add adds in one pipeline.
func add(ctx context.Context, rdb redis.UniversalClient, additions []addition) (rest []addition, err error) {
	pipe := rdb.Pipeline()
	replies := make([]*redis.Cmd, len(additions))
	for i, a := range additions {
		replies[i] = addUsage.EvalSha(ctx, pipe, a.keys, a.args...)
	}
	_, failed := pipe.Exec(ctx)
	for i, a := range additions {
		if replies[i].Val() == nil { // without an error of its own if the pipeline was not sent
			rest, err = append(rest, a), cmp.Or(err, replies[i].Err(), failed, errOdd)
		}
	}
	return rest, err
}

// Of implements [usage.Reader], in one round trip.
func (u *Usage) Of(ctx context.Context, id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
	starts, err := usage.Starts(from, to, step)
	if err != nil || len(starts) == 0 {
		return nil, err
	}
	var keys []string
	for _, start := range starts {
		if h, _ := u.place(id, start, step, 0); len(keys) == 0 || keys[len(keys)-1] != h.key {
			keys = append(keys, h.key)
		}
	}
	hashes, err := readUsage.Run(ctx, u.rdb, keys).Slice()
	switch {
	case err != nil:
		return nil, fmt.Errorf("httpkey: read usage from Redis: %w", err)
	case len(hashes) != len(keys):
		return nil, errOdd
	}
	fields := make(map[string]map[string]usage.Counts) // by the key, and what the fields begin with
	for i, key := range keys {
		if fields[key], err = countsOf(hashes[i]); err != nil {
			return nil, err
		}
	}
	var intervals []usage.Interval
	for _, start := range starts {
		h, field := u.place(id, start, step, 0)
		if counts := fields[h.key][field]; !counts.IsZero() {
			intervals = append(intervals, usage.Interval{Start: start, Counts: counts})
		}
	}
	return intervals, nil
}

// countsOf returns the counts of a hash by what their fields begin with.
func countsOf(reply any) (map[string]usage.Counts, error) {
	pairs, ok := reply.([]any)
	if !ok || len(pairs)%2 != 0 {
		return nil, errOdd
	}
	counts := make(map[string]usage.Counts)
	for pair := range slices.Chunk(pairs, 2) {
		field, isText := pair[0].(string)
		value, isText2 := pair[1].(string)
		n, err := strconv.ParseInt(value, 10, 64)
		blank := strings.IndexByte(field, ' ') + 1
		if !isText || !isText2 || err != nil || blank == 0 {
			return nil, errOdd
		}
		c := counts[field[:blank]]
		tally.Add(&c, field[blank:], n)
		counts[field[:blank]] = c
	}
	return counts, nil
}

// LastClient implements [usage.Reader].
func (u *Usage) LastClient(ctx context.Context, id string) (usage.Client, error) {
	hashes, err := readUsage.Run(ctx, u.rdb, []string{u.base(id) + "client"}).Slice()
	if err != nil {
		return usage.Client{}, fmt.Errorf("httpkey: read the last client from Redis: %w", err)
	}
	fields := make(map[any]string)
	for _, reply := range hashes {
		pairs, _ := reply.([]any)
		for pair := range slices.Chunk(pairs, 2) {
			fields[pair[0]], _ = pair[len(pair)-1].(string)
		}
	}
	if len(fields) == 0 {
		return usage.Client{}, nil
	}
	at, err := strconv.ParseInt(fields["at"], 10, 64)
	if err != nil {
		return usage.Client{}, errOdd
	}
	addr, _ := netip.ParseAddr(fields["addr"]) // it may be empty
	return usage.Client{Addr: addr, UserAgent: fields["agent"], At: time.UnixMicro(at - yearOne).UTC()}, nil
}

// Format keeps the client of Redis out of a printed Usage.
func (u *Usage) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "redisstore.Usage") }

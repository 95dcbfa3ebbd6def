package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// bucketServer is a server whose buckets a test can damage.
type bucketServer struct {
	limiter httpkey.Limiter // the site's
	aside   httpkey.Limiter // another limiter, which remembers no denial
	spoil   map[string]func(t *testing.T)
}

// bucketServers are the servers of the shared limiters, and the ways to damage their buckets.
var bucketServers = map[string]func(t *testing.T) bucketServer{
	"Redis":           redisBuckets(redisLimiters[0].new, redisstore.Options{}),
	"Redis, strict":   redisBuckets(redisLimiters[1].new, redisstore.Options{}),
	"Redis, by lease": redisBuckets(redisLimiters[0].new, redisstore.Options{Lease: time.Second}),
	"PostgreSQL":      func(t *testing.T) bucketServer { return sqlBuckets(t, startPostgreSQL(t, "-c", "fsync=off")) },
	"MariaDB":         func(t *testing.T) bucketServer { return sqlBuckets(t, startMariaDB(t)) },
	"SQLite":          func(t *testing.T) bucketServer { return sqlBuckets(t, sqliteBackend(t)) },
}

func redisBuckets(newLimiter newLimiter, opts redisstore.Options) func(*testing.T) bucketServer {
	return func(t *testing.T) bucketServer {
		server := startRedis(t)
		client := server.client(t)
		each := func(command ...any) func(*testing.T) {
			return func(t *testing.T) {
				keys, err := client.Keys(t.Context(), "*").Result()
				if err != nil || len(keys) == 0 {
					t.Fatalf("the buckets are %v, %v", keys, err)
				}
				for _, key := range keys {
					server.must("DEL", key)
					server.must(append([]any{command[0], key}, command[1:]...)...)
				}
			}
		}
		const ahead = int64(9_999_999_999)
		return bucketServer{newLimiter(client, &opts), newLimiter(client, &redisstore.Options{AskAlways: true}),
			map[string]func(*testing.T){
				"far ahead":        each("SET", ahead),
				"a log, far ahead": each("RPUSH", 0, ahead*1_000_000, 5),
				"text":             each("SET", "garbage"),
				"nothing":          each("SET", ""),
				"more than counts": each("SET", "9223372036854775807"),
				"no number":        each("SET", "nan"),
				"a hash":           each("HSET", "a", "b"),
				"a set":            each("SADD", "a"),
			}}
	}
}

func sqlBuckets(t *testing.T, b *sqlBackend) bucketServer {
	tables := b.newTables(t)
	db := tables.open(t)
	set := func(values string) func(*testing.T) {
		return func(t *testing.T) { tables.must(t, db, tables.named("UPDATE httpkey_buckets SET "+values)) }
	}
	s := bucketServer{sqlstore.NewLimiter(db, tables.dialect), sqlstore.NewLimiter(db, tables.dialect),
		map[string]func(*testing.T){
			"far ahead":          set(fmt.Sprint("as_of = ", time.Now().Add(24*time.Hour).UnixMicro())),
			"as far as can be":   set("as_of = 9223372036854775807"),
			"a debt below 0":     set("debt = -1"),
			"a debt without end": set("debt = 9223372036854775807"),
			"a rate below 0":     set("rate = -1"),
			"no rate":            set("rate = 0, debt = 5"),
		}}
	if b.server == nil {
		s.spoil["text"] = set("debt = 'garbage'")
		s.spoil["nothing"] = set("as_of = ''")
	}
	return s
}

// One bad bucket is no outage: it affects no other key, and the server still counts.
func TestOneBadBucketIsNoOutage(t *testing.T) {
	t.Parallel()
	minute := httpkey.PerMinute(60)
	for name, open := range bucketServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			for what, spoil := range s.spoil {
				for under, limits := range map[string][]httpkey.Limit{
					"one limit": {minute}, "a quota": {httpkey.PerDay(60)}, "several": {minute, httpkey.PerDay(60)},
				} {
					t.Run(what+", "+under, func(t *testing.T) {
						site := newSiteOn(t, memstore.New(), s.limiter, cachestore.Options{}, unhurried)
						bad := httpkeytest.Issue(t, site.Guard, httpkey.Token{Limits: limits})
						good := httpkeytest.Issue(t, site.Guard, httpkey.Token{Limits: limits})
						site.expect(t, bad.Secret.Reveal(), http.StatusOK)
						spoil(t)
						for n := range 7 {
							for range 4 { // failures in a row would count as an outage
								switch status := site.get(bad.Secret.Reveal()); status {
								case http.StatusOK, http.StatusTooManyRequests:
								default:
									t.Errorf("after %d others, the bad bucket's request is answered %d", n, status)
								}
							}
							site.expect(t, good.Secret.Reveal(), http.StatusOK)
						}
						if len(site.told) > 0 {
							t.Errorf("observed %v", site.told)
						}
						left, err := s.aside.Allow(t.Context(), of(good.Token.Payer(), 0, limits...))
						if err != nil || left.Remaining > 53 && !strings.Contains(name, "lease") {
							t.Errorf("of the good bucket, the server has %+v left, %v, want 53", left, err)
						}
					})
				}
			}
		})
	}
}

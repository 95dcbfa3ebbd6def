package redisstore

import (
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
)

// keys holds the names of the keys of tokens. The layout:
//
//	…{tokens}:tokens    hash   ID -> record
//	…{tokens}:digests   hash   the 32 bytes of a digest -> ID
//	…{tokens}:used      hash   ID -> the last use
//	…{tokens}:all, …{tokens}:user:<user>, :workspace:, :kind:, :successors:<ID>
//	                    sorted sets of places (when a token was created, and its
//	                    ID), all of score 0, and so in the order of the text
//	…{tokens}:changes   channel on which the digest of a changed token is published
//
// The hash tag keeps all keys in one slot of a Cluster. So every change is one script on
// one server, which executes and replicates it as a whole. A crash cannot separate a digest
// from its token. On the other hand, one master holds all tokens and answers all Lookups,
// some 100,000 a second. A cache in front of the Store answers most of them instead. The
// buckets of limits are spread over the slots.
//
// The orders of a token depend on its fields before a change. A script that changes a token
// gets the record that the caller has read, and does nothing if the record has changed
// since. So the scripts need not parse records, and get the name of every key.
type keys struct {
	base                           string
	tokens, digests, used, changes string
}

func newKeys(prefix string) keys {
	base := prefix + "{tokens}:"
	return keys{
		base: base, tokens: base + "tokens", digests: base + "digests", used: base + "used", changes: base + "changes",
	}
}

// orders returns the names of all orders that t is in.
func (k keys) orders(t *httpkey.Token) []string {
	names := []string{k.base + "all", k.order(httpkey.Filter{Kind: t.Kind})}
	for _, by := range []httpkey.Filter{{User: t.User}, {Workspace: t.Workspace}, {RotatedFrom: t.RotatedFrom}} {
		if by != (httpkey.Filter{}) {
			names = append(names, k.order(by))
		}
	}
	return names
}

// order returns the name of the shortest order that contains all tokens that f selects.
func (k keys) order(f httpkey.Filter) string {
	switch {
	case f.RotatedFrom != "":
		return k.base + "successors:" + f.RotatedFrom
	case f.User != "":
		return k.base + "user:" + f.User
	case f.Workspace != "":
		return k.base + "workspace:" + f.Workspace
	case f.Kind != "":
		return k.base + "kind:" + string(f.Kind)
	}
	return k.base + "all"
}

// place returns c as a member of the orders: text that sorts as tokens do, oldest first.
func place(c httpkey.Cursor) string { return stamp(c.CreatedAt) + c.ID }

// payerTag escapes a payer for a hash tag, by which a Cluster keeps the payer's buckets in one
// slot. Different payers have different tags.
var payerTag = strings.NewReplacer("%", "%25", "}", "%7D")

// bucketKey names the bucket that a payer has under a limit.
func bucketKey(prefix, payer string, item charge.Item) string {
	tag := payerTag.Replace(payer)
	if tag == "" {
		tag = "%" // a Cluster ignores an empty tag
	}
	return prefix + "{" + tag + "}:" + item.Name()
}

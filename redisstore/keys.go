package redisstore

import (
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
)

// keys names where the tokens are. The layout:
//
//	…{tokens}:tokens    hash   ID -> record
//	…{tokens}:digests   hash   the 32 bytes of a digest -> ID
//	…{tokens}:used      hash   ID -> when it was last used
//	…{tokens}:all, …{tokens}:user:<user>, :workspace:, :kind:, :successors:<ID>
//	                    sorted sets of places (when a token was created, and its
//	                    ID), all of score 0, and so in the order of the text
//	…{tokens}:changes   channel on which the digest of a changed token is published
//
// The hash tag keeps all of it in one slot of a Cluster. So every change is one
// script on one server, which is carried out and replicated as a whole. No moment, and
// no crash, comes between the digest that finds a token and the token. The
// price is that one master holds all tokens and answers all Lookups, some 100,000
// a second. A cache in front of the Store takes nearly all of them away. Limits are
// spread over the slots.
//
// The orders depend on what a token was before a change. A script that changes one
// is given its record as it was read, and does nothing if the record has changed since.
// So the scripts need not understand records, and get the name of every key.
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

// order returns the name of the shortest order that has all tokens that f selects.
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

// place returns c as the orders have it: text that sorts as tokens do, oldest first.
func place(c httpkey.Cursor) string { return stamp(c.CreatedAt) + c.ID }

// payerTag makes of a payer a hash tag, under which a Cluster keeps all of its buckets
// together. Different payers have different tags.
var payerTag = strings.NewReplacer("%", "%25", "}", "%7D")

// bucketKey names the bucket that a payer has under a limit.
func bucketKey(prefix, payer string, item charge.Item) string {
	tag := payerTag.Replace(payer)
	if tag == "" {
		tag = "%" // the empty one is none to a Cluster
	}
	return prefix + "{" + tag + "}:" + item.Name()
}

package leak

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// freshFor is the age at which the list of keys is fetched again.
	freshFor = time.Hour
	// staleFor is the age at which the list is of no use, if GitHub cannot be reached meanwhile.
	staleFor = 24 * time.Hour
	// fetchPause is the least time between two fetches, so that forged reports cause few.
	fetchPause = time.Minute

	fetchTimeout  = 5 * time.Second
	maxList       = 1 << 20 // bytes
	maxPublicKeys = 100
)

var (
	// errUnknownKey says that GitHub's list has no key of an identifier.
	errUnknownKey = errors.New("httpkey: leak: GitHub has no public key of this identifier")
	// errTooSoon says that a list fetched a moment ago has no key of an identifier. GitHub may
	// have a new key since.
	errTooSoon = errors.New("httpkey: leak: the public keys were fetched less than a minute ago")
)

// publicKeys is GitHub's list of the keys that sign reports. It is safe for concurrent use.
type publicKeys struct {
	url    string
	client *http.Client

	fetching sync.Mutex // held during a fetch
	tried    time.Time  // the last fetch; guarded by fetching

	mu   sync.Mutex
	list publicKeyList
	err  error // of the last fetch
}

// publicKeyList is what one fetch found. Its map does not change.
type publicKeyList struct {
	keys    map[string]*ecdsa.PublicKey
	etag    string
	fetched time.Time // when GitHub was asked
}

// isWithin reports whether the list is younger than an age.
func (l *publicKeyList) isWithin(age time.Duration) bool {
	return l.keys != nil && time.Since(l.fetched) < age
}

// find returns the key of an identifier, and fetches the list if that is missing or old. The
// error is errUnknownKey if the identifier is not GitHub's. After another error, nobody knows yet.
func (p *publicKeys) find(ctx context.Context, id string) (*ecdsa.PublicKey, error) {
	arrived := time.Now()
	list, _ := p.known()
	if key := list.keys[id]; key != nil && list.isWithin(freshFor) {
		return key, nil
	}
	p.refresh(ctx)
	list, err := p.known()
	switch key := list.keys[id]; {
	case !list.isWithin(staleFor):
		return nil, errors.Join(errors.New("httpkey: leak: there is no list of public keys"), err)
	case key != nil:
		return key, nil
	case !list.fetched.Before(arrived):
		return nil, errUnknownKey
	case err != nil:
		return nil, err
	}
	return nil, errTooSoon
}

func (p *publicKeys) known() (publicKeyList, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list, p.err
}

// refresh fetches the list, unless that was tried a moment ago. Others that need the list wait.
func (p *publicKeys) refresh(ctx context.Context) {
	p.fetching.Lock()
	defer p.fetching.Unlock()
	now := time.Now()
	if !p.tried.IsZero() && now.Sub(p.tried) < fetchPause {
		return
	}
	p.tried = now
	old, _ := p.known()
	list, err := p.fetch(ctx, old)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	if err == nil {
		list.fetched = now
		p.list = list
	}
}

// fetch returns GitHub's list. Other reports wait for it, so it does not end with its caller.
func (p *publicKeys) fetch(ctx context.Context, old publicKeyList) (publicKeyList, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, http.NoBody)
	if err != nil {
		return old, fmt.Errorf("httpkey: leak: fetch the public keys: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "httpkey") // GitHub refuses requests without one
	if old.etag != "" {
		r.Header.Set("If-None-Match", old.etag)
	}
	response, err := p.client.Do(r)
	if err != nil {
		return old, fmt.Errorf("httpkey: leak: fetch the public keys: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case response.StatusCode == http.StatusNotModified && old.keys != nil:
		return old, nil
	case response.StatusCode != http.StatusOK:
		return old, fmt.Errorf("httpkey: leak: fetch the public keys: status %d", response.StatusCode)
	}
	keys, err := readKeys(response.Body)
	if err != nil {
		return old, fmt.Errorf("httpkey: leak: the list of public keys: %w", err)
	}
	return publicKeyList{keys: keys, etag: response.Header.Get("ETag")}, nil
}

// readKeys reads the keys of ECDSA on P-256 in a list of GitHub.
func readKeys(body io.Reader) (map[string]*ecdsa.PublicKey, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxList+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxList {
		return nil, fmt.Errorf("it has more than %d bytes", maxList)
	}
	var list struct {
		PublicKeys []struct {
			KeyIdentifier string `json:"key_identifier"`
			Key           string `json:"key"`
		} `json:"public_keys"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	if len(list.PublicKeys) > maxPublicKeys {
		return nil, fmt.Errorf("it has %d keys, more than %d", len(list.PublicKeys), maxPublicKeys)
	}
	keys := make(map[string]*ecdsa.PublicKey)
	for _, one := range list.PublicKeys {
		if key := parseKey(one.Key); key != nil && one.KeyIdentifier != "" {
			keys[one.KeyIdentifier] = key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key of ECDSA on P-256")
	}
	return keys, nil
}

// parseKey returns nil for a key that is not of ECDSA on P-256.
func parseKey(text string) *ecdsa.PublicKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil
	}
	return key
}

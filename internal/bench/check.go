package main

import (
	"fmt"
	"net/http"
)

// check reports an answer of c that is not as it should be. No contestant is measured
// before that: denying nothing, or everything, is quick.
func (c contestant) check(keys []string) error { return c.checkIn(keys, uniform, denied) }

func (c contestant) checkIn(keys []string, scenarios ...scenario) error {
	const times = 3
	for _, s := range scenarios {
		h, end := c.build(ok, keys, s.limit)
		defer end()
		client := newClient()
		for request := range times {
			want := http.StatusOK
			if request > 0 && c.does != nothing {
				want = s.want
			}
			for i := range keys {
				if got := client.send(h, keys[i:i+1]); got != want {
					return fmt.Errorf("%s, %s: request %d of a key is answered %d, want %d",
						c.name, s.name, request+1, got, want)
				}
				for _, name := range c.headers {
					if client.response.header.Get(name) == "" {
						return fmt.Errorf("%s, %s: request %d of a key is answered without %s",
							c.name, s.name, request+1, name)
					}
				}
			}
		}
		if got := client.send(h, []string{"unknown"}); c.does == authAndLimit && got != http.StatusUnauthorized {
			return fmt.Errorf("%s: an unknown key is answered %d, want 401", c.name, got)
		}
	}
	return nil
}

// ok is the handler behind every contestant.
var ok http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusOK)
})

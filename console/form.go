package console

import (
	"crypto/rand"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// form is a page's form: its choices, and the values that were chosen.
type form struct {
	Nonce       string // of a new token: it makes the ID, so that the form creates one token however often it is sent
	Label       string
	Description string
	Kind        httpkey.Kind
	Kinds       []httpkey.Kind
	Workspace   string
	Scopes      []string
	Expiry      string // a Value of Expiries
	Expiries    []expiryChoice
	Date        string // of a custom expiry, as 2006-01-02
	Earliest    string // the first Date that can be chosen
	Latest      string // the last one; empty: any
	Grace       string // a Value of Graces
	Graces      []graceChoice
}

// Has reports whether a scope was chosen.
func (f *form) Has(scope string) bool { return slices.Contains(f.Scopes, scope) }

// expiryChoice is an expiry to choose. Its Value is a number of days, or one of keep,
// longest, custom and never.
type expiryChoice struct {
	Value string
	At    moment // never for custom and never
	In    span   // of a number of days
}

// graceChoice is a grace to choose, in seconds; the zero span is none.
type graceChoice struct {
	Value string
	In    span
	Until moment
}

const dateOnly = time.DateOnly

// presets are the expiries that a form offers, in days. defaultPreset is chosen at first.
var presets = []int{7, 30, 90, 365}

const defaultPreset = "90"

// graces are those that a form offers; the API takes any.
var graces = []time.Duration{0, time.Hour, day, maxGrace}

// newForm returns the form for a new token of p.
func (c *console) newForm(p Principal, now time.Time) *form {
	f := &form{Nonce: rand.Text(), Kind: httpkey.APIKey, Kinds: p.kinds()}
	c.offerExpiries(f, now, now)
	f.Expiry = defaultPreset
	if !slices.ContainsFunc(f.Expiries, func(e expiryChoice) bool { return e.Value == f.Expiry }) {
		f.Expiry = "longest"
	}
	return f
}

// changeForm returns the form that changes t.
func (c *console) changeForm(t httpkey.Token, now time.Time) *form {
	f := &form{Label: t.Label, Description: t.Description}
	c.offerExpiries(f, t.CreatedAt, now)
	f.Expiry = "keep"
	f.Expiries = slices.Insert(f.Expiries, 0, expiryChoice{Value: f.Expiry, At: moment{t.ExpiredAt, now}})
	return f
}

// rotateForm returns the form that rotates a token.
func rotateForm(now time.Time) *form {
	f := &form{Grace: strconv.Itoa(int(day / time.Second))}
	for _, grace := range graces {
		choice := graceChoice{
			Value: strconv.Itoa(int(grace / time.Second)),
			In:    spanOf(grace),
			Until: moment{now.Add(grace), now},
		}
		if grace == day {
			choice.In = span{24, "hour"}
		}
		f.Graces = append(f.Graces, choice)
	}
	return f
}

// offerExpiries fills in the expiries that a token may get if it was created at a moment.
func (c *console) offerExpiries(f *form, created, now time.Time) {
	lifetime := c.options.MaxLifetime
	latest := created.Add(lifetime)
	for _, days := range presets {
		at := now.Add(time.Duration(days) * day) // not AddDate, whose days have 23 to 25 hours where the clock is put
		if lifetime == 0 || !at.After(latest) {
			f.Expiries = append(f.Expiries, expiryChoice{strconv.Itoa(days), moment{at, now}, span{days, "day"}})
		}
	}
	f.Earliest = now.UTC().AddDate(0, 0, 1).Format(dateOnly)
	if lifetime > 0 {
		f.Latest = latest.UTC().Format(dateOnly)
		if latest.After(now) && !slices.ContainsFunc(f.Expiries, func(e expiryChoice) bool { return e.At.At.Equal(latest) }) {
			f.Expiries = append(f.Expiries, expiryChoice{Value: "longest", At: moment{latest, now}})
		}
	}
	if f.Latest == "" || f.Earliest <= f.Latest {
		f.Expiries = append(f.Expiries, expiryChoice{Value: "custom"})
	}
	if lifetime == 0 {
		f.Expiries = append(f.Expiries, expiryChoice{Value: "never"})
	}
}

// fill takes over the values that were sent, so that the form shows them again.
func (f *form) fill(values url.Values) {
	f.Nonce = values.Get("nonce")
	f.Label = strings.TrimSpace(values.Get("label"))
	// A form sends every line break as CR LF.
	f.Description = strings.TrimSpace(strings.ReplaceAll(values.Get("description"), "\r\n", "\n"))
	f.Kind = httpkey.Kind(values.Get("kind"))
	f.Workspace = values.Get("workspace")
	f.Scopes = values["scopes"]
	f.Expiry = values.Get("expiry")
	f.Date = values.Get("date")
	f.Grace = values.Get("grace")
}

// expiry returns the moment that was chosen; zero is never.
func (f *form) expiry(wrong problems) time.Time {
	if f.Expiry == "custom" {
		at, err := time.Parse(dateOnly, f.Date)
		switch {
		case err != nil:
			wrong.add("expired_at", "Choose the day on which the token expires.")
		case at.IsZero(): // the year 1, and not never
			wrong.add("expired_at", notInFuture)
		}
		return at
	}
	for _, choice := range f.Expiries {
		if choice.Value == f.Expiry {
			return stored(choice.At.At)
		}
	}
	wrong.add("expired_at", "Choose when the token expires.")
	return time.Time{}
}

// grace returns the time for which the old key goes on working.
func (f *form) grace(wrong problems) time.Duration {
	for _, choice := range f.Graces {
		if choice.Value == f.Grace {
			seconds, _ := strconv.Atoi(choice.Value)
			return time.Duration(seconds) * time.Second
		}
	}
	wrong.add("grace", "Choose how long the old key goes on working.")
	return 0
}

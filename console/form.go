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
	Version     string // of the token that it changes, as versionOf returns it
	Nonce       string // of a new token: it makes the ID, so that the form creates one token however often it is sent
	Label       string
	Description string
	Kind        httpkey.Kind
	Kinds       []kindView
	Workspace   string
	Scopes      []string
	Expiry      string // a Value of Expiries
	Expiries    []expiryChoice
	Date        string // of a custom expiry, as 2006-01-02
	Zone        string // minutes that the reader's clock is ahead of UTC at the end of Date; a script fills it in
	Earliest    string // the first Date that can be chosen
	Latest      string // the last one; empty: any
	Grace       string // a Value of Graces
	Graces      []graceChoice
	Reason      string // of a revocation

	latest time.Time // as Latest
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

// newForm returns the form for a new token of p.
func (c *console) newForm(p Principal, now time.Time) *form {
	f := &form{Nonce: rand.Text(), Kind: httpkey.APIKey}
	for _, kind := range p.kinds() {
		t := httpkey.Token{Kind: kind, User: p.User}
		if kind == httpkey.ServiceToken {
			t.User = ""
		}
		f.Kinds = append(f.Kinds, kindView{kind, c.limitsOf(t)})
	}
	c.offerExpiries(f, now, now)
	f.Expiry = f.closest(c.options.DefaultLifetime, now)
	return f
}

// closest returns the Value of the choice that ends no later than a lifetime from now on; a negative
// one is for ever.
func (f *form) closest(lifetime time.Duration, now time.Time) string {
	best := ""
	for _, choice := range f.Expiries {
		isOf := choice.Value == "never" && lifetime < 0 ||
			!choice.At.Never() && (lifetime < 0 || !choice.At.At.After(now.Add(lifetime)))
		if isOf {
			best = choice.Value
		}
	}
	if best == "" && len(f.Expiries) > 0 {
		best = f.Expiries[0].Value
	}
	return best
}

// changeForm returns the form that changes t.
func (c *console) changeForm(t httpkey.Token, now time.Time) *form {
	f := &form{Version: versionOf(t), Label: t.Label, Description: t.Description}
	c.offerExpiries(f, t.CreatedAt, now)
	f.keep(t, now)
	f.Expiry = "keep"
	return f
}

// keep offers the expiry that t has.
func (f *form) keep(t httpkey.Token, now time.Time) {
	f.Expiries = slices.Insert(f.Expiries, 0, expiryChoice{Value: "keep", At: moment{t.ExpiredAt, now}})
}

// rotateForm returns the form that rotates t. A token with a lifetime passes that on, and not the
// rest of it. One that was rotated before has no expiry to keep, because that rotation cut it short.
func (c *console) rotateForm(t httpkey.Token, now time.Time) *form {
	f := &form{}
	c.offerExpiries(f, now, now)
	f.Expiry = "keep"
	if !t.ExpiredAt.IsZero() {
		f.Expiry = f.closest(t.ExpiredAt.Sub(t.CreatedAt), now)
	}
	switch {
	case t.RotatedTo != "":
		f.Expiry = f.closest(c.options.DefaultLifetime, now)
	case c.options.MaxLifetime == 0 || !isLater(t.ExpiredAt, now.Add(c.options.MaxLifetime)):
		f.keep(t, now)
	case f.Expiry == "keep":
		f.Expiry = f.closest(c.options.MaxLifetime, now)
	}
	for _, grace := range c.options.Graces {
		if grace > 0 && !isLater(t.ExpiredAt, now.Add(grace)) {
			continue // the key ends before
		}
		choice := graceChoice{
			Value: strconv.Itoa(int(grace / time.Second)),
			In:    spanOf(grace),
			Until: moment{now.Add(grace), now},
		}
		if grace == day {
			choice.In = span{24, "hour"}
		}
		f.Graces = append(f.Graces, choice)
		if f.Grace == "" || grace <= day {
			f.Grace = choice.Value
		}
	}
	return f
}

// offerExpiries fills in the expiries that a token may get if it was created at a moment.
func (c *console) offerExpiries(f *form, created, now time.Time) {
	lifetime := c.options.MaxLifetime
	latest := created.Add(lifetime)
	for _, preset := range c.options.Lifetimes {
		at := now.Add(preset) // not AddDate, whose days have 23 to 25 hours where the clock is put
		if lifetime == 0 || !at.After(latest) {
			days := int(preset / day)
			f.Expiries = append(f.Expiries, expiryChoice{strconv.Itoa(days), moment{at, now}, span{days, "day"}})
		}
	}
	f.Earliest = now.UTC().Format(dateOnly)
	if lifetime > 0 {
		f.latest = latest
		f.Latest = latest.Add(-1).UTC().Format(dateOnly) // a day that begins at latest is too late
		if latest.After(now) && !slices.ContainsFunc(f.Expiries, func(e expiryChoice) bool { return e.At.At.Equal(latest) }) {
			f.Expiries = append(f.Expiries, expiryChoice{Value: "longest", At: moment{latest, now}})
		}
	}
	if lifetime == 0 || latest.Sub(now) >= day {
		f.Expiries = append(f.Expiries, expiryChoice{Value: "custom"})
	}
	if lifetime == 0 {
		f.Expiries = append(f.Expiries, expiryChoice{Value: "never"})
	}
}

// fill takes over the values that were sent, so that the form shows them again.
func (f *form) fill(values url.Values) {
	f.Nonce, f.Version = values.Get("nonce"), values.Get("version")
	f.Label = strings.TrimSpace(values.Get("label"))
	// A form sends every line break as CR LF.
	f.Description = strings.TrimSpace(strings.ReplaceAll(values.Get("description"), "\r\n", "\n"))
	f.Kind = httpkey.Kind(values.Get("kind"))
	f.Workspace = values.Get("workspace")
	f.Scopes = values["scopes"]
	f.Expiry = values.Get("expiry")
	f.Date, f.Zone = values.Get("date"), values.Get("zone")
	f.Reason = strings.TrimSpace(values.Get("reason"))
	f.Grace = values.Get("grace")
}

// expiry returns the moment that was chosen; zero is never. A day ends with its last moment in the
// zone that the reader saw.
func (f *form) expiry(wrong problems) time.Time {
	if f.Expiry != "custom" && f.Date != "" {
		wrong.add("expired_at", twoExpiries)
		return time.Time{}
	}
	if f.Expiry == "custom" {
		at, err := time.Parse(dateOnly, f.Date)
		if err != nil {
			wrong.add("expired_at", requiredDay)
			return time.Time{}
		}
		begin := at.Add(-f.zone())
		end := begin.Add(day)
		if !f.latest.IsZero() && begin.Before(f.latest) && end.After(f.latest) {
			end = f.latest
		}
		switch end = stored(end); {
		case end.Year() > 9999: // which no store keeps
			wrong.add("expired_at", requiredDay)
		case end.IsZero(): // the year 1, and not never
			wrong.add("expired_at", past)
		}
		return end
	}
	for _, choice := range f.Expiries {
		if choice.Value == f.Expiry {
			return stored(choice.At.At)
		}
	}
	wrong.add("expired_at", requiredExpiry)
	return time.Time{}
}

// zone returns how far the reader's clock is ahead of UTC at the end of Date. It is zero without a
// script, where the form says UTC.
func (f *form) zone() time.Duration {
	minutes, err := strconv.Atoi(f.Zone)
	if err != nil || minutes < -maxZone || minutes > maxZone {
		return 0
	}
	return time.Duration(minutes) * time.Minute
}

// maxZone is more than any zone is away from UTC, in minutes.
const maxZone = 18 * 60

// grace returns the time for which the old key goes on working. The form may be from before the
// last minutes of a key, so that it offered more than one does now.
func (f *form) grace(offered []time.Duration, wrong problems) time.Duration {
	seconds, err := strconv.Atoi(f.Grace)
	grace := time.Duration(seconds) * time.Second
	if err != nil || !slices.Contains(offered, grace) {
		wrong.add("grace", requiredGrace)
		return 0
	}
	return grace
}

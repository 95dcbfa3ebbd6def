package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// span is a flag of a duration, which may be in days, as 90d.
type span time.Duration

func (s *span) String() string {
	d := time.Duration(*s)
	if d != 0 && d%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	}
	return d.String()
}

func (s *span) Set(text string) error {
	d, err := parseSpan(text)
	*s = span(d)
	return err
}

func (*span) Type() string { return "time" }

var errSpan = errors.New("it must be a time as 90d, 36h or 15m, and not negative")

// parseSpan reads a duration of time.ParseDuration, or a number of days.
func parseSpan(text string) (time.Duration, error) {
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return 0, errSpan
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errSpan
	}
	return d, nil
}

// parseExpiry reads the moment of an expiry: a time from now, a day, which counts from 00:00
// UTC, or a moment of RFC 3339.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if d, err := parseSpan(text); err == nil && d > 0 {
		return now.Add(d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errors.New("it must be a time from now as 90d, a day as 2027-01-31, " +
		"or a moment as 2027-01-31T12:00:00Z")
}

// limits are the constructors of limits by their unit.
var limits = map[string]func(int) httpkey.Limit{
	"second": httpkey.PerSecond, "minute": httpkey.PerMinute, "hour": httpkey.PerHour,
	"day": httpkey.PerDay, "month": httpkey.PerMonth,
}

var errLimit = errors.New("a limit must be as 60/minute; the units are second, minute, hour, day and month")

// parseLimit reads a limit as 60/minute.
func parseLimit(text string) (httpkey.Limit, error) {
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	of := limits[unit]
	if err != nil || of == nil {
		return httpkey.Limit{}, errLimit
	}
	limit := of(n)
	return limit, limit.Validate()
}

// limitText writes a limit as parseLimit reads it, where it can.
func limitText(l httpkey.Limit) string {
	name := ""
	if l.Name != "" {
		name = l.Name + "="
	}
	if l.Calendar != "" {
		return fmt.Sprintf("%s%d/%s", name, l.Rate, l.Calendar)
	}
	for unit, of := range limits {
		if of(l.Rate).Period == l.Period && l.Period != 0 {
			return fmt.Sprintf("%s%d/%s", name, l.Rate, unit)
		}
	}
	return fmt.Sprintf("%s%d/%v", name, l.Rate, l.Period)
}

// parseAll reads each of some texts.
func parseAll[T any](texts []string, parse func(string) (T, error)) (all []T, err error) {
	for _, text := range texts {
		one, err := parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// parseNetwork reads a network, or an address, which is a network of one.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, errors.New("a network must be as 192.0.2.0/24 or 2001:db8::/32")
	}
	return network, nil
}

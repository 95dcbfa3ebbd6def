package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey/usage"
)

func (a *app) usage() *cobra.Command {
	since := span(30 * 24 * time.Hour)
	hours := false
	cmd := a.command("usage ID", "Show what a key was used for, as the package usage has counted", cobra.ExactArgs(1),
		func(ctx context.Context, s *session, args []string) error {
			if _, err := s.Store.Get(ctx, args[0]); err != nil {
				return about(args[0], err)
			}
			step := usage.Day
			if hours {
				step = usage.Hour
			}
			now := time.Now()
			intervals, err := s.Usage.Of(ctx, args[0], now.Add(-time.Duration(since)), now, step)
			if err != nil {
				return err
			}
			return s.writeUsage(intervals)
		})
	cmd.Flags().Var(&since, "since", "from how long ago")
	cmd.Flags().BoolVar(&hours, "hours", false, "by the hour, not by the day; both are of UTC")
	return cmd
}

func (s *session) writeUsage(intervals []usage.Interval) error {
	var total usage.Counts
	out := newTable(s.out)
	for i, interval := range intervals {
		if s.json {
			if err := s.writeJSON(interval); err != nil {
				return err
			}
			continue
		}
		if i == 0 {
			out.row("FROM", "PASSED", "THROTTLED", "REFUSED", "COST", "REASONS")
		}
		total.Add(interval.Counts)
		counts(out, moment(interval.Start), interval.Counts)
	}
	switch {
	case s.json:
		return nil
	case len(intervals) == 0:
		s.say("no use was counted")
		return nil
	}
	counts(out, "total", total)
	return out.Flush()
}

// counts adds a row of counts.
func counts(out table, name string, c usage.Counts) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	var reasons []string
	for _, reason := range sortedKeys(c.Reasons) {
		reasons = append(reasons, string(reason)+" "+number(c.Reasons[reason]))
	}
	out.row(name, number(c.Passed), number(c.Throttled), number(c.Refused), number(c.Cost), strings.Join(reasons, ", "))
}

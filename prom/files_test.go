package promkey_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	promkey "github.com/httpkey/httpkey/prom"
)

var writeGolden = flag.Bool("update", false, "write testdata/metrics.txt")

// names returns a line for each metric, with its type and its labels.
func names(t *testing.T) (lines, metrics, labels []string) {
	t.Helper()
	o := promkey.New()
	limit := httpkey.Result{Allowed: true, Limit: httpkey.PerMinute(60)}
	o.Observe(t.Context(), &httpkey.Event{Type: httpkey.EventAdmitted, Result: limit})
	for _, family := range read(t, o) {
		var own []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			own = append(own, label.GetName())
		}
		kind := strings.ToLower(family.GetType().String())
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", family.GetName(), kind, strings.Join(own, " "))))
		metrics, labels = append(metrics, family.GetName()), append(labels, own...)
	}
	return lines, metrics, labels
}

// Names of metrics and labels are seen in review: go test -run=TestNames . -update writes them.
func TestNames(t *testing.T) {
	t.Parallel()
	lines, _, _ := names(t)
	got := strings.Join(lines, "\n") + "\n"
	if *writeGolden {
		if err := os.WriteFile("testdata/metrics.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r", "") {
		t.Errorf("the metrics are\n%s, want\n%s", got, want)
	}
}

var (
	metricName = regexp.MustCompile(`httpkey_[a-z_]+`)
	labelName  = regexp.MustCompile(`(?:httpkey|http)_[a-z_]+`)
	selector   = regexp.MustCompile(`\{[^{}]*\}`)
	grouping   = regexp.MustCompile(`by ?\(([^)]*)\)`)
)

// wantKnown checks the metrics and labels of an expression.
func wantKnown(t *testing.T, where, expr string) {
	t.Helper()
	_, metrics, labels := names(t)
	used := append(selector.FindAllString(expr, -1), grouping.FindAllString(expr, -1)...)
	for _, name := range labelName.FindAllString(strings.Join(used, " "), -1) {
		if !slices.Contains(labels, name) {
			t.Errorf("%s: no metric has the label %s", where, name)
		}
	}
	rest := grouping.ReplaceAllString(selector.ReplaceAllString(expr, ""), "")
	found := metricName.FindAllString(rest, -1)
	for _, name := range found {
		if !slices.Contains(metrics, name) {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
	if len(found) == 0 {
		t.Errorf("%s: %q has no metric", where, expr)
	}
}

// The check itself finds names that do not exist.
func TestUnknownNamesAreFound(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{
		"sum(rate(httpkey_request_total[5m]))", `httpkey_requests_total{httpkey_results="x"}`,
		"sum by (httpkey_kind) (httpkey_requests_total)", "up",
	} {
		found := &testing.T{}
		wantKnown(found, "test", expr)
		if !found.Failed() {
			t.Errorf("nothing is found in %s", expr)
		}
	}
}

// Each panel of the dashboard asks for metrics that exist, and fits into Grafana's 24 columns.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			GridPos struct{ X, W int }
			Targets []struct{ Expr string }
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&dashboard); err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 || seen[panel.ID] || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("the panel %q has no query, the ID of another one, or no place", panel.Title)
		}
		seen[panel.ID] = true
		for _, target := range panel.Targets {
			wantKnown(t, panel.Title, target.Expr)
		}
	}
	if dashboard.UID == "" || len(dashboard.Panels) < 5 {
		t.Errorf("the dashboard %q has %d panels", dashboard.UID, len(dashboard.Panels))
	}
}

var alertExpr = regexp.MustCompile(`(?m)^ +expr: (.+)$`)

// Each alert asks for metrics that exist.
func TestAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := alertExpr.FindAllStringSubmatch(string(text), -1)
	if alerts := strings.Count(string(text), "- alert: "); alerts == 0 || len(found) != alerts {
		t.Fatalf("%d alerts have %d expressions", alerts, len(found))
	}
	for _, match := range found {
		wantKnown(t, "alerts.yaml", match[1])
	}
}

// promtool agrees that the rules are rules, and that they fire when they should.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed: it comes with Prometheus")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "testdata/alerts_test.yaml"}} {
		if output, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, output)
		}
	}
}

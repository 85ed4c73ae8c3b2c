package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	schema "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const docs = "../../docs/monitoring/"

func board(t *testing.T) *dashboard {
	t.Helper()
	b, err := loadDashboard(docs + "dashboard.json")
	require.NoError(t, err)
	return b
}

// documented are the labels that each metric has, and the values of each label, by the page that the
// engine's own tests write.
func documented(t *testing.T) (metrics, values map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/metrics.md")
	require.NoError(t, err)
	words := regexp.MustCompile("`([a-z0-9_]+)`")
	in := func(cell string) (out []string) {
		for _, m := range words.FindAllStringSubmatch(cell, -1) {
			out = append(out, m[1])
		}
		return out
	}
	metrics, values = make(map[string][]string), make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		switch {
		case len(cells) == 6 && len(in(cells[1])) == 1: // metric, type, labels, meaning
			for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
				if suffix == "" || strings.Contains(cells[2], "histogram") {
					metrics[in(cells[1])[0]+suffix] = append(in(cells[3]), "job", "instance", "mount")
				}
			}
			metrics[in(cells[1])[0]+"_bucket"] = append(metrics[in(cells[1])[0]+"_bucket"], "le")
		case len(cells) == 4 && len(in(cells[1])) == 1:
			values[in(cells[1])[0]] = in(cells[2])
		}
	}
	require.NotEmpty(t, metrics)
	require.NotEmpty(t, values)
	metrics["up"] = []string{"job", "instance", "mount"} // Prometheus's own
	return metrics, values
}

// checkQuery parses a query and holds the names in it against the documented ones.
func checkQuery(t *testing.T, query string) {
	t.Helper()
	metrics, values := documented(t)
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	require.NoError(t, err, query)
	known := make(map[string]bool)
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		names, exists := metrics[selector.Name]
		assert.True(t, exists, "no metric %s: %s", selector.Name, query)
		for _, name := range names {
			known[name] = true
		}
		for _, m := range selector.LabelMatchers {
			if m.Name == model.MetricNameLabel {
				continue
			}
			assert.Contains(t, names, m.Name, "a label of %s: %s", selector.Name, query)
			for _, value := range strings.Split(m.Value, "|") {
				if of, closed := values[m.Name]; closed {
					assert.Contains(t, of, value, "a value of %s: %s", m.Name, query)
				}
			}
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if sum, is := node.(*parser.AggregateExpr); is {
			for _, name := range sum.Grouping {
				assert.True(t, known[name], "no metric here has the label %s: %s", name, query)
			}
		}
		return nil
	})
}

func TestDashboardAsksForWhatThereIs(t *testing.T) {
	for _, p := range board(t).Panels {
		for _, q := range p.Targets {
			filled := expression(q.Expr, 5*time.Second)
			assert.NotContains(t, filled, "$", "a variable that the picture does not know")
			checkQuery(t, filled)
			for _, m := range inLegend.FindAllStringSubmatch(q.LegendFormat, -1) {
				assert.Contains(t, q.Expr, m[1], "the legend of %q names a label that its query does not keep", p.Title)
			}
		}
	}
}

// TestDashboardIsWellFormed: Grafana's own schema, and that a panel tells what to make of it.
func TestDashboardIsWellFormed(t *testing.T) {
	text, err := os.ReadFile(docs + "dashboard.json")
	require.NoError(t, err)
	var strict schema.Dashboard      //nolint:staticcheck // the newer form cannot be imported everywhere yet
	plugins.RegisterDefaultPlugins() // whose options are checked too
	for _, wrong := range []error{strict.UnmarshalJSONStrict(text), strict.Validate()} {
		if wrong != nil { // the library returns an empty list of errors as one, too
			require.Empty(t, wrong.Error())
		}
	}
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range board(t).Panels {
		assert.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				assert.Less(t, at[0], columns, p.Title)
				assert.Empty(t, taken[at], "%s lies over another panel", p.Title)
				taken[at] = p.Title
			}
		}
		if p.Type == typeRow {
			continue
		}
		assert.NotEmpty(t, p.Description, p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
		_, err := format(1, p.FieldConfig.Defaults.Unit)
		assert.NoError(t, err, p.Title)
	}
}

func alerts(t *testing.T) []rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile(docs + "alerts.yaml")
	require.NoError(t, err)
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), nil)
	require.Empty(t, errs)
	var rules []rulefmt.Rule
	for _, g := range groups.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

func TestAlertsAskForWhatThereIsAndSayWhatToDo(t *testing.T) {
	tests, err := os.ReadFile(docs + "alerts_test.yaml")
	require.NoError(t, err)
	readme, err := os.ReadFile(docs + "README.md")
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, r := range alerts(t) {
		checkQuery(t, r.Expr)
		names[r.Alert] = true
		assert.Contains(t, []string{"critical", "warning", "info"}, r.Labels["severity"], r.Alert)
		assert.ElementsMatch(t, []string{"summary", "description"}, slices.Collect(maps.Keys(r.Annotations)), r.Alert)
		assert.Contains(t, string(tests), `alertname="`+r.Alert+`"`, "promtool must see it fire")
		assert.Contains(t, string(readme), "| "+r.Alert+" | "+r.Labels["severity"]+" |")
	}
	rows := regexp.MustCompile(`(?m)^\| (Palette\w+) \|`).FindAllStringSubmatch(string(readme), -1)
	for _, row := range rows {
		assert.True(t, names[row[1]], "%s is no alert", row[1])
	}
}

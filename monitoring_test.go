package palette

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"vault-plugin-secrets-palette/internal/telemetry"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

var quoted = regexp.MustCompile("`([a-z0-9_]+)`")

// quotedIn are the words between backquotes.
func quotedIn(text string) []string {
	var words []string
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	return words
}

// documentedMetrics are the rows of docs/monitoring/README.md: "type labels" by metric, and
// the values by label.
func documentedMetrics(t *testing.T) (metrics map[string]string, values map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("docs/monitoring/README.md")
	require.NoError(t, err)
	metrics, values = make(map[string]string), make(map[string][]string)
	_, tables, found := strings.Cut(string(text), "\n## Metrics\n")
	require.True(t, found)
	tables, _, _ = strings.Cut(tables, "\n## ")
	for line := range strings.Lines(tables) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || len(quotedIn(cells[1])) == 0 {
			continue
		}
		switch name := quotedIn(cells[1])[0]; len(cells) {
		case 6:
			metrics[name] = strings.TrimSpace(strings.TrimSpace(cells[2]) + " " + strings.Join(slices.Sorted(slices.Values(quotedIn(cells[3]))), " "))
		default:
			values[name] = quotedIn(cells[2])
		}
	}
	return metrics, values
}

func TestMonitoringNamesEveryMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 503, Times: 1})
		w.write("roles/key", fields{"credential_type": "api_key", "ttl": "24h"})
		l := w.creds("key")
		w.minute() // the user's keys are counted
		w.wait()
		w.secrets = append(w.secrets, l.data["api_key"].(string))
		w.write("config/k", fields{"address": w.palette.URL(), "api_key": l.data["api_key"], "api_key_uid": l.data["api_key_uid"]})
		w.creds("app").mustRevoke() // sent again: those series begin with their first retry
		documented, values := documentedMetrics(t)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(w.metricsText()))
		require.NoError(t, err)
		real, seen := make(map[string]string), make(map[string][]string)
		for name, family := range families {
			var labels []string
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName())
					if strings.HasPrefix(name, telemetry.Namespace) {
						seen[l.GetName()] = append(seen[l.GetName()], l.GetValue())
					}
				}
			}
			slices.Sort(labels)
			shape := strings.TrimSpace(strings.ToLower(family.GetType().String()) + " " + strings.Join(slices.Compact(labels), " "))
			if _, known := documented[name]; known || strings.HasPrefix(name, telemetry.Namespace) {
				real[name] = shape
			}
		}
		assert.Equal(t, real, documented)
		assert.Subset(t, values["after"], seen["after"])
		for _, open := range []string{"after", "config", "rotated", "version"} {
			delete(seen, open)
			delete(values, open)
		}
		for label := range values {
			slices.Sort(seen[label])
			assert.ElementsMatch(t, slices.Compact(seen[label]), values[label], label)
		}
		assert.Len(t, seen, len(values))
		l.mustRevoke()
		w.remove("sessions/default")
	})
}

package palettesecrets

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/telemetry"
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

// labels are those of the metrics, with their values between backquotes and what these mean.
var labels = [][2]string{
	{"endpoint", "`login` `system_login` `refresh` `revoke` `user_info` `change_password` `create_api_key` `update_api_key` `delete_api_key` `list_api_keys`"},
	{"outcome", "`ok`. `rejected`: Palette said no, by a 4xx of its own but for the next two. `missing`: Palette's 404. `limited`: 429, whoever answered it. `unavailable`: Palette's 5xx or 408. `foreign`: an answer that is not Palette's, a gateway's page for example. `timeout`: no answer within request_timeout. `unreachable`: name lookup, connection, TLS, a broken answer. `canceled`: the caller hung up. Of rotations, `ok` or `failed`."},
	{"after", "The outcomes after which the engine sends a call again: `limited` `unavailable` `foreign` `unreachable`"},
	{"resource", "What Palette counts calls by. `logins`. `refreshes`, and logins of system administrators. `users`: revocations, user info, password changes. `api_keys`."},
	{"operation", "`issued` `renewed` `revoked`"},
	{"type", "`token` `shared_session` `api_key` `shared_api_key`"},
	{"state", "`stored` `renewed` `stale`"},
	{"secret", "`password` `api_key`"},
	{"config", "A config's name."},
	{"rotated", "Whether a rotation_period replaces the key in time: `true` `false`"},
	{"version", "The plugin's."},
}

// ofProcess are the metrics of the plugin's process that the page names.
var ofProcess = []string{"go_goroutines", "go_memstats_heap_inuse_bytes", "process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds"}

const metricsHead = `<!-- Written by make docs. -->

# Metrics

%[1]svault read -format=raw palette/metrics%[1]s, and Prometheus at %[1]s/v1/palette/metrics%[1]s, read these. Each mount has its own, but
those of the process, which may serve several mounts. Counters begin at zero with the process. No label holds a secret,
nor what a reader can choose. [Monitoring](../monitoring/README.md) has the scrape, a dashboard and alerts.

| Metric | Type | Labels | Meaning |
| --- | --- | --- | --- |
`

// metric is a row of the page.
type metric struct {
	name, kind, help string
	labels           []string
}

// metricsPage is docs/reference/metrics.md.
func metricsPage(metrics []metric) string {
	var b strings.Builder
	fmt.Fprintf(&b, metricsHead, "`")
	slices.SortFunc(metrics, func(x, y metric) int { return strings.Compare(x.name, y.name) })
	for _, m := range metrics {
		cell := ""
		for _, label := range m.labels {
			cell += "`" + label + "` "
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s| %s |\n", m.name, strings.ToLower(m.kind), cell, m.help)
	}
	b.WriteString("\nThe other `go_` and `process_` metrics are those of every program with Prometheus's Go client.\n\n## Labels\n\n| Label | Values |\n| --- | --- |\n")
	for _, label := range labels {
		fmt.Fprintf(&b, "| `%s` | %s |\n", label[0], label[1])
	}
	return b.String()
}

// docs/reference/metrics.md names every metric with its labels, and every value of these.
func TestMetricsPageIsThatOfTheCode(t *testing.T) {
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
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(w.metricsText()))
		require.NoError(t, err)
		var metrics []metric
		seen, values := make(map[string][]string), make(map[string][]string)
		for name, family := range families {
			isOwn := strings.HasPrefix(name, telemetry.Namespace)
			row := metric{name: name, kind: family.GetType().String(), help: family.GetHelp()}
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					row.labels = append(row.labels, l.GetName())
					if isOwn {
						seen[l.GetName()] = append(seen[l.GetName()], l.GetValue())
					}
				}
			}
			slices.Sort(row.labels)
			row.labels = slices.Compact(row.labels)
			if isOwn || slices.Contains(ofProcess, name) {
				metrics = append(metrics, row)
			}
		}
		enginetest.Generated(t, "docs/reference/metrics.md", metricsPage(metrics))
		for _, label := range labels {
			values[label[0]] = quotedIn(label[1])
		}
		assert.Subset(t, values["after"], seen["after"])
		for _, open := range []string{"after", "config", "rotated", "version"} {
			delete(seen, open)
			delete(values, open)
		}
		for label := range values {
			slices.Sort(seen[label])
			slices.Sort(values[label])
			assert.Equal(t, slices.Compact(seen[label]), slices.Compact(values[label]), label)
		}
		assert.Len(t, seen, len(values))
		l.mustRevoke()
		w.remove("sessions/default")
	})
}

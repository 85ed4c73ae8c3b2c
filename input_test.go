package palettesecrets

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"vault-plugin-secrets-palette/internal/palette/exchange"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exampleOf is a request's path that a pattern takes.
func exampleOf(pattern string) string {
	path, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(pattern, "^"), "$"), "(?P<")
	path = strings.TrimSuffix(path, "?")
	if strings.Contains(pattern, "(?P<") {
		return path + "app"
	}
	return path
}

// A number that is none, such as a UID of digits, would be stored as another: JSON's numbers lose
// digits. So each text field of each path takes text alone.
func TestInputOfTextFieldsIsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		looked := 0
		for _, path := range w.b.Paths {
			for field, schema := range path.Fields {
				if schema.Type != framework.TypeString || strings.Contains(path.Pattern, "(?P<"+field+">") {
					continue
				}
				looked++
				for _, value := range []any{607000000000000000000001.0, 7, 1e30, -0.5, true, false, nil} {
					for op := range path.Operations {
						resp, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: exampleOf(path.Pattern), Storage: w.storage, Data: viaJSON(t, fields{field: value})})
						require.NoError(t, err)
						require.True(t, resp.IsError(), "%s %s: %s=%v", op, path.Pattern, field, value)
						assert.ErrorContains(t, resp.Error(), fmt.Sprintf("field %q must be a string", field), path.Pattern)
					}
				}
			}
		}
		assert.Greater(t, looked, 20)
		assert.Equal(t, fields{"renewable": true}, fields{"renewable": w.read("roles/app").Data["renewable"]}, "nothing was written")
	})
}

// A client that adds a query of its own is served; a misspelt limit is not let pass.
func TestInputOfReadsMayHaveHarmlessParameters(t *testing.T) {
	for _, c := range []struct {
		name   string
		query  fields
		refuse string // else a warning that names the parameters
	}{
		{"what Kubernetes injectors send", fields{"version": "-1"}, ""},
		{"several", fields{"version": "-1", "_": "1700000000", "nocache": "true"}, ""},
		{"one given twice", fields{"version": []string{"1", "2"}}, ""},
		{"short ones", fields{"t": "1700000000", "ts": "1700000000", "v": "2"}, ""},
		{"a letter less", fields{"tl": "1m"}, `did you mean "ttl"?`},
		{"a letter more", fields{"ttll": "1m"}, `did you mean "ttl"?`},
		{"letters that changed places", fields{"tlt": "1m"}, `did you mean "ttl"?`},
		{"capitals", fields{"TTL": "1m"}, `did you mean "ttl"?`},
		{"two letters off", fields{"renewabel": "false"}, `did you mean "renewable"?`},
		{"a field of other paths", fields{"max_ttl": "1m"}, `"max_ttl", which is a field of other paths; the fields here are renewable, ttl`},
		{"one of other paths, misspelt", fields{"max-tll": "1m"}, `did you mean "max_ttl", a field of other paths?`},
		{"beside a misspelt one", fields{"version": "-1", "rennewable": "false"}, `did you mean "renewable"?`},
		{"the name", fields{"name": "other"}, `"name" is part of the path`},
	} {
		for _, path := range []string{"creds/app", "config", "roles/app", "sessions/default", "check", "metrics"} {
			if path != "creds/app" && c.refuse != "" {
				continue
			}
			bubble(t, c.name+" "+path, func(t *testing.T) {
				w := configured(t)
				w.creds("app").mustRevoke()
				w.write("roles/shared", fields{"shared": true, "renewable": true})
				w.creds("shared")
				if c.refuse != "" {
					w.mistake(read, path, c.query, c.refuse)
					w.remove("sessions/default")
					return
				}
				resp := w.read(path, c.query)
				for name := range c.query {
					if path != "metrics" { // no JSON
						assert.Contains(t, strings.Join(resp.Warnings, "\n"), fmt.Sprintf("no field %s", quotedList(c.query)), name)
					}
				}
				if resp.Secret != nil {
					(&heldLease{w: w, secret: resp.Secret, data: resp.Data}).mustRevoke()
				}
				w.mistake(update, "creds/app", c.query, "unknown field") // writes stay strict
				w.mistake(del, "roles/app", c.query, "unknown field")
				w.remove("sessions/default")
			})
		}
	}
}

func quotedList(query fields) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		out = append(out, fmt.Sprintf("%q", name))
	}
	return strings.Join(out, ", ")
}

// Each field's misspellings, by a letter that is missing, doubled, another, or out of place.
func TestInputThatIsMisspeltIsNeverTakenForHarmless(t *testing.T) {
	rules := inputRules(newBackend(exchange.NewProcess(), "v1.0.0").Paths)
	path := &framework.Path{Pattern: "x", Fields: map[string]*framework.FieldSchema{}}
	for _, p := range newBackend(exchange.NewProcess(), "v1.0.0").Paths {
		for field := range p.Fields {
			for i := range field {
				typos := []string{field[:i] + field[i+1:], field[:i] + "x" + field[i:], field[:i] + "x" + field[i+1:], strings.ToUpper(field)}
				if len(field) > 3 { // of two letters more, a name as short as ttl would take title and total for itself
					typos = append(typos, field[:i]+"xy"+field[i:])
				}
				for _, typo := range typos {
					problem, extras := rules.Check(path, &logical.Request{Operation: read, Path: "x", Data: fields{typo: "1"}})
					assert.Empty(t, extras, typo)
					assert.Contains(t, problem, "unknown field", typo)
				}
			}
		}
	}
}

func TestInputNamesMayHoldAnAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("config/ops@example.com", w.login())
		w.write("roles/jane@example.com", fields{"config_name": "ops@example.com", "renewable": true, "shared": true})
		assert.Equal(t, []string{"jane@example.com"}, w.list("roles/"))
		w.creds("jane@example.com").mustRevoke()
		assert.Equal(t, []string{"ops@example.com"}, w.list("sessions/"))
		assert.NotNil(t, w.read("sessions/ops@example.com"))
		assert.Equal(t, true, w.read("check/ops@example.com").Data["ok"])
		w.write("rotate-root/ops@example.com", nil)
		w.write("roles/key@example.com", fields{"config_name": "ops@example.com", "credential_type": "api_key"})
		w.creds("key@example.com").mustRevoke()
		assert.Contains(t, w.metrics(), `root_secret_age_seconds{config="ops@example.com"}`)
		for _, name := range []string{"@example.com", "jane@"} {
			_, err := w.handle(t.Context(), read, "roles/"+name, nil)
			require.ErrorIs(t, err, logical.ErrUnsupportedPath, name)
			w.mistake(update, "roles/app", fields{"config_name": name}, "no name of a config")
		}
		w.remove("sessions/ops@example.com")
		w.remove("roles/jane@example.com")
		w.remove("config/ops@example.com")
	})
}

// The mount's own help names each path in words.
func TestHelpOfTheMountListsEveryPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.system.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "1.21.2"}
		resp, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: ""})
		require.NoError(t, err)
		description, paths, found := strings.Cut(resp.Data["help"].(string), "## PATHS")
		require.True(t, found)
		for _, path := range w.b.Paths {
			assert.Contains(t, paths, path.HelpSynopsis)
			words := strings.TrimSuffix(strings.TrimSuffix(exampleOf(path.Pattern), "app"), "/")
			assert.Contains(t, description, "\n  "+words, "%s", path.Pattern)
			if strings.Contains(path.Pattern, "(?P<") {
				assert.Contains(t, description, words+"/<", path.Pattern)
			}
		}
	})
}

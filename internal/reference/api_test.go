// Package reference writes docs/reference and the tables of docs/development/testing.md by what the code
// declares and a real Vault has answered, and fails where a file is stale. It has tests alone.
package reference

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	engine "vault-plugin-secrets-palette"
	"vault-plugin-secrets-palette/internal/enginetest"
)

// sample is a request and its answer: see TestReferenceHasTheAnswersOfARealVault in e2e.
type sample struct {
	Operation, Method, Path string
	Payload                 json.RawMessage
	Status                  int
	Answer                  json.RawMessage
}

// paths are the order of the page. A path with a name stands for the one without too, of the config "default".
var paths = []string{"/config/{name}", "/config/", "/trust/{name}", "/rotate-root/{name}", "/roles/{name}", "/roles/", "/creds/{name}", "/sessions/{name}", "/sessions/", "/check/{name}", "/metrics"}

const apiHead = `<!-- Written by make docs. -->

# API of the Palette secrets engine

The paths below assume the mount %[1]spalette/%[1]s. For another mount, write its path instead. %[1]svault path-help palette/<path>%[1]s
says the same of a running mount, and %[1]ssys/internal/specs/openapi%[1]s has all of this as an OpenAPI document.

A duration is a number of whole seconds, or text with a unit such as %[1]s15m%[1]s, of 10 years at most. Text has at most 4 KiB,
%[1]sca_cert%[1]s 256 KiB, %[1]sclient_cert%[1]s and %[1]sclient_key%[1]s 64 KiB each, and a name 256 bytes. A text field takes no number, boolean or null.
A write changes only the fields that it names. A write refuses an unknown field; [errors](errors.md) has each text.

A real Vault gave the answers on this page. Tokens, keys, names, times and durations in them are placeholders.
`

// The page is made of the mount's OpenAPI document, as Vault asks for it, and of answers of a real Vault.
func TestAPIPageIsThatOfTheCode(t *testing.T) {
	document := openAPI(t)
	samples, meanings := answered(t), make(map[int]string)
	var b strings.Builder
	fmt.Fprintf(&b, apiHead, "`")
	for _, path := range paths {
		item := document.Paths[path]
		require.NotNil(t, item, path)
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			o := map[string]*framework.OASOperation{http.MethodPost: item.Post, http.MethodGet: item.Get, http.MethodDelete: item.Delete}[method]
			if o == nil {
				continue
			}
			section{document, path, method, item, o, meanings}.write(&b, samples[o.OperationID])
			assert.NotEmpty(t, samples[o.OperationID], "%s has no answer of a real Vault: add the request to TestReferenceHasTheAnswersOfARealVault", o.OperationID)
			delete(samples, o.OperationID)
		}
		delete(document.Paths, path)
		delete(document.Paths, strings.TrimSuffix(path, "/{name}"))
	}
	assert.Empty(t, slices.Collect(maps.Keys(document.Paths)), "paths that are not in the page's order")
	writeLeases(&b, samples)
	writeStatuses(&b, meanings, samples["error"])
	enginetest.Generated(t, "../../docs/reference/api.md", b.String())
}

func openAPI(t *testing.T) *framework.OASDocument {
	t.Helper()
	system := &logical.StaticSystemView{PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.2"}}
	b, err := engine.Factory(t.Context(), &logical.BackendConfig{System: system, StorageView: &logical.InmemStorage{}})
	require.NoError(t, err)
	resp, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Data: map[string]any{"requestResponsePrefix": "palette"}})
	require.NoError(t, err)
	return resp.Data["openapi"].(*framework.OASDocument)
}

func answered(t *testing.T) map[string][]sample {
	t.Helper()
	text, err := os.ReadFile("testdata/answers.json")
	require.NoError(t, err)
	var all []sample
	require.NoError(t, json.Unmarshal(text, &all))
	by := make(map[string][]sample)
	for _, s := range all {
		by[s.Operation] = append(by[s.Operation], s)
	}
	return by
}

// section is the part of the page that one operation has.
type section struct {
	document     *framework.OASDocument
	path, method string
	item         *framework.OASPathItem
	*framework.OASOperation
	meanings map[int]string // of the statuses of errors, which are the same for all operations
}

func (s section) write(b *strings.Builder, samples []sample) {
	words := strings.Split(strings.TrimPrefix(s.OperationID, "palette-"), "-")
	words[0] = strings.ToUpper(words[0][:1]) + words[0][1:]
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| Method | Path |\n| --- | --- |\n", strings.Join(words, " "), s.Summary)
	method := s.method
	if strings.HasPrefix(s.OperationID, "palette-list") {
		method = "LIST"
	}
	short, named := strings.CutSuffix(s.path, "/{name}")
	if _, twin := s.document.Paths[short]; named && twin {
		fmt.Fprintf(b, "| `%s` | `/palette%s` |\n", method, short)
	}
	fmt.Fprintf(b, "| `%s` | `/palette%s` |\n", method, strings.Replace(s.path, "{name}", ":name", 1))
	s.writeParameters(b)
	for _, sample := range samples {
		sample.write(b)
	}
	if schema := s.schema(s.Responses[http.StatusOK]); schema != nil {
		b.WriteString("\n### Fields of the answer\n\n")
		writeFields(b, schema.Properties, false)
	}
	b.WriteString("\n### Statuses\n\n")
	var errors []string
	for _, status := range slices.Sorted(maps.Keys(s.Responses)) {
		if status >= http.StatusBadRequest {
			errors = append(errors, fmt.Sprintf("`%d`", status))
			s.meanings[status] = s.Responses[status].Description
			continue
		}
		fmt.Fprintf(b, "- `%d`: %s\n", status, s.Responses[status].Description)
	}
	fmt.Fprintf(b, "- %s: see [statuses of errors](#statuses-of-errors).\n", strings.Join(errors, ", "))
}

// schema is that of a request or an answer in JSON.
func (s section) schema(of any) *framework.OASSchema {
	var content framework.OASContent
	switch of := of.(type) {
	case *framework.OASRequestBody:
		if of != nil {
			content = of.Content
		}
	case *framework.OASResponse:
		if of != nil {
			content = of.Content
		}
	}
	if content["application/json"] == nil {
		return nil
	}
	return s.document.Components.Schemas[strings.TrimPrefix(content["application/json"].Schema.Ref, "#/components/schemas/")]
}

func (s section) writeParameters(b *strings.Builder) {
	given := make(map[string]*framework.OASSchema)
	for _, p := range append(slices.Clone(s.item.Parameters), s.Parameters...) {
		if p.Name == "list" { // Vault's own: the method LIST says the same
			continue
		}
		schema := *p.Schema
		schema.Description = p.Description
		given[p.Name] = &schema
	}
	if body := s.schema(s.RequestBody); body != nil {
		maps.Copy(given, body.Properties) // what the query takes too is the same there
	}
	if len(given) > 0 {
		b.WriteString("\n### Parameters\n\n")
		writeFields(b, given, true)
	}
}

// writeFields lists fields by name, that of the path first. Those of a request have defaults.
func writeFields(b *strings.Builder, fields map[string]*framework.OASSchema, request bool) {
	names := slices.Sorted(maps.Keys(fields))
	if at := slices.Index(names, "name"); at > 0 {
		names = slices.Insert(slices.Delete(names, at, at+1), 0, "name")
	}
	for _, name := range names {
		f := fields[name]
		kind := map[string]string{"integer": "int", "boolean": "bool", "number": "float", "array": "list"}[f.Type]
		if kind = cmp.Or(kind, f.Type); f.Format == "duration" {
			kind = f.Format
		}
		switch {
		case request && name == "name":
			kind += ": <required>"
		case request && f.Default != nil:
			text, _ := json.Marshal(f.Default)
			kind += ": " + string(text)
		}
		fmt.Fprintf(b, "- `%s` `(%s)`: %s\n", name, kind, inMarkdown(f.Description))
	}
}

// quoted is what a description means as it is written: templates, addresses, paths, fields.
var quoted = regexp.MustCompile(`{{.*}}|https?://[^\s,;()]*[^\s,;().]|\w+/<\w+>|[a-z]+(?:_[a-z]+)+(?:=\w+)?|[a-z]+=\w+|\.[A-Z][a-z]\w+`)

// inMarkdown marks that as code.
func inMarkdown(description string) string { return quoted.ReplaceAllString(description, "`$0`") }

func (s sample) write(b *strings.Builder) {
	if s.Payload != nil {
		fmt.Fprintf(b, "\n### Sample payload\n\n```json\n%s\n```\n", indented(s.Payload))
	}
	b.WriteString("\n### Sample request\n\n```shell-session\n$ curl \\\n    --header \"X-Vault-Token: ...\" \\\n")
	if s.Method != http.MethodGet {
		fmt.Fprintf(b, "    --request %s \\\n", s.Method)
	}
	if s.Payload != nil {
		b.WriteString("    --data @payload.json \\\n")
	}
	fmt.Fprintf(b, "    http://127.0.0.1:8200/v1%s\n```\n\n### Sample response\n\n", s.Path)
	var text string
	switch {
	case s.Answer == nil:
		fmt.Fprintf(b, "Status %d, without content.\n", s.Status)
	case json.Unmarshal(s.Answer, &text) == nil:
		fmt.Fprintf(b, "Status %d, shortened:\n\n```text\n%s```\n", s.Status, text)
	default:
		fmt.Fprintf(b, "Status %d:\n\n```json\n%s\n```\n", s.Status, indented(s.Answer))
	}
}

func indented(text []byte) string {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		panic(err) // it has just been decoded
	}
	return b.String()
}

// writeLeases tells of what Vault itself does with the engine's leases.
func writeLeases(b *strings.Builder, samples map[string][]sample) {
	for _, row := range []struct{ name, heading, text string }{
		{"renew", "Renew lease", "A renewal of a token's lease returns a new token, of the same session. A shared lease gets the session's present token. The lease of an API key keeps its key, and the key lives longer."},
		{"revoke", "Revoke lease", "A revocation ends each live token of the lease at Palette, or deletes the API key. A shared lease ends in Vault alone."},
	} {
		fmt.Fprintf(b, "\n## %s\n\n%s Vault answers this request and asks the engine.\n", row.heading, row.text)
		for _, s := range samples[row.name] {
			s.write(b)
		}
	}
}

func writeStatuses(b *strings.Builder, meanings map[int]string, samples []sample) {
	b.WriteString("\n## Statuses of errors\n\n| Status | Meaning |\n| --- | --- |\n")
	for _, status := range slices.Sorted(maps.Keys(meanings)) {
		fmt.Fprintf(b, "| `%d` | %s |\n", status, meanings[status])
	}
	b.WriteString("\nVault itself answers 403, where the policy of the Vault token does not allow the request, and 405, where the path has no such operation. [Errors](errors.md) lists the texts.\n")
	for _, s := range samples {
		s.write(b)
	}
}

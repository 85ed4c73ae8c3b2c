package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// openAPI is the part of the running server's OpenAPI document that is about a mount.
type openAPI struct {
	*openapi3.T
	f      *fixture
	router routers.Router
	// answered are the operations that have been answered with success, by their IDs.
	answered map[string]bool
}

// specs is the text of the server's document. To make it Vault asks each mount, and fails where
// one of another test is about to go ("no backend instance found").
func (f *fixture) specs() (text []byte) {
	f.t.Helper()
	require.EventuallyWithT(f.t, func(c *assert.CollectT) {
		raw, err := f.api.Logical().ReadRawWithContext(f.t.Context(), "sys/internal/specs/openapi")
		require.NoError(c, err)
		defer raw.Body.Close()
		text, err = io.ReadAll(raw.Body)
		require.NoError(c, err)
	}, soon, often)
	return text
}

// mountDocument asks the server for its document, and leaves in it what is the mount's: the
// paths below it and the schemas of their operations. Vault's own part is not looked at; in
// 1.21.2 it does not validate (defaults that are numbers where its schemas say string).
//
// One defect of Vault's generator is mended, and no other is excepted: of a document that
// comes from an external plugin it drops each $ref to a schema, so that an empty schema is
// left. It names the schemas by the operations' IDs.
func (f *fixture) mountDocument() *openAPI {
	f.t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(f.specs())
	require.NoError(f.t, err)
	d := &openAPI{T: document, f: f, answered: make(map[string]bool)}
	schemas := make(openapi3.Schemas)
	for path, item := range document.Paths.Map() {
		if !strings.HasPrefix(path, "/"+f.mount+"/") {
			document.Paths.Delete(path)
			continue
		}
		for _, operation := range item.Operations() {
			if operation.RequestBody != nil {
				d.relink(operation.RequestBody.Value.Content, operation.OperationID, "Request", schemas)
			}
			for _, response := range operation.Responses.Map() {
				d.relink(response.Value.Content, operation.OperationID, "Response", schemas)
			}
		}
	}
	document.Components = &openapi3.Components{Schemas: schemas}
	require.NotZero(f.t, document.Paths.Len())
	require.NoError(f.t, document.Validate(f.t.Context(), openapi3.EnableMultiError(), openapi3.EnableSchemaFormatValidation()))
	d.router, err = gorillamux.NewRouter(document)
	require.NoError(f.t, err)
	return d
}

// relink puts back the $ref to the schema of a request or an answer.
func (d *openAPI) relink(content openapi3.Content, operationID, kind string, used openapi3.Schemas) {
	d.f.t.Helper()
	for _, media := range content {
		name := schemaName(operationID, kind)
		schema := d.Components.Schemas[name]
		if !assert.NotNil(d.f.t, schema, "operation %s has no schema %s", operationID, name) {
			continue
		}
		media.Schema = openapi3.NewSchemaRef("#/components/schemas/"+name, schema.Value)
		used[name] = schema
	}
}

func TestMountsOpenAPIDocumentIsWhole(t *testing.T) {
	t.Parallel()
	d := newMount(t, sharedServer(t)).mountDocument()
	ids := make(map[string]string)
	for path, item := range d.Paths.Map() {
		assert.NotEmpty(t, item.Description, path)
		for method, o := range item.Operations() {
			where := method + " " + path
			assert.NotEmpty(t, o.Summary, where)
			assert.Regexp(t, `^palette-(read|write|list|delete|rotate|check)(-[a-z]+)+$`, o.OperationID, where)
			assert.Empty(t, ids[o.OperationID], "%s has the ID of another: %s", where, o.OperationID)
			ids[o.OperationID] = where
			assert.Equal(t, []string{"secrets"}, o.Tags, where)
			for _, p := range append(item.Parameters, o.Parameters...) {
				assert.NotEmpty(t, p.Value.Description, "%s: %s", where, p.Value.Name)
			}
			ok, none := o.Responses.Value("200"), o.Responses.Value("204")
			// Vault's generator has a schema for JSON alone.
			isText := o.OperationID == "palette-read-metrics"
			assert.True(t, none != nil || ok != nil && (isText || ok.Value.Content["application/json"] != nil), "%s declares no answer", where)
			for code, response := range o.Responses.Map() {
				assert.NotEmpty(t, *response.Value.Description, "%s %s", where, code)
			}
			for _, code := range []string{"400", "500"} {
				assert.NotNil(t, o.Responses.Value(code), "%s %s", where, code)
			}
		}
	}
	for name, schema := range d.Components.Schemas {
		assert.NotEmpty(t, schema.Value.Properties, name)
		for field, property := range schema.Value.Properties {
			assert.NotEmpty(t, property.Value.Type.Slice(), "%s: %s", name, field)
			assert.NotEmpty(t, property.Value.Description, "%s: %s", name, field)
		}
	}
}

// call sends a request, holds the answer against the document, and returns its status.
func (d *openAPI) call(method, path string, body map[string]any) int {
	t := d.f.t
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, d.f.vault.Address+"/v1/"+d.f.mount+"/"+path, bytes.NewReader(text))
	require.NoError(t, err)
	req.Header.Set("X-Vault-Token", d.f.vault.Token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.StatusCode == http.StatusMethodNotAllowed {
		return resp.StatusCode // Vault's own. So is the 403 of a policy, which this token does not meet.
	}
	what := fmt.Sprintf("%s %s, answered %d", method, path, resp.StatusCode)
	asked, err := http.NewRequestWithContext(t.Context(), method, "/"+d.f.mount+"/"+path, http.NoBody)
	require.NoError(t, err)
	route, _, err := d.router.FindRoute(asked)
	require.NoError(t, err, what)
	if resp.StatusCode < http.StatusBadRequest {
		d.answered[route.Operation.OperationID] = true
	}
	declared := route.Operation.Responses.Status(resp.StatusCode)
	require.NotNil(t, declared, "%s, which the document does not have", what)
	var envelope struct {
		Data map[string]any `json:"data"`
	}
	media := declared.Value.Content["application/json"]
	if len(text) == 0 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return resp.StatusCode // nothing, or no JSON, for which Vault's documents have no schema
	}
	require.NoError(t, json.Unmarshal(text, &envelope), what)
	if media == nil {
		assert.Empty(t, envelope.Data, "%s, with data that the document does not have", what)
		return resp.StatusCode
	}
	// Vault's documents describe what is under "data".
	assert.NoError(t, media.Schema.Value.VisitJSON(envelope.Data, openapi3.MultiErrors()), what)
	for field := range envelope.Data {
		assert.Contains(t, media.Schema.Value.Properties, field, what)
	}
	return resp.StatusCode
}

// inBraces is a parameter in a path of the document.
var inBraces = regexp.MustCompile(`\{[^}]+\}`)

// at is a path of the document with a name in it, as [openAPI.call] takes it.
func (d *openAPI) at(path, name string) string {
	at := strings.TrimPrefix(inBraces.ReplaceAllString(path, name), "/"+d.f.mount+"/")
	if get := d.Paths.Value(path).Get; get != nil && strings.HasPrefix(get.OperationID, "palette-list") {
		at += "?list=true"
	}
	return at
}

// Each operation that the document has is called, the reads and lists by the document alone.
func TestAnswersAreThoseOfTheOpenAPIDocument(t *testing.T) {
	t.Parallel()
	ci := palettetest.User{Email: "ci@example.com", Org: "example", Password: "Another-Horse-8-Battery"}
	f := newMount(t, sharedServer(t), palettetest.WithUser(palettetest.DefaultUser), palettetest.WithUser(ci))
	d := f.mountDocument()
	for _, row := range []struct {
		path   string
		body   map[string]any
		status int
	}{
		{"config", f.login(), http.StatusNoContent},
		{"config/ci", f.loginAs(ci), http.StatusNoContent},
		{"config/ci", map[string]any{"rotation_period": "24h", "request_timeout": "20s"}, http.StatusNoContent},
		{"roles/app", map[string]any{"ttl": "5m", "project_uid": "5f0e1d"}, http.StatusOK}, // with a warning
		{"roles/shared", map[string]any{"shared": true, "renewable": false}, http.StatusNoContent},
		{"roles/key", map[string]any{"credential_type": "api_key", "max_ttl": "1h"}, http.StatusNoContent},
		{"creds/app", map[string]any{"ttl": "1m", "renewable": false}, http.StatusOK},
		{"creds/key", nil, http.StatusOK},
		{"creds/shared", nil, http.StatusOK},
		{"trust/ci", map[string]any{"tls_server_name": "palette.example.com"}, http.StatusNoContent},
		{"rotate-root", nil, http.StatusNoContent},
		{"rotate-root/ci", nil, http.StatusNoContent},
	} {
		require.Equal(t, row.status, d.call(http.MethodPost, row.path, row.body), "post %s", row.path)
	}
	paths := slices.Sorted(maps.Keys(d.Paths.Map()))
	for _, path := range paths {
		for _, name := range []string{"default", "ci", "app", "shared", "key"} {
			if d.Paths.Value(path).Get != nil {
				d.call(http.MethodGet, d.at(path, name), nil)
			}
		}
	}
	for _, row := range []struct {
		path   string
		status int
	}{
		{"sessions/default", http.StatusNoContent},
		{"roles/app", http.StatusOK}, // with a warning
		{"config/ci", http.StatusNoContent},
		{"config", http.StatusOK}, // with a warning: it has roles
	} {
		require.Equal(t, row.status, d.call(http.MethodDelete, row.path, nil), "delete %s", row.path)
	}
	for _, path := range paths {
		for method, operation := range d.Paths.Value(path).Operations() {
			assert.True(t, d.answered[operation.OperationID], "%s %s has not been answered with success", method, path)
		}
	}
}

// The storage's 500 is for the unit tests, and so is a 503 of a mount that ends.
func TestErrorsAreThoseOfTheOpenAPIDocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedServer(t))
	f.write("config", map[string]any{"queue_timeout": "1s"})
	d := f.mountDocument()
	for path, item := range d.Paths.Map() {
		for method := range item.Operations() {
			at, body := d.at(path, "app"), map[string]any{"passwrd": 1}
			if method != http.MethodPost { // Vault reads no body there
				bare, list, _ := strings.Cut(at, "?")
				at, body = bare+"?passwrd=1&"+list, nil
			}
			assert.Equal(t, http.StatusBadRequest, d.call(method, at, body), "%s %s", method, at)
		}
	}
	down := func() func() {
		f.palette.Down(true)
		return func() { f.palette.Down(false) }
	}
	pausing := func() func() {
		f.palette.Inject(palettetest.Login, palettetest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "2"})
		return f.palette.ClearAll
	}
	for _, row := range []struct {
		method, path string
		arrange      func() (undo func())
		status       int
	}{
		{http.MethodGet, "config/nobody", nil, http.StatusNotFound},
		{http.MethodGet, "roles/nobody", nil, http.StatusNotFound},
		{http.MethodGet, "sessions/nobody", nil, http.StatusNotFound},
		{http.MethodGet, "sessions/?list=true", nil, http.StatusNotFound},
		{http.MethodPost, "sessions/default", nil, http.StatusMethodNotAllowed},
		{http.MethodPost, "rotate-root", f.rotating, http.StatusConflict},
		{http.MethodPost, "rotate-root", down, http.StatusBadGateway},
		{http.MethodPost, "config", down, http.StatusBadGateway},
		{http.MethodGet, "creds/app", down, http.StatusBadGateway},
		{http.MethodPost, "creds/app", down, http.StatusBadGateway},
		{http.MethodGet, "creds/app", pausing, http.StatusServiceUnavailable},
	} {
		undo := func() {}
		if row.arrange != nil {
			undo = row.arrange()
		}
		assert.Equal(t, row.status, d.call(row.method, row.path, nil), "%s %s", row.method, row.path)
		undo()
	}
}

// rotating leaves the default config's rotation under way until it is undone.
func (f *fixture) rotating() (undo func()) {
	f.t.Helper()
	gate := f.palette.Hold(palettetest.PasswordChange)
	done := make(chan error, 1)
	go func() {
		_, err := f.api.Logical().WriteWithContext(f.t.Context(), f.mount+"/rotate-root", nil)
		done <- err
	}()
	<-gate.Arrived()
	return func() {
		gate.Release()
		require.NoError(f.t, <-done)
	}
}

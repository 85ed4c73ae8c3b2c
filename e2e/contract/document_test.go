// Package contract checks that the stand-in for Palette agrees with Palette's published OpenAPI document: a request
// that it accepts, and every answer that it gives. GET /v1/projects/alerts is left out: the part of the document that
// concerns authentication doesn't have it.
package contract

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"
)

// documentFile is where the document is looked for unless PALETTE_OPENAPI names it.
const documentFile = "../../../shared/palette/openapi-auth.json"

// contract is the document, made strict: a field that it doesn't name is a mistake.
type contract struct {
	document *openapi3.T
	router   routers.Router
}

// load reads the document; without it the test is skipped.
func load(t *testing.T) *contract {
	t.Helper()
	file := os.Getenv("PALETTE_OPENAPI")
	named := file != ""
	if !named {
		file = documentFile
	}
	text, err := os.ReadFile(file)
	if !named && errors.Is(err, fs.ErrNotExist) {
		t.Skipf("Palette's OpenAPI document is not at %s, nor does PALETTE_OPENAPI name it", file)
	}
	require.NoError(t, err)
	var document openapi2.T
	require.NoError(t, json.Unmarshal(text, &document))
	require.NotContains(t, document.Paths, systemLoginPath, "the document has it by now: check by that")
	var systemLogin openapi2.PathItem
	require.NoError(t, json.Unmarshal([]byte(systemLoginItem), &systemLogin))
	document.Paths[systemLoginPath] = &systemLogin
	return convert(t, &document)
}

// The login of system administrators is in no OpenAPI document. This is what Palette's documentation of the system console
// says of it.
const (
	systemLoginPath = "/v1/auth/syslogin"
	systemLoginItem = `{"post": {
		"operationId": "systemLogin", "consumes": ["application/json"], "produces": ["application/json"],
		"parameters": [{"name": "body", "in": "body", "required": true, "schema": {
			"type": "object", "required": ["username", "password"], "additionalProperties": false,
			"properties": {"username": {"type": "string"}, "password": {"type": "string"}}}}],
		"responses": {"200": {"description": "the token", "schema": {
			"type": "object", "required": ["Authorization", "IsPasswordReset"], "additionalProperties": false,
			"properties": {"Authorization": {"type": "string"}, "IsPasswordReset": {"type": "boolean"}}}}}
	}}`
)

func convert(t *testing.T, document *openapi2.T) *contract {
	t.Helper()
	converted, err := openapi2conv.ToV3(document)
	require.NoError(t, err)
	converted.Servers = nil // so that it is about any address
	for _, schema := range converted.Components.Schemas {
		forbidOthers(schema)
	}
	for _, item := range converted.Paths.Map() {
		for _, operation := range item.Operations() {
			if operation.RequestBody == nil || operation.RequestBody.Value == nil {
				continue
			}
			for _, media := range operation.RequestBody.Value.Content {
				forbidOthers(media.Schema)
			}
		}
	}
	require.NoError(t, converted.Validate(t.Context()))
	router, err := gorillamux.NewRouter(converted)
	require.NoError(t, err)
	return &contract{document: converted, router: router}
}

// forbidOthers makes a schema with fields refuse all others. Objects without any, such as details, stay open.
func forbidOthers(schema *openapi3.SchemaRef) {
	if schema == nil || schema.Ref != "" || schema.Value == nil {
		return
	}
	if value := schema.Value; len(value.Properties) > 0 && value.AdditionalProperties.Has == nil {
		closed := false
		value.AdditionalProperties.Has = &closed
	}
	for _, property := range schema.Value.Properties {
		forbidOthers(property)
	}
	forbidOthers(schema.Value.Items)
}

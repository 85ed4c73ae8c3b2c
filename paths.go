package palettesecrets

import (
	"context"
	"maps"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// This file has what the paths share: names of fields, answers and events. HandleRequest looks at a
// request's input before its path's handler; seconds is how a handler reads a duration.

// Names of fields, shared by the paths and their tests.
const (
	fieldName = "name"

	fieldAddress          = "address"
	fieldLoginType        = "login_type"
	fieldUsername         = "username"
	fieldEmail            = "email"
	fieldPassword         = "password"
	fieldOrg              = "org"
	fieldCACert           = "ca_cert"
	fieldClientCert       = "client_cert"
	fieldClientKey        = "client_key"
	fieldTLSServerName    = "tls_server_name"
	fieldTLSSkipVerify    = "tls_skip_verify"
	fieldProxyURL         = "proxy_url"
	fieldRequestTimeout   = "request_timeout"
	fieldVerifyConnection = "verify_connection"
	fieldRateLimit        = "rate_limit"
	fieldRateBurst        = "rate_burst"
	fieldQueueTimeout     = "queue_timeout"
	fieldKeyLimit         = "key_limit"
	fieldAPIKey           = "api_key"
	fieldAPIKeyUID        = "api_key_uid"
	fieldPasswordPolicy   = "password_policy"
	fieldRotationPeriod   = "rotation_period"

	fieldConfigName = "config_name"
	fieldTTL        = "ttl"
	fieldMaxTTL     = "max_ttl"
	fieldRenewable  = "renewable"
	fieldProjectUID = "project_uid"
	fieldShared     = "shared"

	fieldCredentialType = "credential_type"
	fieldUserUID        = "user_uid"
	fieldNameTemplate   = "name_template"
	fieldDescription    = "description"
	fieldAPIKeyName     = "api_key_name"

	fieldToken     = "token"
	fieldTokenID   = "token_id"
	fieldExpiresAt = "expires_at"
)

// announced wraps a handler that changes something: after a success it sends an event.
func (b *backend) announced(kind string, handler framework.OperationFunc) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := handler(ctx, req, d)
		if err == nil && !resp.IsError() {
			b.events.Send(kind, req.Path, logical.EventMetadataOperation, string(req.Operation), logical.EventMetadataModified, "true")
		}
		return resp, err
	}
}

// displayAttrs names a path's operations in the mount's OpenAPI document.
func displayAttrs(suffix string) *framework.DisplayAttributes {
	return &framework.DisplayAttributes{OperationPrefix: "palette", OperationSuffix: suffix}
}

// listPath is a path that only lists.
func listPath(pattern, suffix string, list func(context.Context, logical.Storage) ([]string, error), help string) *framework.Path {
	handle := func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
		names, err := list(ctx, req.Storage)
		if err != nil {
			return nil, err
		}
		return logical.ListResponse(names), nil
	}
	return &framework.Path{
		Pattern:         pattern,
		DisplayAttrs:    displayAttrs(suffix),
		HelpSynopsis:    help,
		HelpDescription: help,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{
				Callback: handle, Summary: help,
				Responses: answers(http.StatusOK, "The names.", map[string]*framework.FieldSchema{
					"keys": {Type: framework.TypeStringSlice, Description: "The names, sorted."},
				}, http.StatusNotFound),
			},
		},
	}
}

// ofConfig are a path for the config "default" and one for a named config.
func ofConfig(pattern, suffix, namedSuffix string, path func(pattern, suffix string) *framework.Path) []*framework.Path {
	named := path(pattern+"/"+input.Name(fieldName), namedSuffix)
	withName(named.Fields, "Name of the config.")
	return []*framework.Path{path(pattern+"$", suffix), named}
}

// forwarded is an operation that writes: on a performance standby or secondary it goes
// to the node that can.
func forwarded(callback framework.OperationFunc, summary string, responses map[int][]framework.Response) *framework.PathOperation {
	return &framework.PathOperation{
		Callback: callback, Summary: summary, Responses: responses,
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
}

// answers are those of an operation: its success and, by their statuses, its errors beside
// those that every operation has.
func answers(status int, description string, fields map[string]*framework.FieldSchema, errorStatuses ...int) map[int][]framework.Response {
	return orErrors(map[int][]framework.Response{status: {{Description: description, Fields: fields}}}, errorStatuses...)
}

func noContent(description string, errorStatuses ...int) map[int][]framework.Response {
	return answers(http.StatusNoContent, description, nil, errorStatuses...)
}

// orErrors adds errors to the answers of an operation. Each refuses unknown fields and may
// find the storage failing, so 400 and 500 need no naming. They have no fields: Vault puts
// the text under "errors", beside the "data" that its documents describe.
func orErrors(success map[int][]framework.Response, statuses ...int) map[int][]framework.Response {
	for _, status := range append([]int{http.StatusBadRequest, http.StatusInternalServerError}, statuses...) {
		success[status] = []framework.Response{{Description: errorAnswers[status]}}
	}
	return success
}

// orWarned adds a 200 to the answers of an operation whose success is a 204: its warnings need a body.
func orWarned(responses map[int][]framework.Response, description string) map[int][]framework.Response {
	responses[http.StatusOK] = []framework.Response{{Description: description}}
	return responses
}

// errorAnswers says what a status means to the caller, the same for all operations. Those
// that Vault answers by itself are not among them, such as 403 and 405.
var errorAnswers = map[int]string{
	http.StatusBadRequest:          "The engine cannot carry out the request: a field is wrong or unknown, a role or config is missing, or Palette refuses. The text says what to change.",
	http.StatusNotFound:            "There is none of that name or, where names are listed, none at all.",
	http.StatusConflict:            "The config is being rotated or changed by others at the same time. Nothing is stored; try again.",
	http.StatusInternalServerError: "Vault's storage failed, a password policy makes no password, or a bug. The text or the server's log has the cause.",
	http.StatusBadGateway:          "Palette cannot be reached, is slow, or answers with a fault of its own. The text has host and cause.",
	http.StatusServiceUnavailable:  "No turn comes in time under Palette's rate limit, or the mount is ending. Or a key's making took as long as its lease, or the config has become another login. Try again later.",
}

// shown makes fields of a request those of an answer, which has durations as numbers.
func shown(fields map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	for _, f := range fields {
		if f.Type == framework.TypeDurationSecond {
			f.Type, f.Default, f.Description = framework.TypeInt64, nil, "In seconds. "+f.Description
		}
	}
	return fields
}

// withName adds the field that a path with a name captures.
func withName(fields map[string]*framework.FieldSchema, description string) map[string]*framework.FieldSchema {
	fields[fieldName] = &framework.FieldSchema{
		Type: framework.TypeString, Required: true,
		Description: description + " Letters, digits and underscores, inside also dots, hyphens and @.",
	}
	return fields
}

// set takes over the fields that were given.
func set[T any](d *framework.FieldData, as func(any) T, fields map[string]*T) {
	for field, into := range fields {
		if value, given := d.GetOk(field); given {
			*into = as(value)
		}
	}
}

func trimmed(value any) string { return strings.TrimSpace(value.(string)) }

func is(value any) bool { return value.(bool) }

// seconds reads a field that is a duration, see [input.Seconds]. Errors are Mistakes.
func seconds(d *framework.FieldData, field string) (value time.Duration, given bool, err error) {
	if value, given, err = input.Seconds(d, field); err != nil {
		err = upstream.Mistakef("%s", err)
	}
	return value, given, err
}

// inputRules are what the requests of a mount are held to.
func inputRules(paths []*framework.Path) *input.Rules {
	rules := &input.Rules{NameField: fieldName, MaxLengths: map[string]int{fieldCACert: 256 << 10, fieldClientCert: 64 << 10, fieldClientKey: 64 << 10}}
	rules.Know(paths)
	return rules
}

// HandleRequest implements logical.Backend. It looks at the input before the framework does.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer func() {
		if recover() != nil {
			b.Logger().Error("panic in a request", "operation", req.Operation, "stack", string(debug.Stack()))
			resp, err = nil, tasks.ErrPanic
		}
	}()
	problem, extras := b.checkInput(req)
	if problem != "" {
		return logical.ErrorResponse("%s", problem), nil
	}
	meant := *req // Vault's audit log has the request as it came
	meant.Data = maps.Clone(req.Data)
	for _, name := range extras {
		delete(meant.Data, name)
	}
	resp, err = b.Backend.HandleRequest(ctx, &meant)
	// Vault hands on the body of an answer that is no JSON as it stands, without a warning.
	if len(extras) > 0 && err == nil && resp != nil && !resp.IsError() && resp.Data[logical.HTTPRawBody] == nil {
		resp.AddWarning(input.Extras(extras))
	}
	return resp, err
}

// HandleExistenceCheck implements logical.Backend. Whether an entry exists depends on
// the path alone; without the data the framework has no value that it could print.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	bare := *req
	bare.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &bare)
}

// checkInput returns what is wrong with the fields of a request, or "", and the parameters of a read
// that are not for the engine.
func (b *backend) checkInput(req *logical.Request) (problem string, extras []string) {
	switch req.Operation {
	case logical.CreateOperation, logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation, logical.ListOperation:
	default:
		return "", nil
	}
	path := b.Route(req.Path)
	if path == nil {
		return "", nil
	}
	return b.rules.Check(path, req)
}

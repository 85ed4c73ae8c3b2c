package palettesecrets

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin/pb"
	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/internal/input"
)

// answered is the status that Vault answers with, by its own reckoning, to what reaches it
// from an external plugin.
func answered(req *logical.Request, resp *logical.Response, err error) int {
	status, err := logical.RespondErrorCommon(req, resp, pb.ProtoErrToErr(pb.ErrToProtoErr(err)))
	logical.AdjustErrorStatusCode(&status, err)
	switch {
	case status != 0:
		return status
	case resp == nil:
		return http.StatusNoContent
	default:
		return http.StatusOK
	}
}

// checkAnswer holds an answer against what its operation declares, and looks for secrets in
// the texts of it that Vault may log.
func (w *world) checkAnswer(ctx context.Context, req *logical.Request, resp *logical.Response, err error) {
	w.t.Helper()
	switch {
	case err != nil:
		w.noSecret("an error", err.Error())
	case resp.IsError():
		w.noSecret("an error response", resp.Error().Error())
	case resp != nil:
		w.noSecret("the warnings", strings.Join(resp.Warnings, "\n"))
	}
	path := w.b.Route(req.Path)
	if path == nil || path.Operations[req.Operation] == nil || ctx.Err() != nil {
		return // Vault's own 404, 405 or help; or the caller has gone, and is answered nothing
	}
	status := answered(req, resp, err)
	declared := path.Operations[req.Operation].Properties().Responses[status]
	if !assert.NotEmpty(w.t, declared, "%s %s is answered %d, which it does not declare: %v %v", req.Operation, req.Path, status, resp, err) || status >= http.StatusBadRequest {
		return
	}
	if resp != nil && resp.Data[logical.HTTPContentType] != nil {
		assert.Equal(w.t, declared[0].MediaType, resp.Data[logical.HTTPContentType])
		return
	}
	schema.ValidateResponse(w.t, &declared[0], resp, true)
}

// faults are what an operation may meet. request is one that would be served without.
var faults = map[string]func(w *world, request *logical.Request){
	"an unknown field": func(_ *world, request *logical.Request) { request.Data["passwrd"] = 1 },
	"nothing there":    func(w *world, _ *logical.Request) { w.remove("config"); w.remove("roles/default") },
	"the storage fails": func(w *world, _ *logical.Request) {
		w.uncache()
		w.storage.fail = func(string, string) error { return errDisk }
	},
	"Palette is away":     func(w *world, _ *logical.Request) { w.palette.Down(true) },
	"the mount is ending": func(w *world, _ *logical.Request) { w.t.Cleanup(w.ended()) },
	"others change and rotate the config": func(w *world, _ *logical.Request) {
		w.rotating()
		w.othersWrite()
	},
}

// What an operation declares is what it gives, neither less nor more.
func TestOpenAPIDeclaresTheErrorsThatEachOperationGives(t *testing.T) {
	concrete := strings.NewReplacer("^", "", input.Name(fieldName), "default", "/?$", "/", "$", "")
	for _, path := range newWorld(t).b.Paths {
		at := concrete.Replace(path.Pattern)
		for op, operation := range path.Operations {
			bubble(t, string(op)+" "+at, func(t *testing.T) {
				var given []int
				for _, meet := range faults {
					if status := meeting(t, meet, op, at); status >= http.StatusBadRequest {
						given = append(given, status)
					}
				}
				var declared []int
				for status, responses := range operation.Properties().Responses {
					if status >= http.StatusBadRequest {
						declared = append(declared, status)
						assert.Equal(t, errorAnswers[status], responses[0].Description)
					}
				}
				slices.Sort(given)
				slices.Sort(declared)
				assert.Equal(t, declared, slices.Compact(given))
			})
		}
	}
}

// meeting is the status of an operation that meets a fault.
func meeting(t *testing.T, meet func(*world, *logical.Request), op logical.Operation, path string) int {
	w := newWorld(t)
	w.write("config", w.login())
	w.write("roles/default", fields{"renewable": true})
	req := &logical.Request{Operation: op, Path: path, Storage: w.storage, Data: fields{}}
	if isWrite := op == logical.CreateOperation || op == logical.UpdateOperation; isWrite && strings.HasPrefix(path, "config") {
		req.Data = viaJSON(t, w.login())
	}
	meet(w, req)
	resp, err := w.b.HandleRequest(t.Context(), req)
	w.storage.heal()
	if resp != nil && resp.Secret != nil {
		(&heldLease{w: w, secret: resp.Secret, data: resp.Data}).mustRevoke()
	}
	return answered(req, resp, err)
}

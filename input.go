package palettesecrets

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/input"
	"vault-plugin-secrets-palette/internal/tasks"
	"vault-plugin-secrets-palette/internal/upstream"
)

// longestDuration bounds the fields that are durations. A longer one is a mistake, and a multiple
// of it, such as twice a rotation_period, must not overflow.
const longestDuration = 10 * 365 * 24 * time.Hour

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

// seconds reads a field that is a duration, and tells whether the field was given. seconds reads the
// raw value once more, since the framework makes 0, which means "no limit", of "500ms". Errors are
// Mistakes.
func seconds(d *framework.FieldData, field string) (value time.Duration, given bool, err error) {
	raw, given := d.Raw[field]
	if !given {
		return 0, false, nil
	}
	value, err = parseutil.ParseDurationSecond(raw)
	if err != nil || value < 0 || value%time.Second != 0 {
		return 0, true, upstream.Mistakef("field %q is %q, but must be a duration of whole seconds, zero or more", field, fmt.Sprint(raw))
	}
	if value > longestDuration {
		return 0, true, upstream.Mistakef("field %q is %s, but must be at most %s (10 years)", field, value, longestDuration)
	}
	return value, true, nil
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

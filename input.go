package palette

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/tasks"
)

// HandleRequest implements logical.Backend. It looks at the input before the framework
// does, which only warns about unknown fields and prints the values that it cannot
// convert.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer func() {
		if recover() != nil {
			b.Logger().Error("panic in a request", "operation", req.Operation, "stack", string(debug.Stack()))
			resp, err = nil, tasks.ErrPanic
		}
	}()
	if problem := b.checkInput(req); problem != "" {
		return logical.ErrorResponse("%s", problem), nil
	}
	return b.Backend.HandleRequest(ctx, req)
}

// HandleExistenceCheck implements logical.Backend. Whether an entry exists depends on
// the path alone; without the data the framework has no value that it could print.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	bare := *req
	bare.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &bare)
}

// checkInput returns what is wrong with the fields of a request, or nothing.
func (b *backend) checkInput(req *logical.Request) string {
	switch req.Operation {
	case logical.CreateOperation, logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation, logical.ListOperation:
	default:
		return ""
	}
	path := b.Route(req.Path)
	if path == nil {
		return ""
	}
	if _, name, _ := strings.Cut(req.Path, "/"); len(name) > maxNameLength {
		return fmt.Sprintf("field %q is longer than %d bytes", fieldName, maxNameLength)
	}
	for _, field := range slices.Sorted(maps.Keys(req.Data)) {
		if field == "list" && req.Operation == logical.ListOperation {
			continue // Vault adds it where a client lists by query
		}
		if problem := checkField(path, field, req.Data[field]); problem != "" {
			return problem
		}
	}
	return ""
}

// These bound names and the text of fields, in bytes, so that an entry fits into Vault's
// storage, which else answers 500: a key has 512 bytes and a value 512 KiB where that is
// Consul, more with Raft.
const (
	maxNameLength  = 256
	maxFieldLength = 4 << 10
)

var maxLengths = map[string]int{fieldCACert: 256 << 10, fieldClientCert: 64 << 10, fieldClientKey: 64 << 10}

func checkField(path *framework.Path, field string, value any) string {
	schema, known := path.Fields[field]
	text, _ := value.(string)
	most := cmp.Or(maxLengths[field], maxFieldLength)
	switch {
	case !known && len(inputFields(path)) == 0:
		return fmt.Sprintf("unknown field %q: this path takes no fields", field)
	case !known:
		return fmt.Sprintf("unknown field %q; the fields here are %s", field, strings.Join(inputFields(path), ", "))
	case captured(path, field):
		return fmt.Sprintf("field %q is part of the path and must not be given beside it", field)
	case value == nil:
		return fmt.Sprintf("field %q must not be null; leave it out to keep what is stored", field)
	case len(text) > most:
		return fmt.Sprintf("field %q is longer than %d bytes", field, most)
	}
	if schema.DisplayAttrs != nil && schema.DisplayAttrs.Sensitive {
		if _, ok := value.(string); !ok {
			return fmt.Sprintf("field %q must be a string", field)
		}
		return ""
	}
	switch v := value.(type) {
	case []any, []string:
		return fmt.Sprintf("field %q must be given once, as one value", field)
	case map[string]any:
		return fmt.Sprintf("field %q must be one value, not an object", field)
	case float64: // the framework drops what comes after the point: of 0.5 seconds it makes 0, "no limit"
		if _, isNumber := typeNames[schema.Type]; isNumber && schema.Type != framework.TypeBool && v != math.Trunc(v) {
			return fmt.Sprintf("field %q is %v, but must be a %s", field, v, typeNames[schema.Type])
		}
	case string:
		if schema.Type == framework.TypeString {
			return ""
		}
		data := framework.FieldData{Raw: map[string]any{field: v}, Schema: path.Fields}
		if err := data.Validate(); err != nil {
			return fmt.Sprintf("field %q is %q, but must be a %s", field, v, typeNames[schema.Type])
		}
	}
	return ""
}

// typeNames says in words what a field takes.
var typeNames = map[framework.FieldType]string{
	framework.TypeBool:           "boolean (true or false)",
	framework.TypeInt:            "whole number",
	framework.TypeDurationSecond: `duration in whole seconds ("900", "15m")`,
}

// captured tells whether a field's value comes from the path.
func captured(path *framework.Path, field string) bool {
	return strings.Contains(path.Pattern, "(?P<"+field+">")
}

// inputFields returns the names of the fields that a request may hold, sorted.
func inputFields(path *framework.Path) []string {
	var names []string
	for field := range path.Fields {
		if !captured(path, field) {
			names = append(names, field)
		}
	}
	slices.Sort(names)
	return names
}

// exactName is what [framework.GenericNameRegex] makes, as a test of a name in a field.
var exactName = regexp.MustCompile(`^` + framework.GenericNameRegex("name") + `$`)

package palette

import (
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// displayAttrs names a path's operations in the mount's OpenAPI document.
func displayAttrs(suffix string) *framework.DisplayAttributes {
	return &framework.DisplayAttributes{OperationPrefix: "palette", OperationSuffix: suffix}
}

// listPath is a path that only lists.
func listPath(pattern, suffix string, list framework.OperationFunc, help string) *framework.Path {
	return &framework.Path{
		Pattern:         pattern,
		DisplayAttrs:    displayAttrs(suffix),
		HelpSynopsis:    help,
		HelpDescription: help,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{
				Callback: list, Summary: help,
				Responses: answers(http.StatusOK, "The names.", map[string]*framework.FieldSchema{
					"keys": {Type: framework.TypeStringSlice, Description: "The names, sorted."},
				}),
			},
		},
	}
}

// forwarded is an operation that writes: on a performance standby or secondary it goes
// to the node that can.
func forwarded(callback framework.OperationFunc, summary string, responses map[int][]framework.Response) *framework.PathOperation {
	return &framework.PathOperation{
		Callback: callback, Summary: summary, Responses: responses,
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
}

func answers(status int, description string, fields map[string]*framework.FieldSchema) map[int][]framework.Response {
	return map[int][]framework.Response{status: {{Description: description, Fields: fields}}}
}

func noContent(description string) map[int][]framework.Response {
	return answers(http.StatusNoContent, description, nil)
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
		Description: description + " Letters, digits and underscores, inside also dots and hyphens.",
	}
	return fields
}

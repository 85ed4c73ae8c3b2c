// Package input looks at the fields of a request before Vault's framework does. The framework only warns
// about unknown fields, and prints the values that it cannot convert.
//
// Promise: what a request means to set is taken as it is given, or refused by name. No problem
// quotes the value of a secret field.
//
// State: none; [Rules] are fixed when the mount comes up.
package input

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// These bound names and the text of fields, in bytes, so that an entry fits into Vault's storage. Consul,
// the narrowest, takes keys of 512 bytes and values of 512 KiB; beyond, Vault would answer 500.
const (
	maxNameLength  = 256
	maxFieldLength = 4 << 10
)

// Name captures the name of a config or a role in a path, under a field's name.
func Name(field string) string { return framework.GenericNameWithAtRegex(field) }

// exactName is [Name] as a test of a name in a field.
var exactName = regexp.MustCompile(`^` + Name("name") + `$`)

// IsName tells whether a text can be the name of a config or a role.
func IsName(text string) bool { return exactName.MatchString(text) }

// Rules are what the requests of a mount are held to.
type Rules struct {
	// NameField is the field that paths capture a name under.
	NameField string
	// MaxLengths bounds the text of the fields that may be longer than others, in bytes.
	MaxLengths map[string]int
	// known are the names of all fields of the mount, sorted.
	known []string
}

// Know makes the rules know the fields of all paths of a mount.
func (r *Rules) Know(paths []*framework.Path) {
	fields := make(map[string]bool)
	for _, path := range paths {
		for field := range path.Fields {
			fields[field] = true
		}
	}
	r.known = slices.Sorted(maps.Keys(fields))
}

// Check returns what is wrong with the fields of a request, or "". extras are the parameters of a read
// that nobody can have meant for the engine, sorted. Clients add such parameters to their queries; the
// read is served without them.
func (r *Rules) Check(path *framework.Path, req *logical.Request) (problem string, extras []string) {
	if _, name, _ := strings.Cut(req.Path, "/"); len(name) > maxNameLength {
		return fmt.Sprintf("field %q is longer than %d bytes", r.NameField, maxNameLength), nil
	}
	isRead := req.Operation == logical.ReadOperation || req.Operation == logical.ListOperation
	for _, field := range slices.Sorted(maps.Keys(req.Data)) {
		if field == "list" && req.Operation == logical.ListOperation {
			continue // Vault adds it where a client lists by query
		}
		if path.Fields[field] == nil {
			if isRead && r.isHarmless(field) {
				extras = append(extras, field)
				continue
			}
			return r.unknown(path, field), nil
		}
		if problem := r.checkField(path, field, req.Data[field]); problem != "" {
			return problem, nil
		}
	}
	return "", extras
}

// Extras is the warning of a read that was served without some of its parameters.
func Extras(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return "the engine has no field " + strings.Join(quoted, ", ") + ", and was not guided by it"
}

func (r *Rules) checkField(path *framework.Path, field string, value any) string {
	schema := path.Fields[field]
	text, isText := value.(string)
	most := cmp.Or(r.MaxLengths[field], maxFieldLength)
	isSecret := schema.DisplayAttrs != nil && schema.DisplayAttrs.Sensitive
	switch {
	case captured(path, field):
		return fmt.Sprintf("field %q is part of the path and must not be given beside it", field)
	case value == nil && schema.Type == framework.TypeString:
		return fmt.Sprintf("field %q must be a string, not null; leave it out to keep what is stored", field)
	case value == nil:
		return fmt.Sprintf("field %q must not be null; leave it out to keep what is stored", field)
	case len(text) > most:
		return fmt.Sprintf("field %q is longer than %d bytes", field, most)
	case isSecret && !isText:
		return fmt.Sprintf("field %q must be a string", field)
	}
	switch v := value.(type) { // no field of the mount takes a list or an object
	case []any, []string:
		return fmt.Sprintf("field %q must be given once, as one value", field)
	case map[string]any:
		return fmt.Sprintf("field %q must be one value, not an object", field)
	case string:
		return checkText(path, field, v)
	}
	return checkNumber(schema, field, value)
}

// checkText looks at a text that a field is given as: by the CLI and in a query each value is one.
func checkText(path *framework.Path, field, text string) string {
	schema := path.Fields[field]
	if schema.Type == framework.TypeString {
		return ""
	}
	data := framework.FieldData{Raw: map[string]any{field: text}, Schema: path.Fields}
	// The framework takes an empty text for 0 or false, and so for "no limit" or "no check". Of 010 it
	// makes 8.
	strange := text == "" || schema.Type == framework.TypeInt && !decimal.MatchString(text)
	if err := data.Validate(); err != nil || strange {
		return wrong(schema, field, fmt.Sprintf("%q", text))
	}
	return ""
}

// decimal is a whole number as people write it. More digits would not fit.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,17})$`)

func wrong(schema *framework.FieldSchema, field, value string) string {
	return fmt.Sprintf("field %q is %s, but must be a %s", field, value, typeNames[schema.Type])
}

// checkNumber looks at a number or boolean of JSON. A text field takes none: JSON numbers lose
// digits on the way, so that a UID of digits would be stored as another.
func checkNumber(schema *framework.FieldSchema, field string, value any) string {
	if schema.Type == framework.TypeString {
		return fmt.Sprintf("field %q must be a string, in quotes", field)
	}
	_, isBool := value.(bool)
	if typeNames[schema.Type] == "" || isBool && schema.Type == framework.TypeBool {
		return ""
	}
	// The framework drops what comes after the point: of 0.5 seconds it makes 0, "no limit". Of a number
	// that does not fit it makes another one.
	v, isNumber := value.(float64)
	whole := isNumber && v == math.Trunc(v) && math.Abs(v) < 1<<53
	if isBool || schema.Type == framework.TypeBool || isNumber && (!whole || v < 0 && schema.Type == framework.TypeDurationSecond) {
		return wrong(schema, field, fmt.Sprint(value))
	}
	return ""
}

// typeNames says in words what a field takes.
var typeNames = map[framework.FieldType]string{
	framework.TypeBool:           "boolean (true or false)",
	framework.TypeInt:            "whole number",
	framework.TypeDurationSecond: `duration in whole seconds, zero or more ("900", "15m")`,
}

// captured tells whether a field's value comes from the path.
func captured(path *framework.Path, field string) bool {
	return strings.Contains(path.Pattern, "(?P<"+field+">")
}

// takes are the names of the fields that a request may hold, sorted.
func takes(path *framework.Path) []string {
	var names []string
	for field := range path.Fields {
		if !captured(path, field) {
			names = append(names, field)
		}
	}
	slices.Sort(names)
	return names
}

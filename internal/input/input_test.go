package input_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/input"
)

// rules are those of a mount with two paths.
func rules() (*input.Rules, *framework.Path) {
	things := &framework.Path{Pattern: "things/" + input.Name("name"), Fields: map[string]*framework.FieldSchema{
		"name": {Type: framework.TypeString}, "text": {Type: framework.TypeString}, "long": {Type: framework.TypeString},
		"secret": {Type: framework.TypeString, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
		"size":   {Type: framework.TypeInt}, "ttl": {Type: framework.TypeDurationSecond}, "enabled": {Type: framework.TypeBool},
	}}
	none := &framework.Path{Pattern: "none", Fields: map[string]*framework.FieldSchema{}}
	other := &framework.Path{Pattern: "other", Fields: map[string]*framework.FieldSchema{"elsewhere": {Type: framework.TypeString}}}
	r := &input.Rules{NameField: "name", MaxLengths: map[string]int{"long": 10 << 10}}
	r.Know([]*framework.Path{things, none, other})
	return r, things
}

const update = logical.UpdateOperation

// What a request means to set is taken as it is given, or refused by name; no secret is quoted.
func TestInputProblems(t *testing.T) {
	long := strings.Repeat("x", 5<<10)
	for _, c := range []struct {
		field   string
		value   any
		problem string
	}{
		{"text", "a text", ""},
		{"text", "", ""},
		{"size", 7, ""},
		{"size", 7.0, ""},
		{"size", "7", ""},
		{"ttl", "15m", ""},
		{"ttl", 60.0, ""},
		{"enabled", true, ""},
		{"enabled", "true", ""},
		{"long", long, ""},
		{"secret", "s3cret", ""},
		{"text", long, `field "text" is longer than 4096 bytes`},
		{"text", nil, `field "text" must be a string, not null; leave it out to keep what is stored`},
		{"size", nil, `field "size" must not be null; leave it out to keep what is stored`},
		{"text", 7.0, `field "text" must be a string, in quotes`},
		{"text", true, `field "text" must be a string, in quotes`},
		{"text", []any{"a"}, `field "text" must be given once, as one value`},
		{"text", []string{"a", "b"}, `field "text" must be given once, as one value`},
		{"text", map[string]any{"a": "b"}, `field "text" must be one value, not an object`},
		{"size", "many", `field "size" is "many", but must be a whole number`},
		{"size", 0.5, `field "size" is 0.5, but must be a whole number`},
		{"ttl", 0.5, `field "ttl" is 0.5, but must be a duration in whole seconds, zero or more ("900", "15m")`},
		{"ttl", -1.0, `field "ttl" is -1, but must be a duration in whole seconds, zero or more ("900", "15m")`},
		{"ttl", "", `field "ttl" is "", but must be a duration in whole seconds, zero or more ("900", "15m")`},
		{"ttl", true, `field "ttl" is true, but must be a duration in whole seconds, zero or more ("900", "15m")`},
		{"ttl", 6e23, `field "ttl" is 6e+23, but must be a duration in whole seconds, zero or more ("900", "15m")`},
		{"size", "", `field "size" is "", but must be a whole number`},
		{"size", "010", `field "size" is "010", but must be a whole number`},
		{"size", "0x10", `field "size" is "0x10", but must be a whole number`},
		{"size", "1_000", `field "size" is "1_000", but must be a whole number`},
		{"size", 1.2345678901234568e22, `field "size" is 1.2345678901234568e+22, but must be a whole number`},
		{"size", true, `field "size" is true, but must be a whole number`},
		{"enabled", "", `field "enabled" is "", but must be a boolean (true or false)`},
		{"enabled", 17.0, `field "enabled" is 17, but must be a boolean (true or false)`},
		{"enabled", "perhaps", `field "enabled" is "perhaps", but must be a boolean (true or false)`},
		{"secret", []any{"s3cret"}, `field "secret" must be a string`},
		{"secret", map[string]any{"s3cret": 1}, `field "secret" must be a string`},
		{"secret", "s3cret" + long, `field "secret" is longer than 4096 bytes`},
		{"name", "x", `field "name" is part of the path and must not be given beside it`},
		{"txet", "x", `unknown field "txet"; did you mean "text"?; the fields here are enabled, long, secret, size, text, ttl`},
		{"Text", "x", `unknown field "Text"; did you mean "text"?; the fields here are enabled, long, secret, size, text, ttl`},
		{"elsewhere", "x", `unknown field "elsewhere", which is a field of other paths; the fields here are enabled, long, secret, size, text, ttl`},
		{"elsewere", "x", `unknown field "elsewere"; did you mean "elsewhere", a field of other paths?; the fields here are enabled, long, secret, size, text, ttl`},
		{"far-from-all", "x", `unknown field "far-from-all"; the fields here are enabled, long, secret, size, text, ttl`},
	} {
		r, path := rules()
		problem, extras := r.Check(path, &logical.Request{Operation: update, Path: "things/a", Data: map[string]any{c.field: c.value}})
		assert.Equal(t, c.problem, problem, c.field)
		assert.Empty(t, extras)
		assert.NotContains(t, problem, "s3cret")
	}
}

func TestInputOfAPathWithoutFields(t *testing.T) {
	r, _ := rules()
	problem, _ := r.Check(&framework.Path{Pattern: "none"}, &logical.Request{Operation: update, Path: "none", Data: map[string]any{"x": 1}})
	assert.Equal(t, `unknown field "x"; this path takes no fields`, problem)
}

// Clients add parameters to their reads that nobody can have meant for the engine: the read is served, with a warning.
func TestInputOfAReadMayHaveExtras(t *testing.T) {
	for _, c := range []struct {
		op      logical.Operation
		data    map[string]any
		extras  []string
		problem bool
	}{
		{logical.ReadOperation, map[string]any{"_": "1", "cachebuster": "2"}, []string{"_", "cachebuster"}, false},
		{logical.ListOperation, map[string]any{"list": "true"}, nil, false},
		{logical.ReadOperation, map[string]any{"list": "true"}, []string{"list"}, false},
		{logical.ReadOperation, map[string]any{"tlt": "5m"}, nil, true}, // which somebody may have meant
		{update, map[string]any{"cachebuster": "2"}, nil, true},
	} {
		r, path := rules()
		problem, extras := r.Check(path, &logical.Request{Operation: c.op, Path: "things/a", Data: c.data})
		assert.Equal(t, c.problem, problem != "", problem)
		assert.Equal(t, c.extras, extras)
	}
	assert.Equal(t, `the engine has no field "a", "b", and was not guided by it`, input.Extras([]string{"a", "b"}))
}

// How far a name may be from a field's to be taken for its misspelling grows with their length: what is one or
// two letters long is no misspelling.
func TestInputOfAReadThatMayBeMisspelt(t *testing.T) {
	for name, meant := range map[string]string{
		"t": "", "ts": "", "_": "", "v": "", "a": "", "tt": "ttl", "tl": "ttl", "tttl": "ttl", "tlt": "ttl", "ttl2": "ttl", "xtl": "ttl", "T": "", "ttl-x": "", "txxl": "",
		"tex": "text", "txet": "text", "texxt": "text", "te": "", "exts": "", "sizes": "size", "siez": "size", "sz": "", "scret": "secret", "scrt": "secret", "sekred": "secret", "enabeld": "enabled", "enbld": "enabled", "enld": "",
		"elsewere": "elsewhere", "elswere": "elsewhere", "elswer": "", "Else-where": "elsewhere", "version": "", "nocache": "", "pretty": "",
	} {
		r, path := rules()
		problem, extras := r.Check(path, &logical.Request{Operation: logical.ReadOperation, Path: "things/a", Data: map[string]any{name: "1"}})
		assert.Equal(t, meant == "", len(extras) == 1, "%s: %s", name, problem)
		if meant != "" {
			assert.Contains(t, problem, `did you mean "`+meant+`"`, name)
		}
	}
}

func TestInputNames(t *testing.T) {
	for name, ok := range map[string]bool{"app": true, "a-b_c.d@e": true, "": false, "a/b": false, "a b": false, "-a": false, "ä": false} {
		assert.Equal(t, ok, input.IsName(name), name)
	}
	r, path := rules()
	for length, problem := range map[int]string{256: "", 257: `field "name" is longer than 256 bytes`} {
		got, _ := r.Check(path, &logical.Request{Operation: update, Path: "things/" + strings.Repeat("x", length)})
		require.Equal(t, problem, got)
	}
}

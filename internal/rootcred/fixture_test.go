package rootcred_test

import (
	"testing"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const name = enginetest.Name

// mount is an engine with a config.
type mount = enginetest.Engine

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := enginetest.New(t, opts...)
	m.Configure()
	return m
}

// keyed is an engine whose config holds an API key that the user has made by hand.
func keyed(t *testing.T, opts ...palettetest.Option) *mount {
	t.Helper()
	m := enginetest.New(t, opts...)
	m.ConfigureKey()
	return m
}

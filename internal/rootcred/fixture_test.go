package rootcred_test

import (
	"testing"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const name = enginetest.Name

// mount is an engine with a config.
type mount struct{ *enginetest.Engine }

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := &mount{enginetest.New(t, opts...)}
	m.Configure()
	return m
}

// keyed is an engine whose config holds an API key that the user has made by hand.
func keyed(t *testing.T, opts ...palettetest.Option) *mount {
	t.Helper()
	m := &mount{enginetest.New(t, opts...)}
	m.ConfigureKey()
	return m
}

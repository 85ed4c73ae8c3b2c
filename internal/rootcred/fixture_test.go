package rootcred_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

const name = enginetest.Name

// mount is an engine with a config.
type mount struct{ *enginetest.Engine }

func newMount(t *testing.T, opts ...palettetest.Option) *mount {
	m := &mount{enginetest.New(t, opts...)}
	m.Configure()
	return m
}

func (m *mount) rotate() error {
	err := m.Credentials.Rotate(m.T.Context(), m.Storage, name)
	m.Wait() // the revocation of its login
	return err
}

// works requires that the config logs in, that what Palette has is what is stored, and that nothing
// is left of a rotation once none of its calls can arrive any more.
func (m *mount) works() {
	m.T.Helper()
	m.End(m.Login())
	time.Sleep(2 * time.Minute)
	m.minute()
	m.End(m.Login())
	assert.Equal(m.T, m.Password(), m.Stored().Password)
	assert.Zero(m.T, m.WALs())
	assert.Empty(m.T, m.Credentials.LastError(name))
}

// minute is the periodic run.
func (m *mount) minute() {
	m.T.Helper()
	require.NoError(m.T, m.Credentials.EachMinute(m.T.Context(), m.Storage))
	m.Wait()
}

// interrupted leaves a rotation whose change Palette has taken, and which does not know that: the answer
// was lost, and so was that to the login that would have told.
func (m *mount) interrupted() {
	m.T.Helper()
	m.Palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
	m.Palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
	m.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1})
	require.ErrorContains(m.T, m.rotate(), "500")
	require.Equal(m.T, 1, m.WALs())
}

// ahead writes an entry ahead, as an earlier process could have.
func (m *mount) ahead(kind string, w any) {
	m.T.Helper()
	_, err := framework.PutWAL(m.T.Context(), m.Storage, kind, w)
	require.NoError(m.T, err)
}

// keyed leads the config to an API key that the user has made by hand.
func keyed(t *testing.T, opts ...palettetest.Option) *mount {
	t.Helper()
	m := &mount{enginetest.New(t, opts...)}
	m.plant("own", "the-own-key")
	m.Configure(func(c *store.Config) {
		c.Email, c.Password, c.APIKey, c.APIKeyUID = "", "", "the-own-key", "own"
	})
	t.Cleanup(func() {
		for _, key := range m.Palette.LiveKeys() {
			m.Palette.DeleteKey(key.UID)
		}
	})
	return m
}

// plant makes an API key of the default user.
func (m *mount) plant(uid, secret string) {
	u := palettetest.DefaultUser
	m.Palette.PlantKey(u.Email, u.Org, uid, "name of "+uid, secret, time.Now().Add(2*365*24*time.Hour))
}

// keyWorks requires that Palette takes the config's key, and that the user has no other.
func (m *mount) keyWorks() {
	m.T.Helper()
	time.Sleep(2 * time.Minute)
	m.minute()
	client, err := m.Clients.For(m.Stored().Connection)
	require.NoError(m.T, err)
	_, err = client.UserInfo(m.T.Context(), palette.Auth{APIKey: m.Stored().APIKey})
	require.NoError(m.T, err)
	keys := m.Palette.LiveKeys()
	require.Len(m.T, keys, 1)
	assert.Equal(m.T, m.Stored().APIKeyUID, keys[0].UID)
	assert.Zero(m.T, m.WALs())
}

// requireCode requires that an error is outermost a coded one.
func requireCode(t *testing.T, err error, status int) {
	t.Helper()
	coded, ok := err.(logical.HTTPCodedError) //nolint:errorlint // Vault looks at the outermost error only
	require.True(t, ok, "%v", err)
	require.Equal(t, status, coded.Code(), http.StatusText(coded.Code()))
}

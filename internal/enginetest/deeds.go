package enginetest

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// Change changes the stored config, as another request does.
func (e *Engine) Change(change func(*store.Config)) {
	e.T.Helper()
	cfg := *e.Stored()
	change(&cfg)
	require.NoError(e.T, e.Configs.Put(e.T.Context(), e.Storage, Name, &cfg))
}

// SetPassword is what an administrator of Palette does.
func (e *Engine) SetPassword(password string) {
	e.Palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, password)
}

// Rotate rotates the config, and waits for the revocation of its login.
func (e *Engine) Rotate() error {
	err := e.Credentials.Rotate(e.T.Context(), e.Storage, Name)
	e.Wait()
	return err
}

// DueIn is in how long the next rotation is due.
func (e *Engine) DueIn() time.Duration {
	return time.Until(e.Credentials.DueAt(Name, e.Stored()))
}

// Minute is the periodic run of the credentials.
func (e *Engine) Minute() {
	e.T.Helper()
	require.NoError(e.T, e.Credentials.EachMinute(e.T.Context(), e.Storage))
	e.Wait()
}

// Works requires that the config logs in, and that the stored credential is Palette's. Nothing may be left of a
// rotation when none of its calls can arrive any more.
func (e *Engine) Works() {
	e.T.Helper()
	e.End(e.Login())
	time.Sleep(2 * time.Minute)
	e.Minute()
	e.End(e.Login())
	assert.Equal(e.T, e.Password(), e.Stored().Password)
	assert.Zero(e.T, e.WALs())
	assert.Empty(e.T, e.Credentials.LastError(Name))
}

// InterruptRotation leaves a rotation whose change Palette has taken. The engine does not know that: the answer was
// lost, and so was the answer to the login that would have told.
func (e *Engine) InterruptRotation() {
	e.T.Helper()
	e.Palette.Inject(palettetest.PasswordChange, palettetest.Fault{DropAfter: true, Times: 1})
	e.Palette.Inject(palettetest.Login, palettetest.Fault{Times: 1})
	e.Palette.Inject(palettetest.Login, palettetest.Fault{Status: 500, Times: 1})
	require.ErrorContains(e.T, e.Rotate(), "500")
	require.Equal(e.T, 1, e.WALs())
}

// WriteAhead writes an entry ahead, as an earlier process could have.
func (e *Engine) WriteAhead(kind string, w any) {
	e.T.Helper()
	_, err := framework.PutWAL(e.T.Context(), e.Storage, kind, w)
	require.NoError(e.T, err)
}

// PasswordAhead writes a password ahead of a rotation that began just now, and restarts.
func (e *Engine) PasswordAhead(password palette.Secret, changes ...func(*store.PasswordWAL)) {
	e.T.Helper()
	cfg := e.Stored()
	w := &store.PasswordWAL{ConfigName: Name, Identity: cfg.Identity(), Password: password, TrustDigest: cfg.TrustDigest(), At: time.Now().UTC()}
	for _, change := range changes {
		change(w)
	}
	e.WriteAhead(store.WALPassword, w)
	e.Restart()
}

// PlantKey makes an API key of the default user by hand. Its name is its UID.
func (e *Engine) PlantKey(uid, secret string, life time.Duration) {
	u := palettetest.DefaultUser
	e.Palette.PlantKey(u.Email, u.Org, uid, uid, secret, time.Now().Add(life))
}

// OwnKeyLife is how long the key of [Engine.ConfigureKey] lives.
const OwnKeyLife = 2 * 365 * 24 * time.Hour

// ConfigureKey leads the config to an API key "own" that the user has made by hand. The user's keys go
// at the end of the test.
func (e *Engine) ConfigureKey() {
	e.T.Helper()
	e.PlantKey("own", "the-own-key", OwnKeyLife)
	e.Configure(func(c *store.Config) {
		c.Email, c.Password, c.APIKey, c.APIKeyUID = "", "", "the-own-key", "own"
	})
	e.T.Cleanup(func() {
		for _, key := range e.Palette.LiveKeys() {
			e.Palette.DeleteKey(key.UID)
		}
	})
}

// KeyWorks requires that Palette takes the config's key, and that the user has no other.
func (e *Engine) KeyWorks() {
	e.T.Helper()
	time.Sleep(2 * time.Minute)
	e.Minute()
	client, err := e.Clients.For(e.Stored().Connection)
	require.NoError(e.T, err)
	_, err = client.UserInfo(e.T.Context(), palette.Auth{APIKey: e.Stored().APIKey})
	require.NoError(e.T, err)
	keys := e.Palette.LiveKeys()
	require.Len(e.T, keys, 1)
	assert.Equal(e.T, e.Stored().APIKeyUID, keys[0].UID)
	assert.Zero(e.T, e.WALs())
}

// RequireCode requires that an error is outermost a coded one.
func RequireCode(t *testing.T, err error, status int) {
	t.Helper()
	coded, ok := err.(logical.HTTPCodedError) //nolint:errorlint // Vault looks at the outermost error only
	require.True(t, ok, "%v", err)
	require.Equal(t, status, coded.Code(), http.StatusText(coded.Code()))
}

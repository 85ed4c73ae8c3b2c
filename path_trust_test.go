package palettesecrets

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
	"vault-plugin-secrets-palette/internal/store"
)

// trusting is a world whose Palette has a certificate of an authority that the default config trusts, and
// whose password nobody knows.
func trusting(t *testing.T) *world {
	t.Helper()
	w := onSockets(t, palettetest.WithTLS())
	w.write("config", w.login(fields{"ca_cert": string(w.palette.CA()), "request_timeout": 5}))
	w.write("roles/app", fields{"renewable": true})
	w.write("rotate-root", nil)
	return w
}

// newCA gives Palette a certificate of another authority.
func (w *world) newCA() {
	w.t.Helper()
	w.wait() // what is on its way arrives
	require.NoError(w.t, w.palette.NewCA())
	w.b.clients.DropAll() // else a kept connection says that it was closed
}

// Palette gets a certificate of another authority after a rotation: whoever has sudo gets the config to
// work again without a password that nobody has.
func TestTrustIsChangedWithoutThePassword(t *testing.T) {
	w := trusting(t)
	before, l := w.read("config").Data, w.creds("app")
	w.newCA()
	w.fault(read, "creds/app", nil, http.StatusBadGateway, "TLS")
	requireCoded(t, l.revoke(), http.StatusBadGateway, "is pending")
	ca := string(w.palette.CA())
	w.mistake(update, "config", fields{"ca_cert": ca}, `"password" must be given again when ca_cert changes`)
	w.mistake(update, "config", fields{"ca_cert": ca, "verify_connection": false}, `"password" must be given again when ca_cert changes`)

	assert.Nil(t, w.write("trust/default", fields{"ca_cert": ca}))
	after := w.read("config").Data
	assert.Equal(t, strings.TrimSpace(ca), after["ca_cert"])
	before["ca_cert"] = after["ca_cert"]
	assert.Equal(t, before, after, "nothing else has changed")
	w.creds("app").mustRevoke()
	require.NoError(t, w.periodic())
	assert.Zero(t, w.pending(), "what was to be revoked meanwhile goes the new way too")
	assert.False(t, w.palette.Alive(l.token()))
	w.write("rotate-root", nil)
}

// What does not work is not stored.
func TestTrustIsTriedBeforeItIsStored(t *testing.T) {
	other, err := palettetest.NewAuthority()
	require.NoError(t, err)
	cert, key, err := other.Issue("client.example.com")
	require.NoError(t, err)
	for _, c := range []struct {
		name  string
		data  fields
		texts []string // of a 502; of a 400 where the first is ""
	}{
		{"another authority", fields{"ca_cert": string(other.PEM())}, []string{"not trusted"}},
		{"the system's authorities", fields{"ca_cert": ""}, []string{"TLS"}},
		{"another name", fields{"tls_server_name": "other.example.com"}, []string{"another name"}},
		{"a proxy that is not there", fields{"proxy_url": "http://user:Proxy-Secret-1@127.0.0.1:1"}, []string{"the proxy (127.0.0.1:1): connection refused"}},
		{"no certificate", fields{"ca_cert": "no PEM"}, []string{"", `"ca_cert" holds no certificate`}},
		{"a certificate without its key", fields{"client_cert": string(cert)}, []string{"", `"client_key" is missing`}},
		{"another one's key", fields{"client_cert": string(other.PEM()), "client_key": string(key)}, []string{"", `"client_cert" and client_key are not`}},
		{"an address", fields{"address": "https://palette.example.com"}, []string{"", `unknown field "address", which is a field of other paths`, "ca_cert"}},
		{"no verification", fields{"tls_skip_verify": true}, []string{"", `unknown field "tls_skip_verify"`}},
		{"a password", fields{"password": "x"}, []string{"", `unknown field "password"`}},
		{"an email", fields{"email": "other@example.com"}, []string{"", `unknown field "email"`}},
		{"without being asked", fields{"verify_connection": false}, []string{"", `unknown field "verify_connection"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := trusting(t)
			w.secrets = append(w.secrets, "Proxy-Secret-1")
			before := w.read("config").Data
			if c.texts[0] == "" {
				w.mistake(update, "trust/default", c.data, c.texts[1:]...)
			} else {
				w.fault(update, "trust/default", c.data, http.StatusBadGateway, c.texts...)
			}
			assert.Equal(t, before, w.read("config").Data)
			w.creds("app").mustRevoke()
		})
	}
}

func TestTrustOfAConfigThatIsRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.palette.SetPassword(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org, "Changed-Meanwhile-1")
		w.mistake(update, "trust/default", fields{"tls_server_name": "palette.example.com"}, "rejects the login", "nothing is stored")
		assert.Empty(t, w.read("config").Data["tls_server_name"])
		w.mistake(update, "trust/nobody", fields{"tls_server_name": "palette.example.com"}, `no config "nobody"`)
		_, err := w.handle(t.Context(), read, "trust/default", nil)
		require.Error(t, err, "there is nothing to read")
	})
}

// The password of an interrupted rotation is bound to the way that it was made for; whoever has sudo
// unbinds it.
func TestTrustRecoversAnInterruptedRotation(t *testing.T) {
	w := trusting(t)
	w.storage.failOn("put", store.ConfigPrefix)
	_, err := w.handle(t.Context(), update, "rotate-root", nil)
	require.Error(t, err)
	w.storage.heal()
	w.newCA()
	w.fault(read, "creds/app", nil, http.StatusBadGateway, "TLS")
	w.mount() // a restart
	w.write("trust/default", fields{"ca_cert": string(w.palette.CA())})
	w.creds("app").mustRevoke()
	w.wait()
	assert.Zero(t, w.wals())
	w.write("rotate-root", nil)
	w.creds("app").mustRevoke()
}

func TestTrustOfAConfigWithAnAPIKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := keyed(t)
		w.mistake(update, "config/k", fields{"tls_server_name": "palette.example.com"}, `"api_key" must be given again`)
		w.write("trust/k", fields{"tls_server_name": "palette.example.com"})
		assert.Equal(t, "palette.example.com", w.read("config/k").Data["tls_server_name"])
		w.palette.Inject(palettetest.UserInfo, palettetest.Fault{Status: 401, Times: 1})
		w.mistake(update, "trust/k", fields{"tls_server_name": ""}, "does not accept the api_key", "nothing is stored")
		w.keyWorks()
	})
}

// A session and leases go on: the user is the same.
func TestTrustLeavesSessionsAndLeasesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.write("roles/shared", fields{"shared": true, "renewable": true})
		shared, own := w.creds("shared"), w.creds("app")
		w.write("trust/default", fields{"tls_server_name": "palette.example.com"})
		assert.Equal(t, shared.token(), w.creds("shared").token())
		time.Sleep(time.Minute)
		shared.mustRenew()
		own.mustRenew()
		own.mustRevoke()
		w.remove("sessions/default")
	})
}

func TestTrustTakesSudo(t *testing.T) {
	w := newBackend(nil, "v1.0.0")
	assert.Contains(t, w.PathsSpecial.Root, "trust/*")
}

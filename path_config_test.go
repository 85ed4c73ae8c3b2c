package palettesecrets

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	create = logical.CreateOperation
	update = logical.UpdateOperation
	read   = logical.ReadOperation
	del    = logical.DeleteOperation
)

func TestConfigIsWrittenReadListedAndDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		assert.Nil(t, w.read("config"), "Vault answers 404")
		w.write("config", w.login())
		w.write("config/ci-1.2", w.login(fields{"request_timeout": "5s"}))

		assert.Equal(t, fields{
			"address": w.palette.URL(), "email": "vault@example.com", "org": "example", "password_set": true,
			"login_type": "user", "username": "", "ca_cert": "", "client_cert": "", "client_key_set": false, "tls_server_name": "", "tls_skip_verify": false,
			"proxy_url": "", "request_timeout": int64(30), "rate_limit": 0, "rate_burst": 0, "key_limit": 20, "queue_timeout": int64(1),
			"api_key_set": false, "api_key_uid": "", "password_policy": "", "rotation_period": int64(0),
		}, w.read("config").Data)
		assert.Equal(t, w.read("config").Data, w.read("config/default").Data, "config is config/default")
		assert.EqualValues(t, 5, w.read("config/ci-1.2").Data["request_timeout"])
		assert.Equal(t, []string{"ci-1.2", "default"}, w.list("config/"))

		w.remove("config/default")
		w.remove("config/default") // deleting what is not there is no error
		assert.Nil(t, w.read("config"))
		assert.Equal(t, []string{"ci-1.2"}, w.list("config/"))
	})
}

func TestConfigSlashOnlyLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		for _, op := range []logical.Operation{read, del, update} {
			_, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: "config/", Storage: w.storage})
			assert.ErrorIs(t, err, logical.ErrUnsupportedOperation, "%s config/: Vault answers 405", op)
		}
		assert.NotNil(t, w.read("config"), "the default config is still there")
	})
}

func TestConfigDefaultsToPalettesCloud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("config", fields{"email": "a@example.com", "password": "a-Password-14-long", "verify_connection": false})
		assert.Equal(t, "https://api.spectrocloud.com", w.read("config").Data["address"])
		assert.Equal(t, 10, w.read("config").Data["rate_limit"], "Palette's limit for one IP address")
		assert.EqualValues(t, 55, w.read("config").Data["queue_timeout"], "less than the 60 seconds that Vault's clients wait")
		assert.Zero(t, w.palette.TotalCalls(), "verify_connection=false calls nobody")
	})
}

func TestConfigWriteChangesOnlyTheFieldsItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("config", w.login(fields{"request_timeout": 7}))
		before := w.read("config").Data
		w.write("config", fields{"request_timeout": 8})
		before["request_timeout"] = int64(8)
		assert.Equal(t, before, w.read("config").Data)
		w.write("roles/app", fields{"renewable": false})
		w.creds("app").mustRevoke() // the password is still there
	})
}

func TestConfigAsksForThePasswordAgain(t *testing.T) {
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	ca := string(authority.PEM())
	synctest.Test(t, func(t *testing.T) {
		for field, value := range map[string]any{
			"address": "https://other.example.com", "email": "other@example.com", "org": "other", "proxy_url": "http://127.0.0.1:3128",
			"ca_cert": ca, "tls_server_name": "other.example.com", "tls_skip_verify": true,
		} {
			w := configured(t)
			w.mistake(update, "config", fields{field: value, "verify_connection": false}, field, `"password" must be given again`)
			w.write("config", fields{field: value, "verify_connection": false, "password": "Another-Password-1"})
			w.write("config", fields{field: value, "verify_connection": false}) // the same value is no change
		}
	})
}

func TestConfigRefusesBadInput(t *testing.T) {
	authority, err := palettetest.NewAuthority()
	require.NoError(t, err)
	cert, key, err := authority.Issue("client.example.com")
	require.NoError(t, err)
	secret := "Do-Not-Print-Me-1"
	for _, c := range []struct {
		name  string
		data  fields
		texts []string
	}{
		{"no email", fields{"email": ""}, []string{`"email" is required`}},
		{"no password", fields{"password": ""}, []string{`"password" is required`}},
		{"unknown field", fields{"passwrd": secret}, []string{`unknown field "passwrd"`, "password"}},
		{"name beside the path", fields{"name": "x"}, []string{`"name"`}},
		{"null", fields{"org": nil}, []string{`"org" must be a string, not null`}},
		{"password as a list", fields{"password": []string{secret}}, []string{`"password" must be a string`}},
		{"password as an object", fields{"password": fields{"a": secret}}, []string{`"password" must be a string`}},
		{"password as a number", fields{"password": 12345678901234}, []string{`"password" must be a string`}},
		{"client key as a list", fields{"client_key": []string{secret}}, []string{`"client_key" must be a string`}},
		{"proxy as a list", fields{"proxy_url": []string{"http://u:" + secret + "@127.0.0.1"}}, []string{`"proxy_url" must be a string`}},
		{"null for a number", fields{"rate_limit": nil}, []string{`"rate_limit" must not be null`}},
		{"email as a list", fields{"email": []string{"a", "b"}}, []string{`"email" must be given once`}},
		{"email as an object", fields{"email": fields{"a": 1}}, []string{`"email" must be one value`}},
		{"http elsewhere", fields{"address": "http://palette.example.com"}, []string{`"address"`, "http://palette.example.com", "https://", "loopback"}},
		{"other scheme", fields{"address": "ftp://palette.example.com"}, []string{`"address"`, "ftp://palette.example.com", "https://"}},
		{"no scheme", fields{"address": "palette.example.com"}, []string{`"address" is "palette.example.com", but must start with https://`}},
		{"no scheme, with a port", fields{"address": "palette.example.com:8443"}, []string{`"address" is "palette.example.com:8443", but must start with https://`}},
		{"no host", fields{"address": "https://"}, []string{`"address" must be of the form https://host[:port]`}},
		{"path in the address", fields{"address": "https://palette.example.com/v1"}, []string{`"address"`, "must end after the host and port"}},
		{"login in the address", fields{"address": "https://u:" + secret + "@palette.example.com"}, []string{`"address" must not hold a user name`}},
		{"bad escape in the address", fields{"address": "https://" + secret + "%zz"}, []string{`"address" must be of the form`}},
		{"CA", fields{"ca_cert": "no PEM"}, []string{`"ca_cert" holds no certificate`}},
		{"cert without key", fields{"client_cert": string(cert)}, []string{`"client_key" is missing`}},
		{"key without cert", fields{"client_key": string(key)}, []string{`"client_cert" is missing`}},
		{"key of another form", fields{"client_cert": string(cert), "client_key": secret}, []string{`"client_cert" and client_key are not`}},
		{"proxy without a host", fields{"proxy_url": secret}, []string{`"proxy_url" must be of the form`}},
		{"proxy of another scheme", fields{"proxy_url": "gopher://u:" + secret + "@127.0.0.1"}, []string{`"proxy_url" must start with`}},
		{"timeout below a second", fields{"request_timeout": "500ms"}, []string{`"request_timeout" is "500ms"`, "whole seconds"}},
		{"timeout of zero", fields{"request_timeout": 0}, []string{`"request_timeout" is 0s`, "between 1s and 1m20s"}},
		{"timeout beyond Vault's", fields{"request_timeout": "81s"}, []string{`"request_timeout" is 1m21s`, "between 1s and 1m20s"}},
		{"limit negative", fields{"rate_limit": -1}, []string{`"rate_limit" is -1`, "between 0 (no limit) and 10000"}},
		{"limit too large", fields{"rate_limit": 10001}, []string{`"rate_limit" is 10001`}},
		{"limit of keys negative", fields{"key_limit": -1}, []string{`"key_limit" is -1`, "between 0 (not known) and 1000000"}},
		{"limit of keys with a fraction", fields{"key_limit": 2.5}, []string{`"key_limit" is 2.5`, "whole number"}},
		{"burst negative", fields{"rate_limit": 1, "rate_burst": -1}, []string{`"rate_burst" is -1`, "between 1 and 10000"}},
		{"burst too large", fields{"rate_limit": 1, "rate_burst": 10001}, []string{`"rate_burst" is 10001`}},
		{"burst no number", fields{"rate_burst": "many"}, []string{`"rate_burst" is "many"`, "whole number"}},
		{"burst without a limit", fields{"rate_limit": 0, "rate_burst": 5}, []string{`"rate_burst" is 5`, "rate_limit=0"}},
		{"limit no number", fields{"rate_limit": "ten"}, []string{`"rate_limit" is "ten"`, "whole number"}},
		{"queue below a second", fields{"queue_timeout": "0s"}, []string{`"queue_timeout" is 0s`, "between 1s and 5m0s"}},
		{"queue too long", fields{"queue_timeout": "1h"}, []string{`"queue_timeout" is 1h0m0s`}},
		{"timeout negative", fields{"request_timeout": "-3s"}, []string{`"request_timeout" is "-3s"`}},
		{"timeout no duration", fields{"request_timeout": "soon"}, []string{`"request_timeout" is "soon"`, "duration"}},
		{"timeout with a fraction", fields{"request_timeout": 1.5}, []string{`"request_timeout" is 1.5`, "whole seconds"}},
		{"limit with a fraction", fields{"rate_limit": 0.5}, []string{`"rate_limit" is 0.5`, "whole number"}},
		{"period without an end", fields{"rotation_period": "87601h"}, []string{`"rotation_period" is 87601h0m0s`, "at most 87600h0m0s"}},
		{"too long", fields{"org": strings.Repeat("a", 4097)}, []string{`"org" is longer than 4096 bytes`}},
		{"password too long", fields{"password": strings.Repeat(secret, 1000)}, []string{`"password" is longer than 4096 bytes`}},
		{"CA too long", fields{"ca_cert": strings.Repeat(string(authority.PEM()), 1000)}, []string{`"ca_cert" is longer than 262144 bytes`}},
		{"no boolean", fields{"tls_skip_verify": "maybe"}, []string{`"tls_skip_verify" is "maybe"`, "boolean"}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t)
			w.secrets = append(w.secrets, secret)
			w.mistake(update, "config", w.login(c.data), c.texts...)
			assert.Nil(t, w.read("config"), "nothing is stored")
			assert.Zero(t, w.palette.TotalCalls(), "Palette is not asked")
		})
	}
}

func TestConfigAddressComesInOneForm(t *testing.T) {
	for given, want := range map[string]string{
		" https://API.Example.com/ ":  "https://api.example.com",
		"https://palette.example.com": "https://palette.example.com",
		"http://localhost:8080":       "http://localhost:8080",
		"http://[::1]:8080/":          "http://[::1]:8080",
		"http://127.8.9.1":            "http://127.8.9.1",
	} {
		bubble(t, fmt.Sprint(given), func(t *testing.T) {
			w := newWorld(t)
			w.write("config", w.login(fields{"address": given, "verify_connection": false}))
			assert.Equal(t, want, w.read("config").Data["address"])
		})
	}
}

func TestConfigNeverGivesBackASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority, err := palettetest.NewAuthority()
		require.NoError(t, err)
		cert, key, err := authority.Issue("client.example.com")
		require.NoError(t, err)
		w := newWorld(t)
		w.write("config", w.login(fields{
			"client_cert": string(cert), "client_key": string(key), "proxy_url": "http://u:Proxy-Secret-1@127.0.0.1:3128", "verify_connection": false,
		}))
		text, err := json.Marshal(w.read("config").Data)
		require.NoError(t, err)
		for _, secret := range []string{palettetest.DefaultUser.Password, "PRIVATE KEY", "Proxy-Secret-1"} {
			assert.NotContains(t, string(text), secret)
		}
		assert.Equal(t, true, w.read("config").Data["client_key_set"])
		assert.Equal(t, "http://u:xxxxx@127.0.0.1:3128", w.read("config").Data["proxy_url"])
	})
}

func TestConfigPasswordFromAFileMayEndInALineBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("config", w.login(fields{"password": palettetest.DefaultUser.Password + "\r\n"}))
	})
}

func TestConfigWriteLogsInAndRevokesWhatItGot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("config", w.login())
		assert.Equal(t, 1, w.palette.Calls(palettetest.Login))
		assert.Equal(t, 1, w.palette.Calls(palettetest.Revoke))
		assert.Empty(t, w.palette.LiveTokens())
		assert.Zero(t, w.palette.CookiesSet())
	})
}

func TestConfigWriteStoresNothingWhenPaletteSaysNo(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault palettetest.Fault
		fail  func(w *world)
	}{
		{"wrong password", palettetest.Fault{}, func(w *world) {
			w.mistake(update, "config", w.login(fields{"password": "Wrong-Password-14"}), "rejects the login", `config "default"`, "code", "ref", "nothing is stored")
		}},
		{"second factor", palettetest.Fault{MFA: true}, func(w *world) {
			w.mistake(update, "config", w.login(), "second factor", "vault@example.com", "nothing is stored")
		}},
		{"down", palettetest.Fault{Status: 503}, func(w *world) {
			w.fault(update, "config", w.login(), http.StatusBadGateway, "503", w.palette.URL()[len("http://"):])
		}},
	} {
		bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t)
			w.secrets = append(w.secrets, "Wrong-Password-14")
			w.palette.Inject(palettetest.Login, c.fault)
			c.fail(w)
			assert.Nil(t, w.read("config"))
		})
	}
}

func TestConfigWriteUnderWayDoesNotUndoAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		gate := w.palette.Hold(palettetest.Login)
		slow := make(chan error, 1)
		go func() {
			_, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: update, Path: "config", Storage: w.storage, Data: fields{"request_timeout": 11}})
			slow <- err
		}()
		<-gate.Arrived()
		w.write("config", fields{"tls_server_name": "palette.example.com", "password": palettetest.DefaultUser.Password, "verify_connection": false})
		gate.Release()
		require.NoError(t, <-slow)
		assert.Equal(t, "palette.example.com", w.read("config").Data["tls_server_name"], "of the write that came between")
		assert.EqualValues(t, 11, w.read("config").Data["request_timeout"], "of the one that it came between")
	})
}

// othersWrite makes each look at the default config find another one.
func (w *world) othersWrite() {
	gets := 0
	w.storage.fail = func(op, key string) error {
		if op == "get" && key == store.ConfigPrefix+"default" {
			gets++
			text := `{"email":"a@example.com","password":"p","org":"` + time.Duration(gets).String() + `","address":"http://127.0.0.1:1","request_timeout":1000000000}`
			w.b.configs.Invalidate(store.ConfigPrefix + "default")
			return w.storage.Storage.Put(w.t.Context(), &logical.StorageEntry{Key: key, Value: []byte(text)})
		}
		return nil
	}
	w.b.configs.Invalidate(store.ConfigPrefix + "default")
}

func TestConfigWriteGivesUpWhenOthersKeepComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := configured(t)
		w.othersWrite()
		w.fault(update, "config", fields{"request_timeout": 3, "verify_connection": false}, http.StatusConflict, "at the same time")
		w.fault(del, "config", nil, http.StatusConflict, "at the same time")
	})
}

func TestConfigStorageFaultsAreErrors(t *testing.T) {
	for _, c := range []struct {
		op, prefix string
		request    logical.Operation
		path       string
	}{
		{"get", store.ConfigPrefix, read, "config"},
		{"get", store.ConfigPrefix, update, "config"},
		{"get", store.ConfigPrefix, del, "config"},
		{"list", store.ConfigPrefix, logical.ListOperation, "config/"},
		{"put", store.ConfigPrefix, update, "config"},
		{"delete", store.ConfigPrefix, del, "config"},
		{"put", store.ConnectionPrefix, del, "config"},
	} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			w := configured(t)
			w.uncache()
			w.storage.failOn(c.op, c.prefix)
			data := fields(nil)
			if c.request == update {
				data = fields{"request_timeout": 9}
			}
			_, err := w.handle(t.Context(), c.request, c.path, data)
			assert.ErrorIs(t, err, errDisk, "%s of %s", c.op, c.prefix)
			w.storage.heal()
			assert.EqualValues(t, 30, w.read("config").Data["request_timeout"], "what is stored is what was")
		})
	}
}

func TestConfigThatCannotBeDecodedIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plant(store.ConfigPrefix+"default", `{"password":"Leaky-Secret-1",`)
		w.secrets = append(w.secrets, "Leaky-Secret-1")
		_, err := w.handle(t.Context(), read, "config", nil)
		assert.ErrorContains(t, err, "config/default cannot be decoded")
	})
}

// Mutual TLS, a private CA and a server name, end to end.
func TestConfigReachesPaletteOverTLS(t *testing.T) {
	clients, err := palettetest.NewAuthority()
	require.NoError(t, err)
	cert, key, err := clients.Issue("vault.example.com")
	require.NoError(t, err)
	w := onSockets(t, palettetest.WithTLS("palette.example.com"), palettetest.WithClientCA(clients.PEM()))
	good := fields{
		"ca_cert": string(w.palette.CA()), "tls_server_name": "palette.example.com",
		"client_cert": string(cert), "client_key": string(key),
	}
	for _, c := range []struct {
		without fields
		text    string
	}{
		{fields{"ca_cert": ""}, "authority that is not trusted"},
		{fields{"tls_server_name": "other.example.com"}, "the certificate is for another name"},
		{fields{"client_cert": "", "client_key": ""}, ""}, // an alert or a reset, as the race goes
	} {
		w.fault(update, "config", w.login(good, c.without), http.StatusBadGateway, c.text)
	}
	w.write("config", w.login(good))
	w.write("config/lax", w.login(good, fields{"ca_cert": "", "tls_skip_verify": true}))
}

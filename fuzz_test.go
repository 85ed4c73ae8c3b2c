package palettesecrets

import (
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"vault-plugin-secrets-palette/internal/keyname"
	"vault-plugin-secrets-palette/internal/palette/transport"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hidden stands in the fuzzed values of secret fields. No answer may hold it.
const hidden = "Do-Not-Print-Me-1"

const (
	// largestEntry is what an entry may be at most: Consul's limit for a value.
	largestEntry = 512 << 10
	// tenYears is the most that a duration may be, in seconds.
	tenYears = 10 * 365 * 86400
)

// fuzzedFields reads a JSON object as Vault hands it on. What has the secret in a field, or
// a field's name, that is none is not for this test: such a value may be shown.
func fuzzedFields(b *backend, path, text string) (fields, bool) {
	var data fields
	if json.Unmarshal([]byte(text), &data) != nil {
		return nil, false
	}
	for name, value := range data {
		schema := b.Route(path).Fields[name]
		value, _ := json.Marshal(value) // it comes from JSON
		isSecret := schema != nil && schema.DisplayAttrs != nil && schema.DisplayAttrs.Sensitive
		if strings.Contains(name, hidden) || !isSecret && strings.Contains(string(value), hidden) {
			return nil, false
		}
	}
	if proxy, err := url.Parse(textOf(data[fieldProxyURL])); err == nil {
		proxy.User = nil // of the proxy only the password is secret
		if strings.Contains(proxy.String(), hidden) || strings.Contains(strings.Split(textOf(data[fieldProxyURL])+"@", "@")[0], "//"+hidden) {
			return nil, false
		}
	}
	return data, true
}

func textOf(value any) string {
	s, _ := value.(string)
	return s
}

// namesField is how an answer tells which field is at fault.
var namesField = regexp.MustCompile(`\bfields? "`)

// fuzzedWrite writes, and returns what a read then shows, nothing where the write was refused.
func (w *world) fuzzedWrite(path string, data fields) fields {
	w.t.Helper()
	before := w.read(path)
	resp, err := w.handle(w.t.Context(), update, path, data)
	require.NoError(w.t, err, "no input is a fault of the engine's")
	for name, value := range data {
		if schema := w.b.Route(path).Fields[name]; schema != nil && schema.Type == framework.TypeString && !resp.IsError() {
			assert.IsType(w.t, "", value, name)
		}
	}
	if resp.IsError() {
		assert.Regexp(w.t, namesField, resp.Error().Error())
		w.uncache()
		assert.Equal(w.t, before, w.read(path), "nothing is stored")
		return nil
	}
	shown := w.read(path)
	w.uncache()
	assert.Equal(w.t, shown, w.read(path), "what is stored is what is shown")
	text, err := json.Marshal(shown.Data)
	require.NoError(w.t, err)
	w.noSecret("a read", string(text))
	for _, key := range w.keys("") {
		entry, err := w.storage.Get(w.t.Context(), key)
		require.NoError(w.t, err)
		assert.LessOrEqual(w.t, len(entry.Value), largestEntry, key)
	}
	return shown.Data
}

// assertKept checks that what was given is what a read shows.
func assertKept(t *testing.T, given, shown fields, names ...string) {
	t.Helper()
	for _, name := range names {
		if text, ok := given[name].(string); ok {
			assert.Equal(t, strings.TrimSpace(text), strings.TrimSpace(textOf(shown[name])), name)
		}
	}
}

// assertNumbersKept checks the same of numbers.
func assertNumbersKept(t *testing.T, given, shown fields) {
	t.Helper()
	for name, value := range shown {
		number, ok := given[name].(float64)
		switch value.(type) {
		case int, int64:
			assert.True(t, !ok || number == float64(reflect.ValueOf(value).Int()), "%s: %v became %v", name, number, value)
		}
	}
}

// FuzzConfigInput writes a config and changes it, with whatever fields and values.
func FuzzConfigInput(f *testing.F) {
	const login = `{"email":"vault@example.com","org":"example","password":"` + hidden + `"}`
	for _, change := range []string{
		`{}`, `{"request_timeout":"1m20s","queue_timeout":300,"rate_limit":"0"}`, `{"request_timeout":0.5}`, `{"queue_timeout":1e300,"rate_limit":-1e300}`,
		`{"rotation_period":1.7976931348623157e308}`, `{"rotation_period":"106751d"}`, `{"rotation_period":9223372036}`, `{"rate_limit":1.9}`,
		`{"tls_skip_verify":"1","password":"` + hidden + `\r\n"}`, `{"tls_skip_verify":2}`, `{"address":"HTTPS://Palette.Example.com:443//"}`,
		`{"address":"https://[::1%25lo]:1","password":"` + hidden + `"}`, `{"address":"http://127.1"}`, `{"address":7}`, `{"address":"https://a b"}`,
		`{"api_key":"` + hidden + `","api_key_uid":" a "}`, `{"api_key":"` + hidden + `","email":"x"}`, `{"api_key":"two words"}`, `{"api_key":null}`,
		`{"password":["` + hidden + `"]}`, `{"password":{"a":"` + hidden + `"}}`, `{"password":7}`, `{"password":""}`, `{"client_key":"` + hidden + `"}`,
		`{"proxy_url":"http://user:` + hidden + `@127.0.0.1:3128","password":"` + hidden + `"}`, `{"proxy_url":"http://user:` + hidden + `%zz@127.0.0.1"}`, `{"proxy_url":"//:` + hidden + `@"}`,
		`{"ca_cert":"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"}`, `{"ca_cert":"` + strings.Repeat("a", 300<<10) + `"}`, `{"org":"` + strings.Repeat("b", 8<<10) + `"}`,
		`{"email":"\u0000\u202e\ufffd"}`, `{"org":["a"]}`, `{"org":{"a":1}}`, `{"org":true}`, `{"name":"x"}`, `{"list":true}`, `{"pass word":"x"}`, `{"password_policy":"none"}`, `{"verify_connection":"no"}`,
	} {
		f.Add(login, change)
		f.Add(change, login)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		w := newWorld(t)
		w.secrets = append(w.secrets, hidden)
		for _, text := range []string{first, second} {
			data, ok := fuzzedFields(w.b, "config/ci", text)
			if !ok {
				return
			}
			if _, mistyped := data[fieldVerifyConnection].(bool); mistyped || data[fieldVerifyConnection] == nil {
				data = with(data, fieldVerifyConnection, false)
			}
			shown := w.fuzzedWrite("config/ci", data)
			if shown == nil {
				continue
			}
			address, err := transport.ParseAddress(textOf(shown[fieldAddress]))
			require.NoError(t, err)
			assert.Equal(t, address, shown[fieldAddress], "in one form")
			assertBetween(t, shown[fieldRequestTimeout], 1, 80)
			assertBetween(t, shown[fieldQueueTimeout], 1, 300)
			assertBetween(t, int64(shown[fieldRateLimit].(int)), 0, 10000)
			assertBetween(t, int64(shown[fieldKeyLimit].(int)), 0, maxKeyLimit)
			if shown[fieldRotationPeriod] != int64(0) {
				assertBetween(t, shown[fieldRotationPeriod], 60, tenYears)
			}
			assert.NotEqual(t, shown["password_set"], shown["api_key_set"], "one of both")
			assertKept(t, data, shown, fieldOrg, fieldCACert, fieldClientCert, fieldTLSServerName, fieldPasswordPolicy)
			assertNumbersKept(t, data, shown)
			w.remove("config/none") // a request that changes nothing: the mount still serves
		}
		assert.Zero(t, w.palette.TotalCalls())
	})
}

// FuzzTrustInput changes the way of a config that works, with whatever fields and values.
func FuzzTrustInput(f *testing.F) {
	for _, change := range []string{
		`{}`, `{"ca_cert":""}`, `{"ca_cert":"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"}`, `{"ca_cert":"` + strings.Repeat("a", 300<<10) + `"}`, `{"ca_cert":null}`,
		`{"tls_server_name":"palette.example.com"}`, `{"tls_server_name":"\u0000\u202e"}`, `{"tls_server_name":7}`, `{"tls_server_name":["a"]}`,
		`{"proxy_url":"http://user:` + hidden + `@127.0.0.1:1"}`, `{"proxy_url":"//:` + hidden + `@"}`, `{"proxy_url":"http://user:` + hidden + `%zz@127.0.0.1"}`, `{"proxy_url":""}`,
		`{"client_cert":"x"}`, `{"client_key":"` + hidden + `"}`, `{"client_cert":"x","client_key":"` + hidden + `"}`,
		`{"address":"https://elsewhere.example.com"}`, `{"tls_skip_verify":true}`, `{"email":"other@example.com"}`, `{"org":"other"}`, `{"password":"` + hidden + `"}`, `{"api_key":"` + hidden + `"}`,
		`{"Address":"https://elsewhere.example.com"}`, `{"tls-skip-verify":true}`, `{"verify_connection":false}`, `{"name":"other"}`, `{"ca_cert":"","address":"x"}`,
	} {
		f.Add(change)
	}
	f.Fuzz(func(t *testing.T, change string) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.secrets = append(w.secrets, hidden)
			w.write("config/ci", w.login())
			data, ok := fuzzedFields(w.b, "trust/ci", change)
			if !ok {
				return
			}
			before := w.read("config/ci").Data
			resp, err := w.handle(t.Context(), update, "trust/ci", data)
			after := w.read("config/ci").Data
			if err != nil || resp.IsError() {
				assert.Equal(t, before, after, "nothing is stored")
				if err == nil {
					assert.Regexp(t, namesField, resp.Error().Error())
				}
			} else {
				assertKept(t, data, after, fieldCACert, fieldClientCert, fieldTLSServerName)
			}
			for _, field := range trustFields {
				delete(before, field)
				delete(after, field)
			}
			delete(before, "client_key_set")
			delete(after, "client_key_set")
			assert.Equal(t, before, after, "nothing else changes")
			text, err := json.Marshal(after)
			require.NoError(t, err)
			w.noSecret("a read", string(text))
			w.wait()
		})
	})
}

func assertBetween(t *testing.T, value any, least, most int64) {
	t.Helper()
	assert.GreaterOrEqual(t, value, least)
	assert.LessOrEqual(t, value, most)
}

// with is data with one field more.
func with(data fields, name string, value any) fields {
	if data == nil {
		data = fields{}
	}
	data[name] = value
	return data
}

// FuzzRoleInput writes a role and changes it, likewise.
func FuzzRoleInput(f *testing.F) {
	for _, change := range []string{
		`{}`, `{"ttl":"5m","max_ttl":3600,"renewable":"false","shared":1}`, `{"ttl":0.9}`, `{"ttl":1e300,"max_ttl":1e300}`, `{"max_ttl":-1e300}`, `{"ttl":"-1s"}`,
		`{"ttl":9223372036,"max_ttl":"9223372036"}`, `{"ttl":"106752d"}`, `{"ttl":[1]}`, `{"ttl":{"a":1}}`, `{"ttl":true}`, `{"ttl":""}`, `{"ttl":null}`,
		`{"credential_type":"api_key","name_template":"{{ .RoleName }}-{{ random 20 }}","user_uid":" a ","description":"b"}`, `{"credential_type":"api_key","shared":true}`,
		`{"credential_type":"api_key","name_template":"{{ range 99999999999 }}{{ end }}{{ random 20 }}"}`, `{"credential_type":"api_key","name_template":"{{ random -1 }}"}`,
		`{"credential_type":"api_key","name_template":"{{ printf \"%[1]s%[1]s\" (random 600) }}"}`, `{"credential_type":"token","description":"c"}`, `{"credential_type":"neither"}`,
		`{"credential_type":"api_key","description":"` + strings.Repeat("a", 8<<10) + `"}`, `{"project_uid":"a\u0000b"}`, `{"project_uid":"é"}`, `{"project_uid":7}`,
		`{"config_name":"other"}`, `{"config_name":"../default"}`, `{"config_name":"` + strings.Repeat("d", 8<<10) + `"}`, `{"name":"x"}`, `{"renewable":"perhaps"}`, `{"unknown":1}`,
	} {
		f.Add(`{}`, change)
		f.Add(change, `{"ttl":60}`)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		w := newWorld(t)
		w.write("config", w.login(fields{"verify_connection": false}))
		for _, text := range []string{first, second} {
			data, ok := fuzzedFields(w.b, "roles/app", text)
			if !ok {
				return
			}
			shown := w.fuzzedWrite("roles/app", data)
			if shown == nil {
				continue
			}
			ttl, most := shown[fieldTTL].(int64), shown[fieldMaxTTL].(int64)
			assertBetween(t, ttl, 0, tenYears)
			assertBetween(t, most, 0, tenYears)
			assert.True(t, most == 0 || ttl <= most, "ttl %d, max_ttl %d", ttl, most)
			assert.Equal(t, defaultConfigName, shown[fieldConfigName])
			assert.True(t, slices.Contains([]any{store.CredentialToken, store.CredentialAPIKey}, shown[fieldCredentialType]))
			if shown[fieldNameTemplate] != "" {
				require.NoError(t, keyname.Check(textOf(shown[fieldNameTemplate])))
			}
			assertKept(t, data, shown, fieldProjectUID, fieldUserUID, fieldNameTemplate, fieldDescription)
			assertNumbersKept(t, data, shown)
		}
		assert.Zero(t, w.palette.TotalCalls())
	})
}

package palettesecrets_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	engine "vault-plugin-secrets-palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// golden is a file of testdata/golden: a stored record or a lease as an earlier engine wrote it. See the README there.
type golden struct {
	WrittenAt time.Time `json:"written_at"`
	// Key and Value are a stored record's.
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
	// Path, Secret and InternalData are a lease's.
	Path   string `json:"path"`
	Secret struct {
		TTL       float64   `json:"ttl_seconds"`
		MaxTTL    float64   `json:"max_ttl_seconds"`
		Renewable bool      `json:"renewable"`
		IssueTime time.Time `json:"issue_time"`
	} `json:"secret"`
	InternalData map[string]any `json:"internal_data"`
}

func readGolden(t *testing.T, name string) golden {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", name+".json"))
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(text, &g))
	return g
}

// goldenWorld is a mount over golden records, in a bubble whose clock shows the date of the newest of them.
type goldenWorld struct {
	t       *testing.T
	b       logical.Backend
	storage *logical.InmemStorage
	// plain answers the address of all golden records but the kept connection, secure that one's over TLS.
	plain, secure *palettetest.Server
	system        *logical.StaticSystemView
}

const (
	goldenEmail, goldenKeysEmail = "vault@example.com", "keys@example.com"
	goldenOrg                    = "example"
	goldenAdmin                  = "admin" // of config-system
	// goldenPassword is the password in config-password, goldenNewPassword the one in wal-password.
	goldenPassword, goldenNewPassword = "Made-By-1-Policy-Of-Vault", "Made-By-2-Policy-Of-Vault"
	goldenPolicyPassword              = "Made-By-3-Policy-Of-Vault"
)

// inGolden runs a test over the records named. What the test leaves alive at Palette is nobody's concern.
func inGolden(t *testing.T, names []string, test func(*goldenWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &goldenWorld{t: t, storage: &logical.InmemStorage{}, system: &logical.StaticSystemView{DefaultLeaseTTLVal: 768 * time.Hour, MaxLeaseTTLVal: 768 * time.Hour}}
		w.system.SetPasswordPolicy("palette", func() (string, error) { return goldenPolicyPassword, nil })
		for _, name := range names {
			g := readGolden(t, name)
			time.Sleep(time.Until(g.WrittenAt))
			if g.Key != "" {
				require.NoError(t, w.storage.Put(t.Context(), &logical.StorageEntry{Key: g.Key, Value: g.Value}))
			}
		}
		user := palettetest.User{Email: goldenEmail, Org: goldenOrg, Password: goldenPassword}
		options := []palettetest.Option{palettetest.InMemory(), palettetest.AllowLiveTokens(), palettetest.WithUser(user), palettetest.WithUser(palettetest.User{
			Email: goldenKeysEmail, Org: goldenOrg, Password: "Nobody-Uses-4-This-One", UID: "65f0c0ffee0000000000000b",
		}), palettetest.WithUser(palettetest.User{Username: goldenAdmin, Password: goldenPassword})}
		w.plain, w.secure = palettetest.New(t, options...), palettetest.New(t, append(options, palettetest.WithTLS())...)
		w.mount()
		test(w)
		w.b.Cleanup(t.Context())
	})
}

func (w *goldenWorld) mount() {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		to := w.plain
		if strings.HasPrefix(address, "palette.example.com") {
			to = w.secure
		}
		_, at, _ := strings.Cut(to.URL(), "://")
		return palettetest.Dial(ctx, network, at)
	}
	b, err := engine.FactoryOn(exchange.NewProcess().WithDial(dial), "v0.0.0-golden")(w.t.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), System: w.system, StorageView: w.storage,
	})
	require.NoError(w.t, err)
	require.NoError(w.t, b.Initialize(w.t.Context(), &logical.InitializationRequest{Storage: w.storage}))
	w.b = b
}

func (w *goldenWorld) must(req *logical.Request) *logical.Response {
	w.t.Helper()
	req.Storage = w.storage
	resp, err := w.b.HandleRequest(w.t.Context(), req)
	require.NoError(w.t, err, "%s %s", req.Operation, req.Path)
	require.False(w.t, resp.IsError(), "%s %s: %v", req.Operation, req.Path, resp)
	return resp
}

func (w *goldenWorld) read(path string) map[string]any {
	w.t.Helper()
	resp := w.must(&logical.Request{Operation: logical.ReadOperation, Path: path})
	require.NotNil(w.t, resp, "%s is not there", path)
	return resp.Data
}

func (w *goldenWorld) write(path string) {
	w.t.Helper()
	w.must(&logical.Request{Operation: logical.UpdateOperation, Path: path})
}

// minutes lets the periodic run come so often.
func (w *goldenWorld) minutes(n int) {
	w.t.Helper()
	for range n {
		time.Sleep(time.Minute)
		w.must(&logical.Request{Operation: logical.RollbackOperation})
		synctest.Wait()
	}
}

// gone checks that nothing is stored below a prefix.
func (w *goldenWorld) gone(prefix string) {
	w.t.Helper()
	left, err := w.storage.List(w.t.Context(), prefix)
	require.NoError(w.t, err)
	assert.Empty(w.t, left, prefix)
}

func (w *goldenWorld) wants(path string, want map[string]any) {
	w.t.Helper()
	got := w.read(path)
	for field, value := range want {
		assert.EqualValues(w.t, value, got[field], "%s of %s", field, path)
	}
}

// lease makes the request that Vault sends about a golden lease.
func (g golden) lease(op logical.Operation) *logical.Request {
	secret := &logical.Secret{InternalData: g.InternalData}
	secret.TTL, secret.MaxTTL = time.Duration(g.Secret.TTL)*time.Second, time.Duration(g.Secret.MaxTTL)*time.Second
	secret.IssueTime, secret.Renewable = g.Secret.IssueTime, g.Secret.Renewable
	return &logical.Request{Operation: op, Path: g.Path, Secret: secret}
}

// tokensIn are the tokens that a record or a lease holds.
func tokensIn(t *testing.T, record any) []string {
	t.Helper()
	text, err := json.Marshal(record)
	require.NoError(t, err)
	var tokens []string
	for _, part := range strings.Split(string(text), `"`) {
		if strings.HasPrefix(part, "eyJ") {
			tokens = append(tokens, part)
		}
	}
	require.NotEmpty(t, tokens)
	return tokens
}

// plantTokens makes the tokens of a record live ones.
func (w *goldenWorld) plantTokens(at *palettetest.Server, record any) []string {
	w.t.Helper()
	tokens := tokensIn(w.t, record)
	for _, token := range tokens {
		at.PlantToken(goldenEmail, goldenOrg, token)
		require.True(w.t, at.Alive(token), "the golden token is dead by its exp")
	}
	return tokens
}

// plantKey makes the API key of a record, {"uid","name","key","expires_at"}, a live one.
func (w *goldenWorld) plantKey(record any) (uid string) {
	w.t.Helper()
	k := record.(map[string]any)
	expiry, err := time.Parse(time.RFC3339, k["expires_at"].(string))
	require.NoError(w.t, err)
	w.plain.PlantKey(goldenKeysEmail, goldenOrg, k["uid"].(string), k["name"].(string), k["key"].(string), expiry)
	return k["uid"].(string)
}

// plantRootKey makes the API key of config-api-key a live one.
func (w *goldenWorld) plantRootKey() (uid string) {
	w.t.Helper()
	var stored struct {
		Key string `json:"api_key"`
		UID string `json:"api_key_uid"`
	}
	require.NoError(w.t, json.Unmarshal(readGolden(w.t, "config-api-key").Value, &stored))
	w.plain.PlantKey(goldenKeysEmail, goldenOrg, stored.UID, "vault-root-keys", stored.Key, time.Now().Add(480*time.Hour))
	return stored.UID
}

func (w *goldenWorld) keyUIDs() []string {
	uids := []string{}
	for _, k := range w.plain.LiveKeys() {
		uids = append(uids, k.UID)
	}
	return uids
}

func (w *goldenWorld) alive(at *palettetest.Server, want bool, tokens []string) {
	w.t.Helper()
	for _, token := range tokens {
		assert.Equal(w.t, want, at.Alive(token))
	}
}

func goldenNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	require.NoError(t, err)
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".json")
	}
	return files
}

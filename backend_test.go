package palette

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vault-plugin-secrets-palette/internal/palettetest"
)

func TestMain(m *testing.M) {
	// OpenCensus, which Vault's SDK pulls in, starts a worker at init and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// month is Vault's default for a mount's default and maximum lease.
const month = 768 * time.Hour

var (
	errDisk = errors.New("the disk is full")
	epoch   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// world is a mount, its storage, a Palette and the clock that all of them go by.
type world struct {
	t       *testing.T
	b       *backend
	storage *storage
	palette *palettetest.Server
	clock   *clockwork.FakeClock
	system  *logical.StaticSystemView
	log     *logBuffer
	// secrets are those that no answer and no log line may hold, beside the tokens.
	secrets []string
}

// newWorld is the one constructor of a test backend. At the end of the test the log is
// searched for secrets, and the stand-in fails the test where tokens are left alive.
func newWorld(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	clock := clockwork.NewFakeClockAt(epoch)
	w := &world{
		t: t, clock: clock, log: &logBuffer{},
		storage: &storage{Storage: &logical.InmemStorage{}},
		palette: palettetest.New(t, append([]palettetest.Option{palettetest.WithClock(clock)}, opts...)...),
		system:  &logical.StaticSystemView{DefaultLeaseTTLVal: month, MaxLeaseTTLVal: month},
		secrets: []string{palettetest.DefaultUser.Password},
	}
	w.mount()
	t.Cleanup(func() {
		w.b.clean(t.Context()) // waits for what goes on in the background, and closes connections
		w.noSecret("the log", w.log.String())
	})
	return w
}

// mount makes a backend over the storage as it is: a new mount, a restart, a new active
// node.
func (w *world) mount() {
	w.b = newBackend(w.clock, "v0.0.0-test")
	require.NoError(w.t, w.b.Setup(w.t.Context(), &logical.BackendConfig{
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: w.log}), System: w.system, StorageView: w.storage,
	}))
}

// configured is a world with the default config and a role "app".
func configured(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	w := newWorld(t, opts...)
	w.write("config", w.login())
	w.write("roles/app", fields{"renewable": true})
	return w
}

type fields = map[string]any

// login is what a config for the stand-in's default user needs, with more fields.
func (w *world) login(more ...fields) fields {
	u := palettetest.DefaultUser
	out := fields{"address": w.palette.URL(), "email": u.Email, "org": u.Org, "password": u.Password}
	for _, m := range more {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// handle sends a request as Vault does, through JSON, and looks for secrets in what
// comes back wrong.
func (w *world) handle(ctx context.Context, op logical.Operation, path string, data fields) (*logical.Response, error) {
	w.t.Helper()
	req := &logical.Request{Operation: op, Path: path, Storage: w.storage, Data: viaJSON(w.t, data)}
	if op == logical.UpdateOperation {
		found, exists, err := w.b.HandleExistenceCheck(ctx, req)
		if err != nil {
			return nil, err
		}
		if found && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	resp, err := w.b.HandleRequest(ctx, req)
	w.checkAnswer(req, resp, err)
	return resp, err
}

func (w *world) checkAnswer(req *logical.Request, resp *logical.Response, err error) {
	w.t.Helper()
	if err != nil {
		w.noSecret("an error", err.Error())
		return
	}
	if resp == nil {
		return
	}
	if resp.IsError() {
		w.noSecret("an error response", resp.Error().Error())
		return
	}
	w.noSecret("the warnings", strings.Join(resp.Warnings, "\n"))
	if path := w.b.Route(req.Path); path != nil && len(resp.Data) > 0 && req.Operation != logical.HelpOperation {
		schema.ValidateResponse(w.t, schema.GetResponseSchema(w.t, path, req.Operation), resp, true)
	}
}

func (w *world) noSecret(where, text string) {
	w.t.Helper()
	for _, secret := range append(w.secrets, w.palette.Issued()...) {
		assert.False(w.t, strings.Contains(text, secret), "%s holds a secret", where)
		if parts := strings.Split(secret, "."); len(parts) == 3 {
			assert.False(w.t, strings.Contains(text, parts[2]), "%s holds a token's signature", where)
		}
	}
}

// write, read, list and remove are requests that must succeed.
func (w *world) write(path string, data fields) *logical.Response {
	w.t.Helper()
	return w.must(logical.UpdateOperation, path, data)
}

func (w *world) read(path string, data ...fields) *logical.Response {
	w.t.Helper()
	return w.must(logical.ReadOperation, path, append(data, nil)[0])
}

func (w *world) list(path string) []string {
	w.t.Helper()
	names, _ := w.must(logical.ListOperation, path, nil).Data["keys"].([]string)
	return names
}

func (w *world) remove(path string) {
	w.t.Helper()
	w.must(logical.DeleteOperation, path, nil)
}

func (w *world) must(op logical.Operation, path string, data fields) *logical.Response {
	w.t.Helper()
	resp, err := w.handle(w.t.Context(), op, path, data)
	require.NoError(w.t, err)
	require.False(w.t, resp.IsError(), "%v %s: %v", op, path, resp)
	return resp
}

// mistake is a request that must be answered 400 with each of the texts.
func (w *world) mistake(op logical.Operation, path string, data fields, texts ...string) {
	w.t.Helper()
	resp, err := w.handle(w.t.Context(), op, path, data)
	require.NoError(w.t, err)
	require.True(w.t, resp.IsError(), "%v %s succeeded: %v", op, path, resp)
	for _, text := range texts {
		assert.ErrorContains(w.t, resp.Error(), text)
	}
}

// fault is a request that must fail with an outermost coded error: the status and each
// of the texts.
func (w *world) fault(op logical.Operation, path string, data fields, status int, texts ...string) {
	w.t.Helper()
	resp, err := w.handle(w.t.Context(), op, path, data)
	require.Error(w.t, err, "answered %v", resp)
	assert.Nil(w.t, resp)
	requireCoded(w.t, err, status, texts...)
}

func requireCoded(t *testing.T, err error, status int, texts ...string) {
	t.Helper()
	coded, ok := err.(logical.HTTPCodedError) //nolint:errorlint // Vault looks at the outermost error only
	require.True(t, ok, "not coded: %v", err)
	assert.Equal(t, status, coded.Code(), err.Error())
	for _, text := range texts {
		assert.ErrorContains(t, err, text)
	}
}

// heldLease is a lease as Vault keeps it.
type heldLease struct {
	w      *world
	secret *logical.Secret
	// data is what the last read or renewal returned.
	data  fields
	issue *logical.Response
}

// creds reads a credential and keeps its lease.
func (w *world) creds(role string, data ...fields) *heldLease {
	w.t.Helper()
	resp := w.read("creds/"+role, data...)
	require.NotNil(w.t, resp.Secret)
	l := &heldLease{w: w, secret: resp.Secret, data: resp.Data, issue: resp}
	l.secret.IssueTime = w.clock.Now()
	return l
}

func (l *heldLease) token() string { return l.data["token"].(string) }

// renew renews and, where that works, keeps what Vault would.
func (l *heldLease) renew() error {
	l.w.t.Helper()
	secret := *l.secret
	secret.InternalData = viaJSON(l.w.t, l.secret.InternalData)
	req := logical.RenewRequest("creds/app", &secret, l.data)
	req.Storage = l.w.storage
	resp, err := l.w.b.HandleRequest(l.w.t.Context(), req)
	if err != nil {
		l.w.noSecret("a renewal's error", err.Error())
		return err
	}
	require.False(l.w.t, resp.IsError(), "Vault prints an error response of a renewal as a Go struct")
	l.secret, l.data = resp.Secret, resp.Data
	l.secret.IssueTime = secret.IssueTime
	return nil
}

func (l *heldLease) revoke() error {
	l.w.t.Helper()
	secret := *l.secret
	secret.InternalData = viaJSON(l.w.t, l.secret.InternalData)
	req := logical.RevokeRequest("creds/app", &secret, l.data)
	req.Storage = l.w.storage
	resp, err := l.w.b.HandleRequest(l.w.t.Context(), req)
	if err != nil {
		l.w.noSecret("a revocation's error", err.Error())
		return err
	}
	require.False(l.w.t, resp.IsError())
	return nil
}

func (l *heldLease) mustRenew() {
	l.w.t.Helper()
	require.NoError(l.w.t, l.renew())
}

func (l *heldLease) mustRevoke() {
	l.w.t.Helper()
	require.NoError(l.w.t, l.revoke())
}

// tokens are the live tokens that the lease holds, the newest last.
func (l *heldLease) tokens() []string {
	l.w.t.Helper()
	kept, err := leaseOf(&logical.Secret{InternalData: viaJSON(l.w.t, l.secret.InternalData)})
	require.NoError(l.w.t, err)
	var out []string
	for _, token := range kept.Tokens {
		out = append(out, token.Token.Reveal())
	}
	return out
}

// minute lets the periodic run come.
func (w *world) minute() {
	w.t.Helper()
	w.clock.Advance(time.Minute)
	require.NoError(w.t, w.b.periodic(w.t.Context(), &logical.Request{Storage: w.storage}))
}

// owed counts what is on the engine's list.
func (w *world) owed() int {
	w.t.Helper()
	ids, err := w.storage.Storage.List(w.t.Context(), owedPrefix)
	require.NoError(w.t, err)
	return len(ids)
}

// settle waits for what goes on in the background.
func (w *world) settle() {
	w.t.Helper()
	require.NoError(w.t, w.b.background.Acquire(w.t.Context(), maxBackground))
	w.b.background.Release(maxBackground)
}

// jwtWith is a token with the claims given, signed by nobody.
func jwtWith(claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(claims)) + "." + part([]byte("a signature"))
}

func unix(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// viaJSON is what data becomes on its way through Vault's storage or its API.
func viaJSON(t *testing.T, data fields) fields {
	t.Helper()
	text, err := json.Marshal(data)
	require.NoError(t, err)
	out := fields{}
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// storage is a mount's storage that can fail: fail is asked before each operation
// ("put", "get", "delete", "list") and its key.
type storage struct {
	logical.Storage
	mu   sync.Mutex
	fail func(op, key string) error
}

// failOn makes operations on keys with a prefix fail; without one, none.
func (s *storage) failOn(op, prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = func(o, key string) error {
		if o == op && strings.HasPrefix(key, prefix) {
			return errDisk
		}
		return nil
	}
}

func (s *storage) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = nil
}

func (s *storage) ask(op, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		return nil
	}
	return s.fail(op, key)
}

func (s *storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.ask("get", key); err != nil {
		return nil, err
	}
	return s.Storage.Get(ctx, key)
}

func (s *storage) Put(ctx context.Context, e *logical.StorageEntry) error {
	if err := s.ask("put", e.Key); err != nil {
		return err
	}
	return s.Storage.Put(ctx, e)
}

func (s *storage) Delete(ctx context.Context, key string) error {
	if err := s.ask("delete", key); err != nil {
		return err
	}
	return s.Storage.Delete(ctx, key)
}

func (s *storage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.ask("list", prefix); err != nil {
		return nil, err
	}
	return s.Storage.List(ctx, prefix)
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestFactorySetsUpAMount(t *testing.T) {
	b, err := FactoryFor("v1.2.3")(t.Context(), &logical.BackendConfig{System: &logical.StaticSystemView{}})
	require.NoError(t, err)
	assert.Equal(t, logical.TypeLogical, b.Type())
	assert.Equal(t, "v1.2.3", b.(*backend).RunningVersion)
	_, err = Factory(t.Context(), &logical.BackendConfig{})
	require.NoError(t, err)
}

func TestSecretsAreStoredUnderSealWrappedPrefixes(t *testing.T) {
	w := configured(t)
	w.write("config/ci", w.login())
	l := w.creds("app")
	w.palette.Down(true)
	require.Error(t, l.revoke()) // fills owed/
	w.palette.Down(false)
	w.remove("config/ci") // fills connections/

	wrapped := w.b.SpecialPaths().SealWrapStorage
	for _, prefix := range wrapped {
		assert.True(t, strings.HasSuffix(prefix, "/"), "%s: seal wrapping matches an exact key or a prefix that ends in a slash", prefix)
	}
	var holding []string
	for _, key := range w.keys("") {
		entry, err := w.storage.Get(t.Context(), key)
		require.NoError(t, err)
		if !strings.Contains(string(entry.Value), palettetest.DefaultUser.Password) && !strings.Contains(string(entry.Value), l.token()) {
			continue
		}
		holding = append(holding, key)
		assert.True(t, covered(wrapped, key), "%s holds a secret and is not seal-wrapped", key)
	}
	assert.Len(t, holding, 2, "config/default and the list of what is owed")
	w.minute()
}

// keys returns all storage keys below a prefix.
func (w *world) keys(prefix string) []string {
	w.t.Helper()
	names, err := w.storage.List(w.t.Context(), prefix)
	require.NoError(w.t, err)
	var out []string
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			out = append(out, w.keys(prefix+name)...)
			continue
		}
		out = append(out, prefix+name)
	}
	return out
}

func covered(prefixes []string, key string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func TestInvalidationDropsWhatAnotherNodeChanged(t *testing.T) {
	w := configured(t)
	w.creds("app").mustRevoke()
	for key, now := range map[string]string{
		configPrefix + "default": `{"address":"https://other.example.com","email":"a@example.com","password":"p","request_timeout":1000000000}`,
		rolePrefix + "app":       `{"config_name":"default","ttl":60000000000}`,
	} {
		require.NoError(t, w.storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: []byte(now)}))
		w.b.InvalidateKey(t.Context(), key)
	}
	assert.Equal(t, "https://other.example.com", w.read("config").Data["address"])
	assert.EqualValues(t, 60, w.read("roles/app").Data["ttl"])
	assert.Empty(t, w.b.clients.byConn, "clients of configs that may have changed")
}

func TestHelpNamesEachField(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"config", "config/ci", "roles/app", "creds/app", "config/", "roles/"} {
		resp, err := w.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: path})
		require.NoError(t, err)
		help := fmt.Sprint(resp.Data["help"])
		for field := range w.b.Route(path).Fields {
			assert.Contains(t, help, field, path)
		}
	}
}

func TestEachOperationIsDescribed(t *testing.T) {
	for _, path := range newBackend(clockwork.NewFakeClock(), "v1.0.0").Paths {
		assert.NotEmpty(t, path.HelpSynopsis, path.Pattern)
		assert.NotEmpty(t, path.HelpDescription, path.Pattern)
		for op, handler := range path.Operations {
			p := handler.Properties()
			assert.NotEmpty(t, p.Summary, "%s %s", op, path.Pattern)
			assert.NotEmpty(t, p.Responses, "%s %s", op, path.Pattern)
		}
		for name, field := range path.Fields {
			assert.NotEmpty(t, field.Description, "%s: %s", path.Pattern, name)
		}
	}
}

// A mount that ends waits for calls under way, but not for ever, and begins no others.
func TestCleanWaitsForCallsUnderWay(t *testing.T) {
	w := configured(t)
	gate := w.palette.Hold(palettetest.Login)
	ctx, hangUp := context.WithCancel(t.Context())
	read := make(chan error, 1)
	go func() {
		_, err := w.b.HandleRequest(ctx, &logical.Request{Operation: logical.ReadOperation, Path: "creds/app", Storage: w.storage})
		read <- err
	}()
	<-gate.Arrived()
	hangUp()
	require.ErrorIs(t, <-read, context.Canceled)

	cleaned := make(chan struct{})
	go func() {
		defer close(cleaned)
		w.b.clean(t.Context())
	}()
	require.NoError(t, w.clock.BlockUntilContext(t.Context(), 2), "the call's time-out and Clean's patience")
	gate.Release()
	<-cleaned
	assert.Empty(t, w.palette.LiveTokens(), "the token that came late was revoked before Clean ended")
}

func TestCleanDoesNotWaitForEver(t *testing.T) {
	w := configured(t)
	gate := w.palette.Hold(palettetest.Login)
	defer w.palette.Close() // the held call ends without its work
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-gate.Arrived()
		hangUp()
	}()
	_, err := w.b.HandleRequest(ctx, &logical.Request{Operation: logical.ReadOperation, Path: "creds/app", Storage: w.storage})
	require.ErrorIs(t, err, context.Canceled)

	cleaned := make(chan struct{})
	go func() {
		defer close(cleaned)
		w.b.clean(t.Context())
	}()
	require.NoError(t, w.clock.BlockUntilContext(t.Context(), 2))
	_, err = w.handle(t.Context(), logical.ReadOperation, "creds/app", nil)
	requireCoded(t, err, http.StatusServiceUnavailable, "being sealed, reloaded or removed")
	w.clock.Advance(cleanPatience)
	<-cleaned
	assert.Contains(t, w.log.String(), "calls to Palette under way")
}

func TestPeriodicRunReportsStorageFaults(t *testing.T) {
	w := configured(t)
	for _, prefix := range []string{owedPrefix, connectionPrefix} {
		w.storage.failOn("list", prefix)
		require.ErrorIs(t, w.b.periodic(t.Context(), &logical.Request{Storage: w.storage}), errDisk)
	}
}

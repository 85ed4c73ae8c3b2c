package palettesecrets

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/store"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// month is Vault's default for a mount's default and maximum lease.
const month = 768 * time.Hour

var (
	errDisk = errors.New("the disk is full")
	epoch   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// world is a mount, its storage, and a Palette, in a bubble.
type world struct {
	t       *testing.T
	b       *backend
	storage *storage
	palette *palettetest.Server
	system  *logical.StaticSystemView
	log     *logBuffer
	process *exchange.Process
	// secrets are those that no answer and no log line may hold, beside the tokens.
	secrets []string
}

// bubble runs a row of a table in a bubble of its own: time there is fake, and goes on when all
// goroutines wait.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// newWorld is the one constructor of a test backend. At the end of the test the log is
// searched for secrets, and the stand-in fails the test where tokens are left alive.
func newWorld(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	time.Sleep(time.Until(epoch)) // a bubble's clock begins in 2000
	return worldOf(t, exchange.NewProcess().WithDial(palettetest.Dial), append([]palettetest.Option{palettetest.InMemory()}, opts...))
}

// onSockets is newWorld outside of a bubble, for what is about name lookup, sockets, TLS and
// proxies. Its time is real, so nothing there may wait.
func onSockets(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	return worldOf(t, exchange.NewProcess(), opts)
}

func worldOf(t *testing.T, process *exchange.Process, opts []palettetest.Option) *world {
	t.Helper()
	w := &world{
		t: t, log: &logBuffer{}, process: process,
		storage: &storage{Storage: &logical.InmemStorage{}},
		palette: palettetest.New(t, opts...),
		system:  &logical.StaticSystemView{DefaultLeaseTTLVal: month, MaxLeaseTTLVal: month},
		secrets: []string{palettetest.DefaultUser.Password},
	}
	w.mount()
	t.Cleanup(func() {
		w.b.clean(context.WithoutCancel(t.Context())) // waits for what goes on in the background, and closes connections
		w.noSecret("the log", w.log.String())
	})
	return w
}

// mount makes a backend over the storage as it is: a new mount, a restart, a new active
// node.
func (w *world) mount() {
	w.b = newBackend(w.process, "v0.0.0-test")
	require.NoError(w.t, w.b.setUp(w.t.Context(), &logical.BackendConfig{
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: w.log}), System: w.system, StorageView: w.storage,
	}))
	require.NoError(w.t, w.b.Initialize(w.t.Context(), &logical.InitializationRequest{Storage: w.storage}))
}

// uncache makes the next read of each entry one of the storage.
func (w *world) uncache() {
	for _, key := range w.keys("") {
		w.b.InvalidateKey(w.t.Context(), key)
	}
}

// configured is a world with the default config and a role "app".
func configured(t *testing.T, opts ...palettetest.Option) *world {
	t.Helper()
	return newWorld(t, opts...).configured()
}

func (w *world) configured() *world {
	w.t.Helper()
	w.write("config", w.login())
	w.write("roles/app", fields{"renewable": true})
	return w
}

type fields = map[string]any

// login is what a config for the stand-in's default user needs, with more fields. It has
// no limit, and gives up at once where it would have to wait: a test that is about waiting
// says so.
func (w *world) login(more ...fields) fields {
	u := palettetest.DefaultUser
	out := fields{"address": w.palette.URL(), "email": u.Email, "org": u.Org, "password": u.Password, "rate_limit": 0, "queue_timeout": 1}
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
	w.checkAnswer(ctx, req, resp, err)
	return resp, err
}

func (w *world) noSecret(where, text string) {
	w.t.Helper()
	for _, secret := range append(w.secrets, w.palette.Issued()...) {
		assert.False(w.t, strings.Contains(text, secret), "%s holds a secret", where)
		if parts := strings.Split(secret, "."); len(parts) == 3 && len(parts[2]) > 20 {
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

// minute lets the periodic run come.
func (w *world) minute() {
	w.t.Helper()
	w.wait() // else the minute is request_timeout for what is under way
	time.Sleep(time.Minute)
	require.NoError(w.t, w.periodic())
}

func (w *world) periodic() error {
	return w.b.periodic(w.t.Context(), &logical.Request{Storage: w.storage})
}

// plant puts a text into the storage, as an older version or a fault could have.
func (w *world) plant(key, text string) {
	w.t.Helper()
	require.NoError(w.t, w.storage.Put(w.t.Context(), &logical.StorageEntry{Key: key, Value: []byte(text)}))
}

// pending counts the pending revocations.
func (w *world) pending() int {
	w.t.Helper()
	ids, err := w.storage.Storage.List(w.t.Context(), store.PendingPrefix)
	require.NoError(w.t, err)
	return len(ids)
}

// wait waits for what goes on in the background.
func (w *world) wait() {
	w.t.Helper()
	require.NoError(w.t, w.b.tasks.Wait(w.t.Context()))
}

// running counts what goes on there.
func (w *world) running() int {
	return w.b.tasks.Running()
}

// ended makes the mount one that is ending. remount is the next process.
func (w *world) ended() (remount func()) {
	w.t.Helper()
	require.NoError(w.t, w.b.tasks.Drain(w.t.Context()))
	return w.mount
}

// rotating leaves a rotation of the default config under way until the test's end.
func (w *world) rotating() {
	gate, done := w.palette.Hold(palettetest.PasswordChange), make(chan struct{})
	go func() {
		defer close(done)
		_ = w.b.credentials.Rotate(w.t.Context(), w.storage, defaultConfigName)
	}()
	<-gate.Arrived()
	w.t.Cleanup(func() { gate.Release(); <-done })
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

package palettesecrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

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

package enginetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// ErrDisk is the error of a storage that fails.
var ErrDisk = errors.New("the disk is full")

// Storage is a mount's storage that can fail, and whose operations a test can overtake.
type Storage struct {
	memory logical.InmemStorage

	mu     sync.Mutex
	before func(op, key string) error
	after  func(op, key string)
}

// NewStorage is an empty storage.
func NewStorage() *Storage { return &Storage{} }

// FailOn makes an operation ("get", "put", "delete" or "list") fail on keys of a prefix, "" for all.
// Other operations work again.
func (s *Storage) FailOn(op, prefix string) {
	s.Before(func(o, key string) error {
		if o == op && strings.HasPrefix(key, prefix) {
			return ErrDisk
		}
		return nil
	})
}

// Before is asked before each operation, and makes an operation fail; nil for nothing.
func (s *Storage) Before(ask func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = ask
}

// AfterNext is called when the next operation of a kind on a key has done its work, and before its
// caller hears of that.
func (s *Storage) AfterNext(op, key string, then func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = func(o, k string) {
		if o == op && k == key {
			s.mu.Lock()
			s.after = nil
			s.mu.Unlock()
			then()
		}
	}
}

// Heal makes all operations work.
func (s *Storage) Heal() { s.Before(nil) }

func (s *Storage) ask(op, key string) error {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op, key)
}

func (s *Storage) did(op, key string) {
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if after != nil {
		after(op, key)
	}
}

// Get implements logical.Storage, as do the others below.
func (s *Storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.ask("get", key); err != nil {
		return nil, err
	}
	defer s.did("get", key)
	return s.memory.Get(ctx, key)
}

// Put stores an entry.
func (s *Storage) Put(ctx context.Context, e *logical.StorageEntry) error {
	if err := s.ask("put", e.Key); err != nil {
		return err
	}
	defer s.did("put", e.Key)
	return s.memory.Put(ctx, e)
}

// Delete removes an entry.
func (s *Storage) Delete(ctx context.Context, key string) error {
	if err := s.ask("delete", key); err != nil {
		return err
	}
	defer s.did("delete", key)
	return s.memory.Delete(ctx, key)
}

// List returns the names below a prefix.
func (s *Storage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.ask("list", prefix); err != nil {
		return nil, err
	}
	defer s.did("list", prefix)
	return s.memory.List(ctx, prefix)
}

// Plant stores a text, as an older version or a fault could have.
func (s *Storage) Plant(key, text string) {
	_ = s.memory.Put(context.Background(), &logical.StorageEntry{Key: key, Value: []byte(text)}) // it cannot fail
}

// Text is what is stored under a key; "" for nothing.
func (s *Storage) Text(key string) string {
	entry, _ := s.memory.Get(context.Background(), key)
	if entry == nil {
		return ""
	}
	return string(entry.Value)
}

// Keys are the keys directly below a prefix.
func (s *Storage) Keys(prefix string) []string {
	names, _ := s.memory.List(context.Background(), prefix) // it cannot fail
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = prefix + name
	}
	return keys
}

// Log is a log that can be read while it is written.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

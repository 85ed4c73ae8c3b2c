package simulation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

var errStorage = errors.New("the storage is failing")

// disk is the mount's storage, which outlives its nodes.
type disk struct {
	mu      sync.Mutex
	entries map[string][]byte
}

func newDisk() *disk { return &disk{entries: make(map[string][]byte)} }

// text is all that is stored: whoever is named in it is accounted for.
func (d *disk) text(into *strings.Builder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, value := range d.entries {
		into.Write(value)
		into.WriteByte('\n')
	}
}

// below are the entries under a prefix, by the rest of their keys.
func (d *disk) below(prefix string) map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string][]byte)
	for key, value := range d.entries {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			out[name] = value
		}
	}
	return out
}

func (d *disk) wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.entries)
}

// storage is the disk as one node sees it.
type storage struct {
	node *node
	disk *disk
}

var _ logical.Storage = (*storage)(nil)

// operation is one use of the storage.
type operation struct{ what, key string }

// do lets an operation happen, or what a trap makes of it. garbled: what it reads cannot be decoded.
func (s *storage) do(op operation, deed func()) (garbled bool, err error) {
	w := s.node.world
	if d := w.plan.storageDelay; d > 0 && slow(op.key) {
		time.Sleep(d)
	}
	if s.node.dead.Load() {
		return false, errCrashed
	}
	switch t := w.traps.onStorage(op); t {
	case "":
	case "crash-before":
		s.node.crash("before storage " + op.what + " " + op.key)
		return false, errCrashed
	case "crash-after":
		deed()
		s.node.crash("after storage " + op.what + " " + op.key)
		return false, errCrashed
	default:
		w.storageTrouble.Add(1)
		w.trouble()
		w.story.tell("storage", "%s %s: %s", op.what, op.key, t)
		switch t {
		case "garble":
			deed()
			return true, nil
		case "fail-after":
			deed()
		}
		return false, errStorage
	}
	deed()
	return false, nil
}

// slow tells whether operations on a key may take time. Below the other prefixes the engine holds locks meanwhile, and
// fake time stands still while a goroutine waits for a lock.
func slow(key string) bool {
	return strings.HasPrefix(key, "wal/") || strings.HasPrefix(key, "owed/") || strings.HasPrefix(key, "sessions/") || strings.HasPrefix(key, "shared-keys/")
}

// Get implements logical.Storage.
func (s *storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var value []byte
	garbled, err := s.do(operation{"get", key}, func() {
		s.disk.mu.Lock()
		defer s.disk.mu.Unlock()
		value = slices.Clone(s.disk.entries[key])
	})
	switch {
	case err != nil || value == nil:
		return nil, err
	case garbled:
		value = []byte(`{"garbled`)
	}
	return &logical.StorageEntry{Key: key, Value: value}, nil
}

// Put implements logical.Storage.
func (s *storage) Put(ctx context.Context, e *logical.StorageEntry) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	done := false
	_, err := s.do(operation{"put", e.Key}, func() {
		done = true
		s.disk.mu.Lock()
		defer s.disk.mu.Unlock()
		s.disk.entries[e.Key] = slices.Clone(e.Value)
	})
	if !done {
		s.node.world.refused(e)
	}
	s.node.world.stored(e.Key)
	return err
}

// Delete implements logical.Storage.
func (s *storage) Delete(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, err := s.do(operation{"delete", key}, func() {
		s.disk.mu.Lock()
		defer s.disk.mu.Unlock()
		delete(s.disk.entries, key)
	})
	s.node.world.stored(key)
	return err
}

// List implements logical.Storage: the names right below a prefix, sorted.
func (s *storage) List(ctx context.Context, prefix string) ([]string, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	names := make(map[string]bool)
	_, err := s.do(operation{"list", prefix}, func() {
		for name := range s.disk.below(prefix) {
			if at := strings.IndexByte(name, '/'); at >= 0 {
				name = name[:at+1]
			}
			names[name] = true
		}
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(names)), nil
}

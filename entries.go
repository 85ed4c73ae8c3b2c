package palette

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// entries are the storage entries of one prefix, decoded and cached: a read of a
// credential needs its role and its config, and each would be a round trip to Vault.
// What get returns is shared; to change one, copy it and put the copy.
type entries[T any] struct {
	prefix string
	// blank is what an entry is decoded over, nil for nothing: it has the defaults of fields
	// that older versions did not store.
	blank func() *T

	mu     sync.RWMutex
	cached map[string]*T
	// changes counts puts, deletes and invalidations. A get that overlaps one does not
	// fill the cache: what it read may be what was there before.
	changes uint64
}

// get returns an entry, nil where there is none.
func (e *entries[T]) get(ctx context.Context, s logical.Storage, name string) (*T, error) {
	e.mu.RLock()
	item, changes := e.cached[name], e.changes
	e.mu.RUnlock()
	if item != nil {
		return item, nil
	}
	raw, err := s.Get(ctx, e.prefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s from storage: %w", e.prefix, name, err)
	}
	if raw == nil {
		return nil, nil
	}
	if item = new(T); e.blank != nil {
		item = e.blank()
	}
	if err := raw.DecodeJSON(item); err != nil {
		return nil, fmt.Errorf("the storage entry %s%s cannot be decoded", e.prefix, name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changes == changes {
		if e.cached == nil {
			e.cached = make(map[string]*T)
		}
		e.cached[name] = item
	}
	return item, nil
}

// hold keeps an entry in memory alone, for one that could not be stored and that must not
// be forgotten for it.
func (e *entries[T]) hold(name string, item *T) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes++
	if e.cached == nil {
		e.cached = make(map[string]*T)
	}
	e.cached[name] = item
}

// put stores an entry.
func (e *entries[T]) put(ctx context.Context, s logical.Storage, name string, item *T) error {
	defer e.forget(name)
	raw, err := logical.StorageEntryJSON(e.prefix+name, item)
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", e.prefix, name, err)
	}
	if err := s.Put(ctx, raw); err != nil {
		return fmt.Errorf("writing %s%s to storage: %w", e.prefix, name, err)
	}
	return nil
}

// delete removes an entry; one that is not there is no error.
func (e *entries[T]) delete(ctx context.Context, s logical.Storage, name string) error {
	defer e.forget(name)
	if err := s.Delete(ctx, e.prefix+name); err != nil {
		return fmt.Errorf("deleting %s%s from storage: %w", e.prefix, name, err)
	}
	return nil
}

// list returns the names, sorted.
func (e *entries[T]) list(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := s.List(ctx, e.prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", e.prefix, err)
	}
	return names, nil
}

// each calls do with every entry, in the order of their names, or with why it cannot be read:
// one such must not keep the caller from the others.
func (e *entries[T]) each(ctx context.Context, s logical.Storage, do func(name string, item *T, err error)) error {
	names, err := e.list(ctx, s)
	if err != nil {
		return err
	}
	for _, name := range names {
		item, err := e.get(ctx, s, name)
		if item != nil || err != nil {
			do(name, item, err)
		}
	}
	return nil
}

// forget drops an entry from the cache, also after a write that failed: whether it
// reached the storage is not known then.
func (e *entries[T]) forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes++
	delete(e.cached, name)
}

// invalidate forgets the entry under a storage key, and tells whether the key is one of
// this prefix.
func (e *entries[T]) invalidate(key string) bool {
	name, ok := strings.CutPrefix(key, e.prefix)
	if ok {
		e.forget(name)
	}
	return ok
}

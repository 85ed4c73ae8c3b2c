package store

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// Collection is the storage entries of one prefix, decoded and cached. A read of a credential
// needs its role and its config, and each would be a round trip to Vault. [Collection.Get]
// returns shared entries: to change an entry, copy it and put the copy.
type Collection[T any] struct {
	prefix string
	// blank makes what an entry is decoded over; nil for the zero value. A blank entry has the
	// defaults of fields that older versions did not store.
	blank func() *T

	mu     sync.RWMutex
	cached map[string]*T
	// changes counts puts, deletes and invalidations. A Get that overlaps a change does not fill
	// the cache, since its answer may be the entry before the change.
	changes uint64
}

// NewCollection is the collection of a prefix. blank is nil where the zero value will do.
func NewCollection[T any](prefix string, blank func() *T) *Collection[T] {
	return &Collection[T]{prefix: prefix, blank: blank}
}

// Get returns an entry, nil where there is none.
func (c *Collection[T]) Get(ctx context.Context, s logical.Storage, name string) (*T, error) {
	c.mu.RLock()
	item, changes := c.cached[name], c.changes
	c.mu.RUnlock()
	if item != nil {
		return item, nil
	}
	raw, err := s.Get(ctx, c.prefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s from storage: %w", c.prefix, name, err)
	}
	if raw == nil {
		return nil, nil
	}
	if item = new(T); c.blank != nil {
		item = c.blank()
	}
	if err := raw.DecodeJSON(item); err != nil {
		return nil, fmt.Errorf("the storage entry %s%s cannot be decoded", c.prefix, name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changes {
		if c.cached == nil {
			c.cached = make(map[string]*T)
		}
		c.cached[name] = item
	}
	return item, nil
}

// Has tells whether there is an entry, also one that cannot be decoded.
func (c *Collection[T]) Has(ctx context.Context, s logical.Storage, name string) (bool, error) {
	raw, err := s.Get(ctx, c.prefix+name)
	if err != nil {
		return false, fmt.Errorf("reading %s%s from storage: %w", c.prefix, name, err)
	}
	return raw != nil, nil
}

// Hold keeps an entry in memory alone: the storage did not take it, and the entry must not be
// lost for that.
func (c *Collection[T]) Hold(name string, item *T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	if c.cached == nil {
		c.cached = make(map[string]*T)
	}
	c.cached[name] = item
}

// Put stores an entry.
func (c *Collection[T]) Put(ctx context.Context, s logical.Storage, name string, item *T) error {
	defer c.forget(name)
	raw, err := logical.StorageEntryJSON(c.prefix+name, item)
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", c.prefix, name, err)
	}
	if err := s.Put(ctx, raw); err != nil {
		return fmt.Errorf("writing %s%s to storage: %w", c.prefix, name, err)
	}
	return nil
}

// Delete removes an entry; one that is not there is no error.
func (c *Collection[T]) Delete(ctx context.Context, s logical.Storage, name string) error {
	defer c.forget(name)
	if err := s.Delete(ctx, c.prefix+name); err != nil {
		return fmt.Errorf("deleting %s%s from storage: %w", c.prefix, name, err)
	}
	return nil
}

// List returns the names, sorted.
func (c *Collection[T]) List(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := s.List(ctx, c.prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", c.prefix, err)
	}
	return names, nil
}

// Each calls do with every entry, in the order of the names. An entry that cannot be read
// comes as an error, and does not keep the others from do.
func (c *Collection[T]) Each(ctx context.Context, s logical.Storage, do func(name string, item *T, err error)) error {
	names, err := c.List(ctx, s)
	if err != nil {
		return err
	}
	for _, name := range names {
		item, err := c.Get(ctx, s, name)
		if item != nil || err != nil {
			do(name, item, err)
		}
	}
	return nil
}

// forget drops an entry from the cache. A write that failed drops the entry too: the write may
// have reached the storage.
func (c *Collection[T]) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.cached, name)
}

// Invalidate forgets the entry under a storage key that another node has written. Keys of other
// prefixes are ignored.
func (c *Collection[T]) Invalidate(key string) {
	if name, ok := strings.CutPrefix(key, c.prefix); ok {
		c.forget(name)
	}
}

package store

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// Records are the storage entries of one prefix, decoded.
type Records[T any] struct {
	prefix string
	// blank makes what an entry is decoded over; nil for the zero value. A blank entry has the
	// defaults of fields that older versions did not store.
	blank func() *T
}

// NewRecords are the records of a prefix. blank is nil where the zero value will do.
func NewRecords[T any](prefix string, blank func() *T) Records[T] { return Records[T]{prefix, blank} }

// Get returns an entry, nil where there is none.
func (r Records[T]) Get(ctx context.Context, s logical.Storage, name string) (*T, error) {
	raw, err := s.Get(ctx, r.prefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s from storage: %w", r.prefix, name, err)
	}
	if raw == nil {
		return nil, nil
	}
	item := new(T)
	if r.blank != nil {
		item = r.blank()
	}
	if err := raw.DecodeJSON(item); err != nil {
		return nil, fmt.Errorf("the storage entry %s%s cannot be decoded", r.prefix, name)
	}
	return item, nil
}

// Has tells whether there is an entry, also one that cannot be decoded.
func (r Records[T]) Has(ctx context.Context, s logical.Storage, name string) (bool, error) {
	raw, err := s.Get(ctx, r.prefix+name)
	if err != nil {
		return false, fmt.Errorf("reading %s%s from storage: %w", r.prefix, name, err)
	}
	return raw != nil, nil
}

// Put stores an entry.
func (r Records[T]) Put(ctx context.Context, s logical.Storage, name string, item *T) error {
	raw, err := logical.StorageEntryJSON(r.prefix+name, item)
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", r.prefix, name, err)
	}
	if err := s.Put(ctx, raw); err != nil {
		return fmt.Errorf("writing %s%s to storage: %w", r.prefix, name, err)
	}
	return nil
}

// Delete removes an entry; one that is not there is no error.
func (r Records[T]) Delete(ctx context.Context, s logical.Storage, name string) error {
	if err := s.Delete(ctx, r.prefix+name); err != nil {
		return fmt.Errorf("deleting %s%s from storage: %w", r.prefix, name, err)
	}
	return nil
}

// List returns the names, sorted.
func (r Records[T]) List(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := s.List(ctx, r.prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", r.prefix, err)
	}
	return names, nil
}

// Each calls do with every entry, in the order of the names. An entry that cannot be read
// comes as an error, and does not keep the others from do.
func (r Records[T]) Each(ctx context.Context, s logical.Storage, do func(name string, item *T, err error)) error {
	return r.each(ctx, s, r.Get, do)
}

func (r Records[T]) each(ctx context.Context, s logical.Storage, get func(context.Context, logical.Storage, string) (*T, error), do func(name string, item *T, err error)) error {
	names, err := r.List(ctx, s)
	if err != nil {
		return err
	}
	for _, name := range names {
		item, err := get(ctx, s, name)
		if item != nil || err != nil {
			do(name, item, err)
		}
	}
	return nil
}

// Collection is Records with a cache. A read of a credential needs its role and its config, and
// each would be a round trip to Vault. [Collection.Get] returns shared entries: to change an entry,
// copy it and put the copy.
type Collection[T any] struct {
	Records[T]
	mu     sync.RWMutex
	cached map[string]*T
	// changes counts puts, deletes and invalidations. A Get that overlaps a change does not fill
	// the cache, since its answer may be the entry before the change.
	changes uint64
}

// NewCollection is the collection of a prefix. blank is nil where the zero value will do.
func NewCollection[T any](prefix string, blank func() *T) *Collection[T] {
	return &Collection[T]{Records: NewRecords(prefix, blank), cached: make(map[string]*T)}
}

// Get returns an entry, nil where there is none.
func (c *Collection[T]) Get(ctx context.Context, s logical.Storage, name string) (*T, error) {
	c.mu.RLock()
	item, changes := c.cached[name], c.changes
	c.mu.RUnlock()
	if item != nil {
		return item, nil
	}
	item, err := c.Records.Get(ctx, s, name)
	if item == nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changes {
		c.cached[name] = item
	}
	return item, nil
}

// Hold keeps an entry in memory alone: the storage did not take it, and the entry must not be
// lost for that.
func (c *Collection[T]) Hold(name string, item *T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.cached[name] = item
}

// Put stores an entry.
func (c *Collection[T]) Put(ctx context.Context, s logical.Storage, name string, item *T) error {
	defer c.forget(name)
	return c.Records.Put(ctx, s, name, item)
}

// Delete removes an entry; one that is not there is no error.
func (c *Collection[T]) Delete(ctx context.Context, s logical.Storage, name string) error {
	defer c.forget(name)
	return c.Records.Delete(ctx, s, name)
}

// Each calls do with every entry, as that of [Records].
func (c *Collection[T]) Each(ctx context.Context, s logical.Storage, do func(name string, item *T, err error)) error {
	return c.each(ctx, s, c.Get, do)
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

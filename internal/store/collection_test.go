package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
	"vault-plugin-secrets-palette/internal/store"
)

// thing is a record of a test.
type thing struct {
	Text string `json:"text"`
	Size int    `json:"size"`
}

func things() *store.Collection[thing] {
	return store.NewCollection("things/", func() *thing { return &thing{Size: 7} })
}

func get(t *testing.T, c *store.Collection[thing], s logical.Storage, name string) *thing {
	t.Helper()
	item, err := c.Get(t.Context(), s, name)
	require.NoError(t, err)
	return item
}

func TestCollectionPutsGetsListsAndDeletes(t *testing.T) {
	s, c := enginetest.NewStorage(), things()
	assert.Nil(t, get(t, c, s, "a"))
	for _, name := range []string{"b", "a"} {
		require.NoError(t, c.Put(t.Context(), s, name, &thing{Text: name, Size: 1}))
	}
	assert.Equal(t, &thing{"a", 1}, get(t, c, s, "a"))
	assert.JSONEq(t, `{"text":"a","size":1}`, s.Text("things/a"))
	names, err := c.List(t.Context(), s)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, names)
	require.NoError(t, c.Delete(t.Context(), s, "a"))
	require.NoError(t, c.Delete(t.Context(), s, "a"), "a name that is not there")
	assert.Nil(t, get(t, c, s, "a"))
}

// What cannot be decoded is there all the same: a write must not take it for new.
func TestCollectionHas(t *testing.T) {
	s, c := enginetest.NewStorage(), things()
	s.Plant("things/broken", "{")
	require.NoError(t, c.Put(t.Context(), s, "whole", &thing{}))
	for name, want := range map[string]bool{"broken": true, "whole": true, "none": false} {
		there, err := c.Has(t.Context(), s, name)
		require.NoError(t, err)
		assert.Equal(t, want, there, name)
	}
	s.FailOn("get", "things/")
	_, err := c.Has(t.Context(), s, "whole")
	require.ErrorIs(t, err, enginetest.ErrDisk)
}

// Older versions did not store each field.
func TestCollectionDecodesOverTheDefaults(t *testing.T) {
	s := enginetest.NewStorage()
	s.Plant("things/older", `{"text":"x"}`)
	assert.Equal(t, &thing{"x", 7}, get(t, things(), s, "older"))
	assert.Equal(t, &thing{"x", 0}, get(t, store.NewCollection[thing]("things/", nil), s, "older"))
}

func TestCollectionServesFromItsCache(t *testing.T) {
	s, c := enginetest.NewStorage(), things()
	s.Plant("things/a", `{"text":"first"}`)
	first := get(t, c, s, "a")
	s.Plant("things/a", `{"text":"second"}`)
	for _, key := range []string{"other/a", "things", "things/b"} {
		c.Invalidate(key)
		assert.Same(t, first, get(t, c, s, "a"), "an invalidation of %s", key)
	}
	c.Invalidate("things/a")
	assert.Equal(t, "second", get(t, c, s, "a").Text)
}

// What changes while a Get has read the storage is what the next Get returns.
func TestCollectionCacheIsCoherentWithAChangeThatOverlaps(t *testing.T) {
	const old = `{"text":"old"}`
	for name, c := range map[string]struct {
		change func(context.Context, *store.Collection[thing], *enginetest.Storage)
		want   string // after the change; "" for none
	}{
		"a put": {func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) {
			assert.NoError(t, c.Put(ctx, s, "a", &thing{Text: "new"}))
		}, "new"},
		"a put that fails": {func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) {
			s.FailOn("put", "")
			assert.ErrorIs(t, c.Put(ctx, s, "a", &thing{Text: "new"}), enginetest.ErrDisk)
			s.Plant("things/a", `{"text":"new"}`) // the write reached the storage all the same
			s.Heal()
		}, "new"},
		"a deletion": {func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) {
			assert.NoError(t, c.Delete(ctx, s, "a"))
		}, ""},
		"an invalidation": {func(_ context.Context, c *store.Collection[thing], s *enginetest.Storage) {
			s.Plant("things/a", `{"text":"new"}`)
			c.Invalidate("things/a")
		}, "new"},
		"an entry that memory holds": {func(_ context.Context, c *store.Collection[thing], _ *enginetest.Storage) {
			c.Hold("a", &thing{Text: "new"})
		}, "new"},
		"nothing": {func(context.Context, *store.Collection[thing], *enginetest.Storage) {}, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			s, things := enginetest.NewStorage(), things()
			s.Plant("things/a", old)
			s.AfterNext("get", "things/a", func() { c.change(t.Context(), things, s) })
			assert.Equal(t, "old", get(t, things, s, "a").Text, "as it was when Get began")
			got := get(t, things, s, "a")
			assert.Equal(t, c.want != "", got != nil)
			if got != nil {
				assert.Equal(t, c.want, got.Text)
			}
		})
	}
}

func TestCollectionHoldsWhatTheStorageDidNotTake(t *testing.T) {
	s, c := enginetest.NewStorage(), things()
	c.Hold("a", &thing{Text: "held"})
	assert.Equal(t, "held", get(t, c, s, "a").Text)
	assert.Empty(t, s.Text("things/a"))
	require.NoError(t, c.Put(t.Context(), s, "a", &thing{Text: "put"}))
	assert.Equal(t, "put", get(t, c, s, "a").Text)
}

func TestCollectionErrorsNameTheEntry(t *testing.T) {
	bad := store.NewCollection[func()]("things/", nil) // of a type that has no JSON
	for _, c := range []struct {
		name, op string
		do       func(context.Context, *store.Collection[thing], *enginetest.Storage) error
		text     string
	}{
		{"get", "get", func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) error {
			_, err := c.Get(ctx, s, "a")
			return err
		}, "reading things/a from storage"},
		{"put", "put", func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) error {
			return c.Put(ctx, s, "a", &thing{})
		}, "writing things/a to storage"},
		{"delete", "delete", func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) error {
			return c.Delete(ctx, s, "a")
		}, "deleting things/a from storage"},
		{"list", "list", func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) error {
			_, err := c.List(ctx, s)
			return err
		}, "listing things/ in storage"},
		{"each", "list", func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) error {
			return c.Each(ctx, s, func(string, *thing, error) { t.Error("there is nothing to do") })
		}, "listing things/ in storage"},
		{"decode", "", func(ctx context.Context, c *store.Collection[thing], s *enginetest.Storage) error {
			_, err := c.Get(ctx, s, "broken")
			return err
		}, "things/broken cannot be decoded"},
		{"encode", "", func(ctx context.Context, _ *store.Collection[thing], s *enginetest.Storage) error {
			f := func() {}
			return bad.Put(ctx, s, "a", &f)
		}, "encoding things/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := enginetest.NewStorage()
			s.Plant("things/broken", "{a secret")
			if c.op != "" {
				s.FailOn(c.op, "things/")
			}
			err := c.do(t.Context(), things(), s)
			require.ErrorContains(t, err, c.text)
			assert.Equal(t, c.op != "", errors.Is(err, enginetest.ErrDisk))
			assert.NotContains(t, err.Error(), "a secret", "the entry may hold one")
		})
	}
}

// An entry that cannot be read does not keep the others from their turn.
func TestCollectionEachGoesOnPastWhatCannotBeRead(t *testing.T) {
	s := enginetest.NewStorage()
	s.Plant("things/a", "{")
	s.Plant("things/b", `{"text":"b"}`)
	s.Plant("things/c", `{"text":"c"}`)
	var seen, failed []string
	s.AfterNext("list", "things/", func() { assert.NoError(t, s.Delete(t.Context(), "things/c")) }) // gone meanwhile
	require.NoError(t, things().Each(t.Context(), s, func(name string, item *thing, err error) {
		if err != nil {
			failed = append(failed, name)
			return
		}
		seen = append(seen, item.Text)
	}))
	assert.Equal(t, []string{"a"}, failed)
	assert.Equal(t, []string{"b"}, seen)
}

// Package store holds what a mount keeps in Vault's storage: its configs, roles, kept
// connections and write-ahead entries, with their keys, their JSON and a cache.
//
// Promise: what a version of the engine has stored, each later version reads. The golden files
// in the repository's testdata/golden hold the engine to that.
//
// State: each [Collection] has a cache, guarded by the collection's own lock. [Configs] adds a
// lock a config, which makes the compare-and-swap of [Configs.Swap] whole, and [Roles] a lock a role. No lock is held over
// a call to Palette.
package store

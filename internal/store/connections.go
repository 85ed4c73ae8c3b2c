package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// kept is the last connection that a config had to an address before the config left the
// address or was deleted. The leases that were issued there are revoked through it.
type kept struct {
	palette.Connection
	KeptAt time.Time `json:"kept_at"`
}

// ConnectionKept is how long a connection is kept at least. A lease of an address that its
// config has left cannot be renewed, so its last token dies within the longest life that a
// tenant can set. An hour is added for calls under way and for clocks that differ.
const ConnectionKept = answer.MaxTokenLife + time.Hour

// connectionKey is the storage key of the connection that a config had to an address.
func connectionKey(configName, address string) string {
	sum := sha256.Sum256([]byte(configName + " " + address)) // neither holds a space
	return ConnectionPrefix + hex.EncodeToString(sum[:16])
}

// KeepConnection stores a config's connection for the leases that need it.
func KeepConnection(ctx context.Context, s logical.Storage, configName string, conn palette.Connection) error {
	entry, err := logical.StorageEntryJSON(connectionKey(configName, transport.NormalAddress(conn.Address)), kept{conn, time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encoding the connection to %s: %w", conn.Address, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("keeping the connection to %s: %w", conn.Address, err)
	}
	return nil
}

// keptConnection returns a kept connection; nil where there is none.
func keptConnection(ctx context.Context, s logical.Storage, key string) (*kept, error) {
	entry, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading a kept connection: %w", err)
	}
	if entry == nil {
		return nil, nil
	}
	found := &kept{Connection: DefaultConnection("")}
	if err := entry.DecodeJSON(found); err != nil {
		return nil, fmt.Errorf("the kept connection %s cannot be decoded", key)
	}
	return found, nil
}

// ForgetConnections deletes the kept connections that no living credential can need, and returns
// them. API keys live as long as the mount lets a lease last, maxLease.
func ForgetConnections(ctx context.Context, s logical.Storage, maxLease time.Duration) (forgotten []palette.Connection, err error) {
	keep := max(ConnectionKept, maxLease+time.Hour)
	ids, err := s.List(ctx, ConnectionPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing the kept connections: %w", err)
	}
	var errs []error
	for _, id := range ids {
		found, err := keptConnection(ctx, s, ConnectionPrefix+id)
		if err != nil || found == nil || time.Since(found.KeptAt) < keep {
			errs = append(errs, err)
			continue
		}
		if err := s.Delete(ctx, ConnectionPrefix+id); err != nil {
			errs = append(errs, fmt.Errorf("deleting a kept connection: %w", err))
			continue
		}
		forgotten = append(forgotten, found.Connection)
	}
	return forgotten, errors.Join(errs...)
}

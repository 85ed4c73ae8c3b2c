package palette

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// keptConnection is the last connection that a config had to an address before it was
// led elsewhere or deleted. The leases that were issued there are revoked through it.
type keptConnection struct {
	palette.Connection
	KeptAt time.Time `json:"kept_at"`
}

// connectionKept is how long one is kept at least. No lease of an address that its config
// has left can be renewed, so the last token dies within the longest life that Palette lets
// a tenant set; an hour more for calls under way and clocks that differ. API keys live as
// long as the mount lets a lease last.
const connectionKept = palette.MaxTokenLife + time.Hour

// connectionKey is the storage key of the connection that a config had to an address.
func connectionKey(configName, address string) string {
	sum := sha256.Sum256([]byte(configName + " " + address)) // neither holds a space
	return connectionPrefix + hex.EncodeToString(sum[:16])
}

// keepConnection stores a config's connection for the leases that need it.
func (b *backend) keepConnection(ctx context.Context, s logical.Storage, configName string, conn palette.Connection) error {
	entry, err := logical.StorageEntryJSON(connectionKey(configName, conn.Address), keptConnection{conn, time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encoding the connection to %s: %w", conn.Address, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("keeping the connection to %s: %w", conn.Address, err)
	}
	return nil
}

// loadConnection returns a kept connection, nil where there is none.
func loadConnection(ctx context.Context, s logical.Storage, key string) (*keptConnection, error) {
	entry, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading a kept connection: %w", err)
	}
	if entry == nil {
		return nil, nil
	}
	kept := &keptConnection{Connection: defaultConnection("")}
	if err := entry.DecodeJSON(kept); err != nil {
		return nil, fmt.Errorf("the kept connection %s cannot be decoded", key)
	}
	return kept, nil
}

// forgetConnections deletes the kept connections that no living token can need. On a
// performance secondary they are the primary's to delete.
func (b *backend) forgetConnections(ctx context.Context, s logical.Storage) error {
	if !b.writesConfigs() {
		return nil
	}
	_, most := b.limits.get(b.System())
	keep := max(connectionKept, most+time.Hour)
	ids, err := s.List(ctx, connectionPrefix)
	if err != nil {
		return fmt.Errorf("listing the kept connections: %w", err)
	}
	var errs []error
	for _, id := range ids {
		kept, err := loadConnection(ctx, s, connectionPrefix+id)
		if err != nil || kept == nil || time.Since(kept.KeptAt) < keep {
			errs = append(errs, err)
			continue
		}
		if err := s.Delete(ctx, connectionPrefix+id); err != nil {
			errs = append(errs, fmt.Errorf("deleting a kept connection: %w", err))
			continue
		}
		b.clients.drop(kept.Connection)
	}
	return errors.Join(errs...)
}

package palette

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// keptConnection is a connection that its config no longer has, or whose config is
// gone. The leases issued through it name it by its ID and are revoked with it.
type keptConnection struct {
	palette.Connection
	KeptAt time.Time `json:"kept_at"`
}

// connectionKept is how long one is kept. No lease can be renewed through it, so the
// last token dies within the longest life that Palette lets a tenant set; an hour more
// for calls under way and clocks that differ.
const connectionKept = palette.MaxTokenLife + time.Hour

// keepConnection stores a connection for the leases that need it.
func (b *backend) keepConnection(ctx context.Context, s logical.Storage, conn palette.Connection) error {
	entry, err := logical.StorageEntryJSON(connectionPrefix+conn.ID(), keptConnection{conn, b.clock.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encoding the connection to %s: %w", conn.Address, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("keeping the connection to %s: %w", conn.Address, err)
	}
	return nil
}

// loadConnection returns a kept connection, nil where there is none.
func loadConnection(ctx context.Context, s logical.Storage, id string) (*keptConnection, error) {
	entry, err := s.Get(ctx, connectionPrefix+id)
	if err != nil {
		return nil, fmt.Errorf("reading a kept connection: %w", err)
	}
	if entry == nil {
		return nil, nil
	}
	kept := new(keptConnection)
	if err := entry.DecodeJSON(kept); err != nil {
		return nil, fmt.Errorf("the kept connection %s cannot be decoded", id)
	}
	return kept, nil
}

// forgetConnections deletes the kept connections that no living token can need.
func (b *backend) forgetConnections(ctx context.Context, s logical.Storage) error {
	ids, err := s.List(ctx, connectionPrefix)
	if err != nil {
		return fmt.Errorf("listing the kept connections: %w", err)
	}
	for _, id := range ids {
		kept, err := loadConnection(ctx, s, id)
		if err != nil {
			return err
		}
		if kept == nil || b.clock.Since(kept.KeptAt) < connectionKept {
			continue
		}
		if err := s.Delete(ctx, connectionPrefix+id); err != nil {
			return fmt.Errorf("deleting a kept connection: %w", err)
		}
		b.clients.drop(kept.Connection)
	}
	return nil
}

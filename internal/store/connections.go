package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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

var keptConnections = NewRecords(ConnectionPrefix, func() *kept { return &kept{Connection: DefaultConnection("")} })

// keptID names the connection that a config had to an address.
func keptID(configName, address string) string {
	sum := sha256.Sum256([]byte(configName + " " + address)) // neither holds a space
	return hex.EncodeToString(sum[:16])
}

// KeepConnection stores a config's connection for the leases that need it.
func KeepConnection(ctx context.Context, s logical.Storage, configName string, conn palette.Connection) error {
	return keptConnections.Put(ctx, s, keptID(configName, transport.NormalAddress(conn.Address)), &kept{conn, time.Now().UTC()})
}

// ForgetConnections deletes the kept connections that no living credential can need, and returns
// them. API keys live as long as the mount lets a lease last, maxLease.
func ForgetConnections(ctx context.Context, s logical.Storage, maxLease time.Duration) (forgotten []palette.Connection, err error) {
	keep := max(ConnectionKept, maxLease+time.Hour)
	var errs []error
	err = keptConnections.Each(ctx, s, func(id string, found *kept, err error) {
		if err == nil && time.Since(found.KeptAt) >= keep {
			if err = keptConnections.Delete(ctx, s, id); err == nil {
				forgotten = append(forgotten, found.Connection)
			}
		}
		errs = append(errs, err)
	})
	return forgotten, errors.Join(append(errs, err)...)
}

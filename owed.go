package palette

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// debt is tokens that the engine owes their end: those of a lease whose revocation
// failed, or of a call whose caller had gone. It holds the connection, so that no later
// change of a config can keep it from being paid.
type debt struct {
	Connection  palette.Connection `json:"connection"`
	Tokens      []heldToken        `json:"tokens"`
	FirstFailed time.Time          `json:"first_failed"`
}

// owe lists tokens to be revoked later; an empty id gets one made.
func (b *backend) owe(ctx context.Context, s logical.Storage, id string, conn palette.Connection, tokens []heldToken) error {
	if id == "" {
		made, err := uuid.GenerateUUID()
		if err != nil {
			return fmt.Errorf("naming the list's entry: %w", err)
		}
		id = made
	}
	entry, err := logical.StorageEntryJSON(owedPrefix+id, debt{conn, tokens, b.clock.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encoding the tokens to be revoked: %w", err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("listing the tokens to be revoked: %w", err)
	}
	return nil
}

// loadDebt returns what is owed under an id, nil for nothing.
func loadDebt(ctx context.Context, s logical.Storage, id string) (*debt, error) {
	entry, err := s.Get(ctx, owedPrefix+id)
	if err != nil {
		return nil, fmt.Errorf("reading the tokens to be revoked: %w", err)
	}
	if entry == nil {
		return nil, nil
	}
	d := new(debt)
	if err := entry.DecodeJSON(d); err != nil {
		return nil, fmt.Errorf("the entry %s%s cannot be decoded", owedPrefix, id)
	}
	return d, nil
}

func deleteDebt(ctx context.Context, s logical.Storage, id string) error {
	if err := s.Delete(ctx, owedPrefix+id); err != nil {
		return fmt.Errorf("taking revoked tokens off the list: %w", err)
	}
	return nil
}

// payOwed tries to revoke what is owed. It runs each minute. An address that fails is
// left alone for the rest of the run: with Palette down each try takes request_timeout.
func (b *backend) payOwed(ctx context.Context, s logical.Storage) error {
	ids, err := s.List(ctx, owedPrefix)
	if err != nil {
		return fmt.Errorf("listing the tokens to be revoked: %w", err)
	}
	failing := make(map[string]bool)
	for _, id := range ids {
		d, err := loadDebt(ctx, s, id)
		if err != nil {
			return err
		}
		if d == nil || failing[d.Connection.Address] {
			continue
		}
		tokens := alive(d.Tokens, b.clock.Now())
		if len(tokens) > 0 {
			if err := b.endTokens(ctx, d.Connection, tokens); err != nil {
				// One that Palette refuses says nothing of the others.
				failing[d.Connection.Address] = palette.KindOf(err) != palette.Rejected
				b.Logger().Warn("tokens could not be revoked yet; trying again in a minute",
					"address", d.Connection.Address, "tokens", len(tokens), "first_failed", d.FirstFailed, "error", err)
				continue
			}
			b.Logger().Info("revoked tokens that could not be revoked before", "address", d.Connection.Address, "tokens", len(tokens), "first_failed", d.FirstFailed)
		}
		if err := deleteDebt(ctx, s, id); err != nil {
			return err
		}
	}
	return nil
}

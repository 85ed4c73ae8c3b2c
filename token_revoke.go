package palette

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// owedPatience is how long after a first failed revocation the engine still asks Vault
// to try again. Vault gives a lease up as irrevocable after six tries, so from then on
// the engine, which has the tokens on its list, answers with success.
const owedPatience = 30 * time.Second

// revokeToken ends all live tokens of a lease, at the address that issued them.
func (b *backend) revokeToken(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	l, err := leaseOf(req.Secret)
	if err != nil {
		return nil, err
	}
	tokens := alive(l.Tokens, b.clock.Now())
	if len(tokens) == 0 {
		return nil, nil
	}
	owed, err := loadDebt(ctx, req.Storage, l.ID)
	if err != nil {
		return nil, err
	}
	if owed != nil && b.clock.Since(owed.FirstFailed) >= owedPatience {
		b.Logger().Warn("a lease ends with tokens that Palette has not revoked yet; the engine goes on trying each minute",
			"role", l.Role, "address", l.Address, "tokens", len(tokens), "first_failed", owed.FirstFailed, "dead_by_themselves_at", lastDeath(tokens))
		return nil, nil
	}
	conn, err := b.connectionOf(ctx, req.Storage, l)
	if err != nil {
		return nil, err
	}
	failed := b.endTokens(ctx, conn, tokens)
	// From here on the caller may have gone; what is owed is written all the same.
	ctx = context.WithoutCancel(ctx)
	if failed == nil {
		if owed != nil {
			return nil, deleteDebt(ctx, req.Storage, l.ID)
		}
		return nil, nil
	}
	if owed == nil {
		if err := b.owe(ctx, req.Storage, l.ID, conn, tokens); err != nil {
			return nil, fmt.Errorf("%w; nor could the tokens be listed for later: %w", failed, err)
		}
	}
	return nil, logical.CodedError(http.StatusBadGateway, failed.Error()+
		"; the tokens are listed in Vault's storage and the engine tries to revoke them each minute until they are revoked or dead")
}

// endTokens revokes tokens of one session. A 401 says that the token which
// authenticated the call is dead, and nothing of the others, so the next one asks.
func (b *backend) endTokens(ctx context.Context, conn palette.Connection, tokens []heldToken) error {
	client, err := b.clientFor(conn)
	if err != nil {
		return err
	}
	left := slices.SortedFunc(slices.Values(tokens), func(x, y heldToken) int { return y.ExpiresAt.Compare(x.ExpiresAt) })
	for len(left) > 0 {
		err := client.Revoke(ctx, left[0].Token, secretsOf(left))
		var says *palette.Error
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &says):
			return err
		case says.Status == http.StatusUnauthorized:
			left = left[1:]
		case says.Kind == palette.Missing:
			b.Logger().Warn("this Palette has no endpoint to revoke tokens (404); they die by themselves",
				"address", conn.Address, "tokens", len(left), "dead_at", lastDeath(left))
			return nil
		case says.Kind == palette.Rejected && len(left) > 1:
			return b.endOneByOne(ctx, conn, left)
		default:
			return err
		}
	}
	return nil
}

// endOneByOne is for tokens that Palette refuses together, so that a bad one fails alone.
func (b *backend) endOneByOne(ctx context.Context, conn palette.Connection, tokens []heldToken) error {
	var failed error
	for _, t := range tokens {
		if err := b.endTokens(ctx, conn, []heldToken{t}); err != nil {
			failed = err
		}
	}
	return failed
}

func secretsOf(tokens []heldToken) []palette.Secret {
	out := make([]palette.Secret, len(tokens))
	for i, t := range tokens {
		out[i] = t.Token
	}
	return out
}

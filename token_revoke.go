package palette

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// owedPatience is how long after a first failed revocation the engine still asks Vault
// to try again. Vault gives a lease up as irrevocable after six tries, so from then on
// the engine, which has the tokens on its list, answers with success.
const owedPatience = 30 * time.Second

// revokeToken ends all live tokens of a lease, at the address that issued them. A lease of
// a shared session holds none: others use it.
func (b *backend) revokeToken(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	l, err := leaseOf(req.Secret)
	if err != nil {
		return nil, err
	}
	tokens := alive(l.Tokens, b.clock.Now())
	if len(tokens) == 0 {
		return nil, nil
	}
	a, err := b.accountOf(ctx, req.Storage, l)
	if err != nil {
		return nil, err
	}
	if b.System().Tainted() { // unmount or move: one lease at a time
		b.background.leave()
		if err = b.owe(ctx, req.Storage, l.ID, a, tokens); err != nil {
			return nil, err
		}
		b.flush(req.Storage)
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
	failed := b.revoke(ctx, a, tokens)
	// From here on the caller may have gone; what is owed is written all the same.
	ctx = context.WithoutCancel(ctx)
	if failed == nil {
		if owed != nil {
			return nil, deleteDebt(ctx, req.Storage, l.ID)
		}
		return nil, nil
	}
	if owed == nil {
		if err := b.owe(ctx, req.Storage, l.ID, a, tokens); err != nil {
			return nil, fmt.Errorf("%w; nor could the tokens be listed for later: %w", failed, err)
		}
	}
	return nil, logical.CodedError(http.StatusBadGateway, failed.Error()+
		"; the tokens are listed in Vault's storage and the engine tries to revoke them each minute until they are revoked or dead")
}

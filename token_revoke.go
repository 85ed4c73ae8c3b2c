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
// the engine, which has what the lease held on its list, answers with success.
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
	return nil, b.endLease(ctx, req.Storage, l, ending{
		what: fmt.Sprintf("tokens (%d)", len(tokens)), deadAt: lastDeath(tokens),
		debt: &debt{Connection: a.conn, Org: a.org, Email: a.email, Tokens: tokens},
		now:  func() error { return b.revoke(ctx, a, tokens) },
	})
}

// ending is what a lease holds that must end with it.
type ending struct {
	what   string
	deadAt time.Time // by itself
	debt   *debt     // as it is listed
	now    func() error
}

// endLease ends what a lease holds. Where Palette cannot be asked, or the mount is on its
// way out and leases come one by one, the list takes it over.
func (b *backend) endLease(ctx context.Context, s logical.Storage, l *lease, e ending) error {
	if b.System().Tainted() { // unmount or move
		b.background.leave()
		if err := b.oweDebt(ctx, s, l.ID, e.debt); err != nil {
			return err
		}
		b.flush(s)
		return nil
	}
	owed, err := loadDebt(ctx, s, l.ID)
	if err != nil {
		return err
	}
	if owed != nil && b.clock.Since(owed.FirstFailed) >= owedPatience {
		b.Logger().Warn("a lease ends, but Palette has not revoked yet what it held; the engine goes on trying each minute",
			"role", l.Role, "address", l.Address, "held", e.what, "first_failed", owed.FirstFailed, "dead_by_itself_at", e.deadAt)
		return nil
	}
	failed := e.now()
	// From here on the caller may have gone; what is owed is written all the same.
	ctx = context.WithoutCancel(ctx)
	if failed == nil {
		if owed != nil {
			return deleteDebt(ctx, s, l.ID)
		}
		return nil
	}
	if owed == nil {
		if err := b.oweDebt(ctx, s, l.ID, e.debt); err != nil {
			return fmt.Errorf("%w; nor could the %s be listed for later: %w", failed, e.what, err)
		}
	}
	return logical.CodedError(http.StatusBadGateway, fmt.Sprintf(
		"%s; the lease's %s: listed in Vault's storage, and the engine tries each minute until revoked or dead", failed, e.what))
}

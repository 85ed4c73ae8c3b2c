package palette

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// owedPatience is how long after a first failed revocation the engine still asks Vault
// to try again. Vault gives a lease up as irrevocable after six tries, so from then on
// the engine, which has what the lease held on its list, answers with success.
const owedPatience = 30 * time.Second

// revokeToken ends all live tokens of a lease, at the address that issued them, as endLease
// does. A lease of a shared session holds none: others use it.
func (b *backend) revokeToken(ctx context.Context, s logical.Storage, l *lease) (owed bool, err error) {
	tokens := alive(l.Tokens, time.Now())
	if len(tokens) == 0 {
		return false, nil
	}
	a, err := b.accountOf(ctx, s, l)
	if err != nil {
		return false, err
	}
	return b.endLease(ctx, s, l, ending{
		what: fmt.Sprintf("tokens (%d)", len(tokens)), deadAt: lastDeath(tokens),
		debt: a.debt(tokens),
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
// way out and leases come one by one, the list takes it over. owed: it is on the list.
func (b *backend) endLease(ctx context.Context, s logical.Storage, l *lease, e ending) (owed bool, err error) {
	if b.System().Tainted() { // unmount or move
		b.background.leave()
		if err = b.oweDebt(ctx, s, l.debtID(), e.debt); err != nil {
			return false, err
		}
		b.flush(s)
		return true, nil
	}
	listed, err := loadDebt(ctx, s, l.debtID())
	if err != nil {
		return false, err
	}
	if listed != nil && time.Since(listed.FirstFailed) >= owedPatience {
		b.Logger().Warn("a lease ends, but Palette has not revoked yet what it held; the engine goes on trying each minute",
			"role", l.Role, "address", l.Address, "held", e.what, "first_failed", listed.FirstFailed, "dead_by_itself_at", e.deadAt)
		return true, nil
	}
	failed := e.now()
	// From here on the caller may have gone; what is owed is written all the same.
	ctx = context.WithoutCancel(ctx)
	if failed == nil {
		if listed != nil {
			return false, b.takeOff(ctx, s, l.debtID())
		}
		return false, nil
	}
	if listed == nil {
		if err := b.oweDebt(ctx, s, l.debtID(), e.debt); err != nil {
			return false, fmt.Errorf("%w; nor could the %s be listed for later: %w", failed, e.what, err)
		}
	}
	return true, logical.CodedError(http.StatusBadGateway, fmt.Sprintf(
		"%s; the lease's %s: listed in Vault's storage, and the engine tries each minute until revoked or dead", failed, e.what))
}

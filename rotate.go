package palette

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/sethvargo/go-password/password"

	"vault-plugin-secrets-palette/internal/palette"
)

const (
	// passwordLength is the length of a password that no policy makes. Palette's own policy
	// asks for 14 characters of four classes (its administrators' documentation).
	passwordLength  = 32
	passwordDigits  = 6
	passwordSymbols = 4
	// minRotationPeriod is Vault's beat: the engine looks once a minute what is due.
	minRotationPeriod = time.Minute
	// firstRotationPause and lastRotationPause bound the pause after a rotation that failed;
	// it doubles with each.
	firstRotationPause = time.Minute
	lastRotationPause  = time.Hour
)

// symbols are those that go into JSON, a shell and a URL without trouble.
const symbols = "-_.!*+="

// rotate gives a config a new secret. It goes on when the caller goes.
func (b *backend) rotate(ctx context.Context, s logical.Storage, name string) error {
	busy := false
	b.rotations.with(name, func(st *rotationState) { busy, st.rotating = st.rotating, true })
	if busy {
		return logical.CodedError(http.StatusConflict, fmt.Sprintf("config %q is being rotated already", name))
	}
	done := make(chan error, 1)
	started := b.inBackground(func() {
		err := errPanic // until the outcome is known
		defer func() {
			b.rotations.with(name, func(st *rotationState) { st.rotating = false })
			done <- err
		}()
		err = b.rotateAlone(palette.Alone(ctx), s, name)
		b.rotationDone(palette.Alone(ctx), s, name, err)
	})
	if !started {
		b.rotations.with(name, func(st *rotationState) { st.rotating = false })
		return errEnding
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rotateAlone waits for the config's logins under way, lets no other begin, and rotates.
func (b *backend) rotateAlone(ctx context.Context, s logical.Storage, name string) error {
	if err := b.listLeftovers(ctx, s); err != nil {
		return err
	}
	gate := b.rotations.gate(name)
	if err := gate.Acquire(ctx, gateWidth); err != nil {
		return err
	}
	defer gate.Release(gateWidth)
	if err := b.settle(ctx, s, name); err != nil {
		return err
	}
	if len(b.rotations.unsettled(name, time.Now())) > 0 {
		return errors.New("an earlier rotation waits for the storage to take its outcome; no other begins before")
	}
	cfg, err := b.configs.get(ctx, s, name)
	if err != nil {
		return err
	}
	if cfg == nil {
		return refusal("there is no config %q", name)
	}
	if cfg.APIKey != "" {
		return b.rotateKey(ctx, s, name, cfg)
	}
	return b.rotatePassword(ctx, s, name, cfg)
}

// rotatePassword changes the password: ahead into the log, at Palette, into the config, out
// of the log. At each step the log or the config holds the password that works.
func (b *backend) rotatePassword(ctx context.Context, s logical.Storage, name string, cfg *config) error {
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		return err
	}
	// The login shows that the password is the right one, and authenticates the change:
	// whether Palette asks for that is not known. An earlier change that is still on its way
	// names this password too, and is refused once this one is through.
	token, err := b.sendLogin(ctx, s, cfg, cfg.login())
	if rejected(err) && b.rotations.unwatch(name) { // it has come
		if err = b.settle(ctx, s, name); err != nil {
			return err
		}
		if cfg, err = b.configs.get(ctx, s, name); err != nil {
			return err
		}
		token, err = b.sendLogin(ctx, s, cfg, cfg.login())
	}
	if err != nil {
		return err
	}
	defer b.discard(s, cfg.account(), held(token), "a rotation's login")
	fresh, err := b.newPassword(ctx, cfg.PasswordPolicy)
	if err != nil {
		return err
	}
	w := &passwordWAL{ConfigName: name, origin: cfg.origin(), Password: fresh, Way: wayOf(cfg), At: time.Now().UTC()}
	id, err := framework.PutWAL(ctx, s, walPassword, w)
	if err != nil {
		return fmt.Errorf("writing the new password ahead: %w", err)
	}
	b.rotations.addLeftover(name, id)
	err = client.ChangePassword(ctx, palette.Auth{Token: token.Raw}, palette.PasswordChange{Email: cfg.Email, Current: cfg.Password, New: fresh})
	switch palette.VerdictOf(err) {
	case palette.Done:
	case palette.NotDone, palette.AuthDead, palette.HeldBack: // Palette has not taken it
		b.rotations.resolve(name, id)
		b.forgetWAL(ctx, s, name, id)
		return err
	default: // it may have: find out
		b.Logger().Warn("the answer to a password change is missing; finding out which one works", "config", name, "error", err)
		if unknown := b.settle(ctx, s, name); unknown != nil {
			return unknown
		}
		if now, loadErr := b.configs.get(ctx, s, name); loadErr != nil || now == nil || now.Password != fresh {
			return err
		}
		return nil
	}
	if !b.storeRotated(ctx, s, name, cfg, w) {
		return errors.New("the password is changed at Palette, but the storage did not take the config; the new one is in the write-ahead log, and the engine goes on with it")
	}
	b.rotations.resolve(name, id)
	b.forgetWAL(ctx, s, name, id)
	return nil
}

// newPassword makes a password by the named policy of Vault or, without one, of all four
// classes.
func (b *backend) newPassword(ctx context.Context, policy string) (palette.Secret, error) {
	if policy != "" {
		text, err := b.System().GeneratePasswordFromPolicy(ctx, policy)
		if err != nil {
			return "", fmt.Errorf("making a password by the policy %q: %w", policy, err)
		}
		return palette.Secret(text), nil
	}
	generator, err := password.NewGenerator(&password.GeneratorInput{Symbols: symbols})
	if err != nil {
		return "", fmt.Errorf("making a password: %w", err)
	}
	for {
		text, err := generator.Generate(passwordLength, passwordDigits, passwordSymbols, false, true)
		if err != nil {
			return "", fmt.Errorf("making a password: %w", err)
		}
		// Letters are drawn from both cases, and once in four million times from one alone.
		if strings.ContainsFunc(text, unicode.IsUpper) && strings.ContainsFunc(text, unicode.IsLower) {
			return palette.Secret(text), nil
		}
	}
}

// writesConfigs tells whether this node may write what is replicated: on a performance
// secondary or a disaster recovery one that is the primary's.
func (b *backend) writesConfigs() bool {
	state := b.System().ReplicationState()
	if state.HasState(consts.ReplicationDRSecondary | consts.ReplicationPerformanceStandby) {
		return false
	}
	return b.System().LocalMount() || !state.HasState(consts.ReplicationPerformanceSecondary)
}

// rotateDue starts a config's rotation where rotation_period asks for one, else it settles
// what an earlier one has left behind. It does not wait for Palette.
func (b *backend) rotateDue(s logical.Storage, name string, cfg *config) {
	now := time.Now()
	switch {
	case !b.dueAt(name, cfg).After(now):
		b.inBackground(func() { b.rotateOnTime(s, name) })
	case len(b.rotations.unsettled(name, now)) > 0:
		b.inBackground(func() { _ = b.settleAlone(context.Background(), s, name) }) // it logs
	}
}

// never is after any time that a rotation could be due.
var never = time.Unix(1<<40, 0)

// dueAt is when a config's next rotation is due.
func (b *backend) dueAt(name string, cfg *config) time.Time {
	if cfg.RotationPeriod == 0 {
		return never
	}
	due := time.Unix(cfg.RotateFrom, 0).Add(cfg.RotationPeriod)
	b.rotations.with(name, func(st *rotationState) {
		if st.nextTry.After(due) {
			due = st.nextTry
		}
	})
	return due.UTC()
}

// rotateOnTime rotates and, where that fails, says when it is tried again.
func (b *backend) rotateOnTime(s logical.Storage, name string) {
	err := b.rotate(context.Background(), s, name)
	var busy logical.HTTPCodedError
	if errors.As(err, &busy) && busy.Code() == http.StatusConflict {
		return
	}
	b.rotations.with(name, func(st *rotationState) {
		if err == nil {
			st.failures, st.nextTry = 0, time.Time{}
			return
		}
		st.nextTry = time.Now().Add(min(firstRotationPause<<min(st.failures, 10), lastRotationPause))
		st.failures++
		b.Logger().Error("a rotation failed", "config", name, "next_try", st.nextTry.UTC(), "failures", st.failures, "error", err)
	})
	if err == nil {
		b.Logger().Info("rotated", "config", name)
	}
}

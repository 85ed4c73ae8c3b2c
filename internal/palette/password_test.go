package palette_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/answer"
	"vault-plugin-secrets-palette/internal/palette/wiretest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const freshPassword = "Brand-New-9-Password"

func changeOf(current, fresh palette.Secret) palette.PasswordChange {
	return palette.PasswordChange{Email: palettetest.DefaultUser.Email, Current: current, New: fresh}
}

func password(r *wiretest.Rig) string {
	u, _ := r.Palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
	return u.Password
}

func TestChangePassword(t *testing.T) {
	old := palettetest.DefaultUser.Password
	for _, c := range []struct {
		name           string
		current, fresh palette.Secret
		dead           bool
		code           string // Palette's, empty for a success
	}{
		{"works", palette.Secret(old), freshPassword, false, ""},
		{"wrong current one", "Wrong-Password-14", freshPassword, false, "InvalidCurrentPassword"},
		{"against the policy", palette.Secret(old), "short", false, "PasswordPolicyViolation"},
		{"the same", palette.Secret(old), palette.Secret(old), false, "PasswordReused"},
		{"dead token", palette.Secret(old), freshPassword, true, "Unauthorized"},
	} {
		wiretest.InBubble(t, c.name, func(t *testing.T) {
			r := wiretest.New(t, palettetest.AllowLiveTokens(), palettetest.WithPasswordChangeNeedsAuth())
			auth := r.Auth(t)
			if c.dead {
				r.Palette.EndSession(auth.Token.Reveal())
			}
			err := r.ChangePassword(t.Context(), auth, changeOf(c.current, c.fresh))
			assert.Equal(t, 1, r.Palette.Calls(palettetest.PasswordChange))
			if c.code == "" {
				require.NoError(t, err)
				assert.Equal(t, c.fresh.Reveal(), password(r))
				return
			}
			var e *answer.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, []any{answer.Rejected, c.code}, []any{e.Kind, e.Code})
			assert.Equal(t, old, password(r))
		})
	}
}

func TestChangePasswordWithoutAuth(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.New(t)
		require.NoError(t, r.ChangePassword(t.Context(), palette.Auth{}, changeOf(palette.Secret(palettetest.DefaultUser.Password), freshPassword)))
		assert.Equal(t, freshPassword, password(r))
	})
}

// Sent again, a change that worked would be refused, and be taken for one that did not.
func TestPasswordChangeIsNotSentAgainOnceItMayHaveArrived(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			fault   palettetest.Fault
			kind    answer.Kind
			changed bool
		}{
			{palettetest.Fault{DropAfter: true}, answer.Unreachable, true},
			{palettetest.Fault{Drop: true}, answer.Unreachable, false},
			{palettetest.Fault{Status: 500}, answer.Unavailable, false},
			{palettetest.Fault{Status: 502}, answer.Unavailable, false},
			{palettetest.Fault{Status: 503}, answer.Unavailable, false},
			{palettetest.Fault{Status: 504}, answer.Unavailable, false},
			{palettetest.Fault{Garbage: true}, answer.Foreign, false},
			{palettetest.Fault{Foreign: true, Status: 504, AfterWork: true}, answer.Foreign, true},
		} {
			r := wiretest.New(t, palettetest.AllowLiveTokens())
			auth := r.Auth(t)
			r.Palette.Inject(palettetest.PasswordChange, c.fault)
			err := r.ChangePassword(t.Context(), auth, changeOf(palette.Secret(palettetest.DefaultUser.Password), freshPassword))
			assert.Equal(t, c.kind, answer.KindOf(err), "%+v", c.fault)
			assert.Equal(t, 1, r.Palette.Calls(palettetest.PasswordChange), "%+v", c.fault)
			assert.Equal(t, c.changed, password(r) == freshPassword, "%+v", c.fault)
		}
	})
}

// A 429 says that nothing was done.
func TestPasswordChangeIsSentAgainAfterA429(t *testing.T) {
	wiretest.Bubble(t, func(t *testing.T) {
		r := wiretest.Pausing(t, palettetest.AllowLiveTokens())
		auth := r.Auth(t)
		r.Palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 429, RetryAfter: "7", Times: 1})
		require.NoError(t, wiretest.After(t, 7*time.Second, func() error {
			return r.ChangePassword(t.Context(), auth, changeOf(palette.Secret(palettetest.DefaultUser.Password), freshPassword))
		}))
		assert.Equal(t, freshPassword, password(r))
	})
}

package palette

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

const freshPassword = "Brand-New-9-Password"

func changeOf(current, fresh Secret) PasswordChange {
	return PasswordChange{Email: palettetest.DefaultUser.Email, Current: current, New: fresh}
}

func (r *rig) password() string {
	u, _ := r.palette.User(palettetest.DefaultUser.Email, palettetest.DefaultUser.Org)
	return u.Password
}

func TestChangePassword(t *testing.T) {
	old := palettetest.DefaultUser.Password
	for _, c := range []struct {
		name           string
		current, fresh Secret
		dead           bool
		code           string // Palette's, empty for a success
	}{
		{"works", Secret(old), freshPassword, false, ""},
		{"wrong current one", "Wrong-Password-14", freshPassword, false, "InvalidCurrentPassword"},
		{"against the policy", Secret(old), "short", false, "PasswordPolicyViolation"},
		{"the same", Secret(old), Secret(old), false, "PasswordReused"},
		{"dead token", Secret(old), freshPassword, true, "Unauthorized"},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			r := newRig(t, palettetest.AllowLiveTokens(), palettetest.WithPasswordChangeNeedsAuth())
			auth := r.auth(t)
			if c.dead {
				r.palette.EndSession(auth.Token.Reveal())
			}
			err := r.ChangePassword(t.Context(), auth, changeOf(c.current, c.fresh))
			assert.Equal(t, 1, r.palette.Calls(palettetest.PasswordChange))
			if c.code == "" {
				require.NoError(t, err)
				assert.Equal(t, c.fresh.Reveal(), r.password())
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, []any{Rejected, c.code}, []any{e.Kind, e.Code})
			assert.Equal(t, old, r.password())
		})
	}
}

func TestChangePasswordWithoutAuth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		require.NoError(t, r.ChangePassword(t.Context(), Auth{}, changeOf(Secret(palettetest.DefaultUser.Password), freshPassword)))
		assert.Equal(t, freshPassword, r.password())
	})
}

// Sent again, a change that worked would be refused, and be taken for one that did not.
func TestPasswordChangeIsNotSentAgainOnceItMayHaveArrived(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			fault   palettetest.Fault
			kind    Kind
			changed bool
		}{
			{palettetest.Fault{DropAfter: true}, Unreachable, true},
			{palettetest.Fault{Drop: true}, Unreachable, false},
			{palettetest.Fault{Status: 500}, Unavailable, false},
			{palettetest.Fault{Status: 502}, Unavailable, false},
			{palettetest.Fault{Status: 503}, Unavailable, false},
			{palettetest.Fault{Status: 504}, Unavailable, false},
			{palettetest.Fault{Garbage: true}, Foreign, false},
			{palettetest.Fault{Foreign: true, Status: 504, AfterWork: true}, Foreign, true},
		} {
			r := newRig(t, palettetest.AllowLiveTokens())
			auth := r.auth(t)
			r.palette.Inject(palettetest.PasswordChange, c.fault)
			err := r.ChangePassword(t.Context(), auth, changeOf(Secret(palettetest.DefaultUser.Password), freshPassword))
			assert.Equal(t, c.kind, KindOf(err), "%+v", c.fault)
			assert.Equal(t, 1, r.palette.Calls(palettetest.PasswordChange), "%+v", c.fault)
			assert.Equal(t, c.changed, r.password() == freshPassword, "%+v", c.fault)
		}
	})
}

// A 429 says that nothing was done.
func TestPasswordChangeIsSentAgainAfterA429(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := pausing(t, palettetest.AllowLiveTokens())
		auth := r.auth(t)
		r.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 429, RetryAfter: "7", Times: 1})
		require.NoError(t, after(t, 7*time.Second, func() error {
			return r.ChangePassword(t.Context(), auth, changeOf(Secret(palettetest.DefaultUser.Password), freshPassword))
		}))
		assert.Equal(t, freshPassword, r.password())
	})
}

package rootcred

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/store"
)

const (
	// MinRotationPeriod is the pause between two runs of Vault's periodic function, in which the
	// engine looks which rotations are due.
	MinRotationPeriod = time.Minute
	// firstPause and lastPause bound the pause after a rotation that failed. The pause doubles with
	// each failure.
	firstPause = time.Minute
	lastPause  = time.Hour
)

// WritesConfigs tells whether this node may write what Vault replicates. On a performance secondary
// or a disaster recovery secondary the primary writes.
func (m *Manager) WritesConfigs() bool {
	replication := m.System().ReplicationState()
	if replication.HasState(consts.ReplicationDRSecondary | consts.ReplicationPerformanceStandby) {
		return false
	}
	return m.System().LocalMount() || !replication.HasState(consts.ReplicationPerformanceSecondary)
}

// tend starts a config's rotation where rotation_period asks for it, else the recovery of an
// interrupted rotation. tend does not wait for Palette.
func (m *Manager) tend(s logical.Storage, name string, cfg *store.Config) {
	switch {
	case !m.DueAt(name, cfg).After(time.Now()):
		m.Tasks.StartFollowUp(func() { m.rotateOnTime(s, name) })
	case len(m.unresolved(name)) > 0:
		m.Tasks.StartFollowUp(func() { _ = m.recoverAlone(context.Background(), s, name) }) // it logs
	}
}

// never is after any time that a rotation could be due.
var never = time.Unix(1<<40, 0)

// DueAt is when a config's next rotation is due; far in the future without rotation_period.
func (m *Manager) DueAt(name string, cfg *store.Config) time.Time {
	if cfg.RotationPeriod == 0 {
		return never
	}
	due := time.Unix(cfg.RotateFrom, 0).Add(cfg.RotationPeriod)
	if by := time.Unix(cfg.RotateBy, 0); cfg.RotateBy != 0 && by.Before(due) {
		due = by
	}
	m.with(name, func(st *state) {
		if st.nextTry.After(due) {
			due = st.nextTry
		}
	})
	return due.UTC()
}

// rotateOnTime rotates and, where the rotation fails, schedules the next try.
func (m *Manager) rotateOnTime(s logical.Storage, name string) {
	err := m.Rotate(context.Background(), s, name)
	var busy logical.HTTPCodedError
	if errors.As(err, &busy) && busy.Code() == http.StatusConflict {
		return
	}
	m.with(name, func(st *state) {
		if err == nil {
			st.failures, st.nextTry = 0, time.Time{}
			return
		}
		st.nextTry = time.Now().Add(min(firstPause<<min(st.failures, 10), lastPause))
		st.failures++
		m.Logger().Error(MsgRotationFailed, "config", name, "next_try", st.nextTry.UTC(), "failures", st.failures, "error", err)
	})
	if err == nil {
		m.Logger().Info(MsgRotated, "config", name)
	}
}

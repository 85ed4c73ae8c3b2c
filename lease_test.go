package palettesecrets

import (
	"time"

	"vault-plugin-secrets-palette/internal/lease"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// heldLease is a lease as Vault keeps it.
type heldLease struct {
	w      *world
	secret *logical.Secret
	// data is what the last read or renewal returned.
	data  fields
	issue *logical.Response
}

// creds reads a credential and keeps its lease.
func (w *world) creds(role string, data ...fields) *heldLease {
	w.t.Helper()
	resp := w.read("creds/"+role, data...)
	require.NotNil(w.t, resp.Secret)
	l := &heldLease{w: w, secret: resp.Secret, data: resp.Data, issue: resp}
	l.secret.IssueTime = time.Now()
	return l
}

func (l *heldLease) token() string { return l.data["token"].(string) }

// renew renews and, where that works, keeps what Vault would.
func (l *heldLease) renew(increment ...time.Duration) error {
	l.w.t.Helper()
	secret := *l.secret
	secret.Increment = append(increment, 0)[0]
	secret.InternalData = viaJSON(l.w.t, l.secret.InternalData)
	req := logical.RenewRequest("creds/app", &secret, l.data)
	req.Storage = l.w.storage
	resp, err := l.w.b.HandleRequest(l.w.t.Context(), req)
	if err != nil {
		l.w.noSecret("a renewal's error", err.Error())
		return err
	}
	require.False(l.w.t, resp.IsError(), "Vault prints an error response of a renewal as a Go struct")
	l.secret, l.data = resp.Secret, resp.Data
	l.secret.IssueTime = secret.IssueTime
	return nil
}

func (l *heldLease) revoke() error {
	l.w.t.Helper()
	secret := *l.secret
	secret.InternalData = viaJSON(l.w.t, l.secret.InternalData)
	req := logical.RevokeRequest("creds/app", &secret, l.data)
	req.Storage = l.w.storage
	resp, err := l.w.b.HandleRequest(l.w.t.Context(), req)
	if err != nil {
		l.w.noSecret("a revocation's error", err.Error())
		return err
	}
	require.False(l.w.t, resp.IsError())
	return nil
}

func (l *heldLease) mustRenew() {
	l.w.t.Helper()
	require.NoError(l.w.t, l.renew())
}

func (l *heldLease) mustRevoke() {
	l.w.t.Helper()
	require.NoError(l.w.t, l.revoke())
}

// tokens are the live tokens that the lease holds, the newest last.
func (l *heldLease) tokens() []string {
	l.w.t.Helper()
	kept, err := lease.From(&logical.Secret{InternalData: viaJSON(l.w.t, l.secret.InternalData)})
	require.NoError(l.w.t, err)
	var out []string
	for _, token := range kept.Tokens {
		out = append(out, token.Token.Reveal())
	}
	return out
}

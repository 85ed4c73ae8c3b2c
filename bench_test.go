package palettesecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// The engine's own cost of a read, a renewal and a revocation, against a stand-in
// without delay: what Vault adds is not in it. In real time.
func benchmarkWorld(b *testing.B) (*backend, logical.Storage) {
	b.Helper()
	p := palettetest.New(b, palettetest.AllowLiveTokens())
	s := &logical.InmemStorage{}
	engine, err := Factory(b.Context(), &logical.BackendConfig{
		System: &logical.StaticSystemView{DefaultLeaseTTLVal: month, MaxLeaseTTLVal: month}, StorageView: s,
	})
	require.NoError(b, err)
	u := palettetest.DefaultUser
	mustHandle(b, engine, &logical.Request{Operation: create, Path: "config", Storage: s, Data: fields{
		"address": p.URL(), "email": u.Email, "org": u.Org, "password": u.Password, "rate_limit": 0,
	}})
	mustHandle(b, engine, &logical.Request{Operation: create, Path: "roles/app", Storage: s, Data: fields{"renewable": true}})
	mustHandle(b, engine, &logical.Request{Operation: create, Path: "roles/shared", Storage: s, Data: fields{"shared": true}})
	b.ReportAllocs()
	return engine.(*backend), s
}

func mustHandle(b *testing.B, engine logical.Backend, req *logical.Request) *logical.Response {
	b.Helper()
	resp, err := engine.HandleRequest(b.Context(), req)
	require.NoError(b, err)
	require.False(b, resp.IsError(), "%v", resp)
	return resp
}

func BenchmarkRead(b *testing.B) {
	engine, s := benchmarkWorld(b)
	for b.Loop() {
		mustHandle(b, engine, &logical.Request{Operation: read, Path: "creds/app", Storage: s})
	}
}

func BenchmarkSharedRead(b *testing.B) {
	engine, s := benchmarkWorld(b)
	mustHandle(b, engine, &logical.Request{Operation: read, Path: "creds/shared", Storage: s}) // logs in
	for b.Loop() {
		mustHandle(b, engine, &logical.Request{Operation: read, Path: "creds/shared", Storage: s})
	}
}

func BenchmarkSharedKeyRead(b *testing.B) {
	engine, s := benchmarkWorld(b)
	mustHandle(b, engine, &logical.Request{Operation: logical.CreateOperation, Path: "roles/one", Storage: s, Data: map[string]any{"credential_type": "api_key", "shared": true}})
	mustHandle(b, engine, &logical.Request{Operation: read, Path: "creds/one", Storage: s}) // makes the key
	for b.Loop() {
		mustHandle(b, engine, &logical.Request{Operation: read, Path: "creds/one", Storage: s})
	}
}

func BenchmarkRenewal(b *testing.B) {
	engine, s := benchmarkWorld(b)
	issued := mustHandle(b, engine, &logical.Request{Operation: read, Path: "creds/app", Storage: s}).Secret
	issued.IssueTime = time.Now()
	for b.Loop() {
		secret := *issued // each renewal is the lease's first, so that each calls Palette
		req := logical.RenewRequest("creds/app", &secret, nil)
		req.Storage = s
		mustHandle(b, engine, req)
	}
}

func BenchmarkRevocation(b *testing.B) {
	engine, s := benchmarkWorld(b)
	for b.Loop() {
		b.StopTimer()
		secret := mustHandle(b, engine, &logical.Request{Operation: read, Path: "creds/app", Storage: s}).Secret
		b.StartTimer()
		req := logical.RevokeRequest("creds/app", secret, nil)
		req.Storage = s
		mustHandle(b, engine, req)
	}
}

package heap

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	palettesecrets "vault-plugin-secrets-palette"
	"vault-plugin-secrets-palette/e2e/bench/bare"
	"vault-plugin-secrets-palette/e2e/bench/plain"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// engine is a Vault secrets engine with storage in memory.
type engine struct {
	backend logical.Backend
	storage logical.Storage
	path    string
}

func newEngine(ctx context.Context, factory logical.Factory, path string) (*engine, error) {
	const month = 32 * 24 * time.Hour
	e := &engine{storage: &logical.InmemStorage{}, path: path}
	var err error
	e.backend, err = factory(ctx, &logical.BackendConfig{
		System:      &logical.StaticSystemView{DefaultLeaseTTLVal: month, MaxLeaseTTLVal: month},
		StorageView: e.storage,
	})
	if err != nil {
		return nil, fmt.Errorf("making the engine: %w", err)
	}
	return e, nil
}

func newFloor(ctx context.Context, _ Options) (subject, error) {
	return newEngine(ctx, plain.Factory(0), "creds/any")
}

func newWait(ctx context.Context, o Options) (subject, error) {
	return newEngine(ctx, plain.Factory(o.Wait), "creds/any")
}

// newOwn makes the real engine, which logs in to the stand-in.
func newOwn(ctx context.Context, o Options) (subject, error) {
	e, err := newEngine(ctx, palettesecrets.Factory, "creds/app")
	if err != nil {
		return nil, err
	}
	user := palettetest.DefaultUser
	_, err = e.handle(ctx, &logical.Request{Operation: logical.CreateOperation, Path: "config", Data: map[string]any{
		"address": o.Address, "email": user.Email, "org": user.Org, "password": user.Password, "rate_limit": 0,
	}})
	if err != nil {
		return nil, err
	}
	_, err = e.handle(ctx, &logical.Request{Operation: logical.CreateOperation, Path: "roles/app", Data: map[string]any{"renewable": true}})
	return e, err
}

// handle makes an error of a refusal too.
func (e *engine) handle(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	req.Storage = e.storage
	resp, err := e.backend.HandleRequest(ctx, req)
	if err == nil {
		err = resp.Error() // nil for a nil response
	}
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", req.Operation, req.Path, err)
	}
	return resp, nil
}

func (e *engine) issue(ctx context.Context) (func(context.Context) error, error) {
	resp, err := e.handle(ctx, &logical.Request{Operation: logical.ReadOperation, Path: e.path})
	if err != nil {
		return nil, err
	}
	if resp == nil || resp.Secret == nil {
		return nil, fmt.Errorf("the read of %s brought no lease", e.path)
	}
	return func(ctx context.Context) error {
		_, err := e.handle(ctx, logical.RevokeRequest(e.path, resp.Secret, nil))
		return err
	}, nil
}

func (e *engine) close() { e.backend.Cleanup(context.Background()) }

// calls are those of the bare client.
type calls struct{ bare.Client }

func newDirect(_ context.Context, o Options) (subject, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: o.Clients}
	return &calls{bare.Client{Address: o.Address, HTTP: &http.Client{Transport: transport}}}, nil
}

func (c *calls) issue(ctx context.Context) (func(context.Context) error, error) {
	token, err := c.Login(ctx)
	return func(ctx context.Context) error { return c.Revoke(ctx, token) }, err
}

func (c *calls) close() { c.HTTP.CloseIdleConnections() }

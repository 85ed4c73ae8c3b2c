// Package plain is a Vault secrets engine that costs as little as one can: its leased
// read does nothing, or only waits. What a read of it takes is Vault's own part in a read.
package plain

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// Life is how long a lease lasts: as long as one on a token of Palette's default.
	Life = 15 * time.Minute
	// RevokedPath is the path whose read returns how many leases the mount has revoked.
	RevokedPath = "revoked"
	// RevokedField is that number in its answer.
	RevokedField = "count"

	secretType = "plain"
	// tokenLength is that of the stand-in's: an answer and a lease of the same size as the engine's.
	tokenLength = 357
)

type engine struct {
	*framework.Backend
	wait    time.Duration
	token   string
	revoked atomic.Int64
}

// Factory makes the backend whose reads of creds/<any> and revocations take wait; 0 does
// nothing at all.
func Factory(wait time.Duration) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		e := &engine{wait: wait, token: strings.Repeat("t", tokenLength)}
		e.Backend = &framework.Backend{
			BackendType: logical.TypeLogical,
			Secrets:     []*framework.Secret{{Type: secretType, Renew: e.renew, Revoke: e.revoke}},
			Paths: []*framework.Path{
				{
					Pattern:    "creds/" + framework.GenericNameRegex("name"),
					Fields:     map[string]*framework.FieldSchema{"name": {Type: framework.TypeString}},
					Operations: map[logical.Operation]framework.OperationHandler{logical.ReadOperation: &framework.PathOperation{Callback: e.read}},
				},
				{
					Pattern:    RevokedPath,
					Operations: map[logical.Operation]framework.OperationHandler{logical.ReadOperation: &framework.PathOperation{Callback: e.count}},
				},
			},
		}
		if err := e.Setup(ctx, conf); err != nil {
			return nil, err
		}
		return e, nil
	}
}

// read answers what the real engine's read does, in form and size. Where it waits, that is a read with a login; else
// a read of a shared session, whose lease holds no token.
func (e *engine) read(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	if err := e.pause(ctx); err != nil {
		return nil, err
	}
	id, err := uuid.GenerateUUID()
	if err != nil {
		return nil, err
	}
	const address, org, tokenID = "http://127.0.0.1:40000", "example", "00000000000000000000000000000000"
	expires := time.Now().Add(Life).UTC().Format(time.RFC3339)
	shared, tokens := true, []any{}
	if e.wait > 0 {
		shared, tokens = false, []any{map[string]any{"token": e.token, "expires_at": expires}}
	}
	resp := e.Secret(secretType).Response(
		map[string]any{"token": e.token, "token_id": tokenID, "expires_at": expires, "address": address, "org": org},
		map[string]any{
			"id": id, "role": d.Get("name"), "config_name": "default", "address": address, "org": org,
			"email": "vault@example.com", "ttl": 0, "shared": shared, "tokens": tokens,
			"key": map[string]any{"uid": "", "name": "", "key": "", "expires_at": time.Time{}.Format(time.RFC3339)},
		})
	resp.Secret.TTL, resp.Secret.MaxTTL = Life, Life
	return resp, nil
}

// renew is there so that the leases are renewable, as the real ones are.
func (e *engine) renew(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Secret: req.Secret}, nil
}

func (e *engine) revoke(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	if err := e.pause(ctx); err != nil {
		return nil, err
	}
	e.revoked.Add(1)
	return nil, nil
}

func (e *engine) count(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Data: map[string]any{RevokedField: e.revoked.Load()}}, nil
}

func (e *engine) pause(ctx context.Context) error {
	if e.wait == 0 {
		return nil
	}
	timer := time.NewTimer(e.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

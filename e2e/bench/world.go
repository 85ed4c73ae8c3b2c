package bench

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-palette/e2e/bench/bare"
	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	// paletteLatency is how long the stand-in, and the engine that only waits, take.
	paletteLatency = 20 * time.Millisecond
	// paletteLimit is what Palette allows for one IP address and resource, in calls a second;
	// at once it takes 50.
	paletteLimit = palettetest.PublishedRate
	// clientTimeout is that of a consumer: the default of Vault's client.
	clientTimeout = 60 * time.Second

	ownMount, floorMount, waitMount = "palette", "floor", "wait"
	ownRole, sharedRole, keyRole    = "own", "shared", "key"
)

// world is a Vault with three engines, ours, "floor" and "wait", and a stand-in.
type world struct {
	vault   *vaulttest.Server
	palette *palettetest.Server
	api     *api.Client
	// direct calls the stand-in.
	direct *bare.Client
	pools  []*http.Transport
}

// newWorld starts a world for up to so many clients. Neither the stand-in nor the engine
// limits calls yet.
func newWorld(ctx context.Context, programs *programs, clients int) (*world, error) {
	w := new(world)
	err := w.start(ctx, programs, clients)
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) start(ctx context.Context, programs *programs, clients int) error {
	var err error
	if w.palette, err = palettetest.Start(palettetest.WithLatency(paletteLatency)); err != nil {
		return err
	}
	if w.vault, err = vaulttest.Start(ctx, vaulttest.Options{LogLevel: "warn"}); err != nil {
		return err
	}
	w.connect(clients)
	if w.api, err = w.client(w.pools[0]); err != nil {
		return err
	}
	if err = w.mountPlain(ctx, programs.engine); err != nil {
		return err
	}
	if err = w.vault.Register(ctx); err != nil {
		return err
	}
	if err = w.vault.Mount(ctx, ownMount); err != nil {
		return err
	}
	if err = w.limit(ctx, 0); err != nil {
		return err
	}
	for role, fields := range map[string]map[string]any{
		ownRole: {"renewable": true}, sharedRole: {"renewable": true, "shared": true},
		keyRole: {"renewable": true, "shared": true, "credential_type": "api_key"},
	} {
		if err = w.write(ctx, ownMount+"/roles/"+role, fields); err != nil {
			return err
		}
	}
	return nil
}

// close ends all processes.
func (w *world) close() {
	for _, pool := range w.pools {
		pool.CloseIdleConnections()
	}
	if w.vault != nil {
		w.vault.Stop()
	}
	if w.palette != nil {
		w.palette.Close()
	}
}

// connect makes the pools of connections, to Vault and to the stand-in. A client that has
// fewer idle connections than it makes calls at a time measures how fast it connects.
func (w *world) connect(clients int) {
	for range 2 {
		w.pools = append(w.pools, &http.Transport{MaxIdleConnsPerHost: clients, IdleConnTimeout: clientTimeout})
	}
	w.direct = &bare.Client{Address: w.palette.URL(), HTTP: &http.Client{Transport: w.pools[1], Timeout: clientTimeout}}
}

// client is a consumer's, on a pool of its own making, and repeats nothing: each error is
// seen.
func (w *world) client(pool *http.Transport) (*api.Client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, fmt.Errorf("making Vault's client: %w", config.Error)
	}
	config.Address, config.AgentAddress, config.MaxRetries, config.Timeout = w.vault.Address, "", 0, clientTimeout
	config.HttpClient.Transport = pool
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("making Vault's client: %w", err)
	}
	client.SetToken(w.vault.Token)
	client.ClearNamespace()
	return client, nil
}

// mountPlain mounts the plain engine twice, in a process each.
func (w *world) mountPlain(ctx context.Context, program string) error {
	name := filepath.Base(program)
	sum, err := w.vault.AddPlugin(program, name)
	if err != nil {
		return err
	}
	for mount, wait := range map[string]time.Duration{floorMount: 0, waitMount: paletteLatency} {
		err = w.api.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
			Name: mount, Type: api.PluginTypeSecrets, Command: name, Args: []string{"-wait=" + wait.String()}, SHA256: sum,
		})
		if err != nil {
			return fmt.Errorf("registering %s: %w", mount, err)
		}
		if err = w.api.Sys().MountWithContext(ctx, mount, &api.MountInput{Type: mount}); err != nil {
			return fmt.Errorf("mounting %s: %w", mount, err)
		}
	}
	return nil
}

// limit makes the stand-in and the engine limit the calls a second; 0 is no limit. It
// returns when the calls that it made itself count no more.
func (w *world) limit(ctx context.Context, perSecond int) error {
	user := palettetest.DefaultUser
	err := w.write(ctx, ownMount+"/config", map[string]any{
		"address": w.palette.URL(), "email": user.Email, "org": user.Org, "password": user.Password, "rate_limit": perSecond,
	})
	if err != nil {
		return err
	}
	w.palette.SetRateLimit(perSecond)
	if perSecond == 0 {
		return nil
	}
	return w.fullBuckets(ctx)
}

// fullBuckets waits until the calls so far count no more, at the stand-in and in the engine, whose
// buckets fill a little more slowly.
func (w *world) fullBuckets(ctx context.Context) error {
	return vaulttest.Pause(ctx, palettetest.BurstFactor*time.Second*11/10)
}

func (w *world) write(ctx context.Context, path string, fields map[string]any) error {
	if _, err := w.api.Logical().WriteWithContext(ctx, path, fields); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// op is one call, of whatever is measured.
type op func(ctx context.Context) error

// read returns a leased read, which brings a credential in a field.
func (w *world) read(path, field string) op {
	return func(ctx context.Context) error {
		secret, err := w.api.Logical().ReadWithContext(ctx, path)
		if err != nil {
			return err
		}
		if secret == nil || secret.LeaseID == "" || secret.Data[field] == nil || secret.Data[field] == "" {
			return fmt.Errorf("the read of %s brought no %s under a lease", path, field)
		}
		return nil
	}
}

// login is the direct call to the stand-in.
func (w *world) login(ctx context.Context) error {
	_, err := w.direct.Login(ctx)
	return err
}

// until asks every now and then whether something is done, and tells whether it was
// within the time given.
func until(ctx context.Context, within time.Duration, done func() (bool, error)) (bool, error) {
	const often = 20 * time.Millisecond
	for deadline := time.Now().Add(within); ; {
		is, err := done()
		if is || err != nil {
			return is, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := vaulttest.Pause(ctx, often); err != nil {
			return false, err
		}
	}
}

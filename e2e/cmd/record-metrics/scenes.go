package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// length is that of the run.
const length = 5 * time.Minute

// scenes are what happens beside the steady load, and when it begins.
func (w *world) scenes() []scene {
	first := palettetest.DefaultUser
	return []scene{
		{35 * time.Second, "Palette answers some refreshes and revocations 503", func(context.Context) error {
			w.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503, Times: 6})
			w.palette.Inject(palettetest.Revoke, palettetest.Fault{Status: 503, Times: 6})
			return nil
		}},
		{55 * time.Second, "120 consumers read at once", func(ctx context.Context) error {
			together(120, func() { w.load.consume(ctx, "app", 0) })
			return nil
		}},
		{85 * time.Second, "others at the same address use up Palette's limit", func(ctx context.Context) error {
			return w.others(ctx, 15*time.Second)
		}},
		{110 * time.Second, "Palette is unreachable", func(context.Context) error { w.palette.Down(true); return nil }},
		{145 * time.Second, "Palette is back", func(context.Context) error { w.palette.Down(false); return nil }},
		{170 * time.Second, "the password is rotated", func(ctx context.Context) error {
			return w.load.write(ctx, "rotate-root", nil)
		}},
		{185 * time.Second, "a rotation that Palette refuses", func(ctx context.Context) error {
			w.palette.Inject(palettetest.PasswordChange, palettetest.Fault{Status: 403, Times: 1})
			if w.load.write(ctx, "rotate-root", nil) == nil {
				return fmt.Errorf("the rotation should have been refused")
			}
			return nil
		}},
		{200 * time.Second, "the second account's password is changed at Palette", func(context.Context) error {
			w.palette.SetPassword(second.Email, second.Org, first.Password)
			return nil
		}},
		{250 * time.Second, "the config gets that password", func(ctx context.Context) error {
			return w.load.write(ctx, "config/second", map[string]any{"password": first.Password})
		}},
	}
}

type scene struct {
	at    time.Duration
	title string
	begin func(context.Context) error
}

// play runs the load and the scenes to the run's end, and tells when each scene begins.
func (w *world) play(ctx context.Context, told io.Writer) error {
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(length))
	defer cancel()
	var steady sync.WaitGroup
	for role, clients := range map[string]int{"app": 6, "fleet": 8, "key": 2, "second": 1} {
		for range clients {
			steady.Go(func() {
				for ctx.Err() == nil {
					w.load.consume(ctx, role, 10*time.Second)
				}
			})
		}
	}
	for _, s := range w.scenes() {
		if vaulttest.Pause(ctx, time.Until(began.Add(s.at))) != nil {
			break
		}
		fmt.Fprintf(told, "%d\t%s\n", time.Now().UnixMilli(), s.title)
		if err := s.begin(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	steady.Wait()
	return nil
}

// others call Palette past the engine, in bursts that take its limit.
func (w *world) others(ctx context.Context, how time.Duration) error {
	for end := time.Now().Add(how); time.Now().Before(end); {
		for range limit {
			if resp, err := http.Get(w.palette.URL() + "/v1/users/info"); err == nil { // without a token: what counts is the call
				resp.Body.Close()
			}
		}
		if err := vaulttest.Pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// load is what consumers do. What fails is seen in the metrics.
type load struct{ client *api.Client }

func (l *load) write(ctx context.Context, path string, fields map[string]any) error {
	if _, err := l.client.Logical().WriteWithContext(ctx, mount+"/"+path, fields); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// consume reads a role, renews the lease where it can be after half of the time given, about,
// and revokes it at its end.
func (l *load) consume(ctx context.Context, role string, work time.Duration) {
	half := work/4 + rand.N(work/2+1) // #nosec G404 -- spreads the load
	secret, err := l.client.Logical().ReadWithContext(ctx, mount+"/creds/"+role)
	if err != nil || secret == nil {
		_ = vaulttest.Pause(ctx, half)
		return
	}
	_ = vaulttest.Pause(ctx, half)
	if secret.Renewable {
		_, _ = l.client.Sys().RenewWithContext(ctx, secret.LeaseID, 0)
	}
	_ = vaulttest.Pause(ctx, half)
	// Beyond the end of the run too.
	_ = l.client.Sys().RevokeWithContext(context.WithoutCancel(ctx), secret.LeaseID)
}

// together does something many times at once.
func together(n int, do func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(do)
	}
	all.Wait()
}

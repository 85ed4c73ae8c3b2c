// Package playground is what the programs for trying the engine share: which Palette they
// run against, and how they leave it.
package playground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// MountPath is where the engine is mounted.
const MountPath = "palette"

// goodbyePatience bounds the end of what was issued.
const goodbyePatience = 15 * time.Second

// Palette is one that the environment names, or the stand-in.
type Palette struct {
	Address string
	Login   palettetest.User
	// StandIn is nil where Palette is a real one.
	StandIn *palettetest.Server
}

// FromEnvironment reads which Palette to use: the one that PALETTE_ADDRESS, PALETTE_EMAIL,
// PALETTE_ORG and PALETTE_PASSWORD name, all or none of them. Without them the stand-in has
// to be started: [Palette.Start].
func FromEnvironment() (*Palette, error) {
	var set, missing []string
	text := func(name string) string {
		value := os.Getenv(name)
		if value == "" {
			missing = append(missing, name)
		} else {
			set = append(set, name)
		}
		return value
	}
	p := &Palette{
		Login:   palettetest.User{Email: text("PALETTE_EMAIL"), Org: text("PALETTE_ORG"), Password: text("PALETTE_PASSWORD")},
		Address: strings.TrimSuffix(text("PALETTE_ADDRESS"), "/"),
	}
	switch {
	case len(set) == 0:
		return &Palette{Login: palettetest.DefaultUser}, nil
	case len(missing) == 0:
		return p, nil
	}
	return nil, fmt.Errorf("%s set, but not %s: set all four to name a real Palette, or none of them",
		strings.Join(set, ", "), strings.Join(missing, ", "))
}

// Start starts the stand-in, unless Palette is a real one, and says which it is.
func (p *Palette) Start() (string, error) {
	if p.Address != "" {
		return fmt.Sprintf("a real Palette at %s, as PALETTE_ADDRESS says", p.Address), nil
	}
	standIn, err := palettetest.Start()
	if err != nil {
		return "", err
	}
	p.StandIn, p.Address = standIn, standIn.URL()
	return fmt.Sprintf("the stand-in for Palette at %s (for a real one set PALETTE_ADDRESS, PALETTE_EMAIL, PALETTE_ORG, PALETTE_PASSWORD)", p.Address), nil
}

// Close ends the stand-in. What is still alive there is an error.
func (p *Palette) Close() error {
	if p.StandIn == nil {
		return nil
	}
	defer p.StandIn.Close()
	if live := len(p.StandIn.LiveTokens()); live > 0 {
		return fmt.Errorf("%d tokens are still alive at the stand-in", live)
	}
	return nil
}

// End ends what the mount has at Palette, where there is one, and stops Vault.
func End(ctx context.Context, vault *vaulttest.Server, mounted bool) error {
	if vault == nil {
		return nil
	}
	var err error
	if mounted {
		err = unmount(ctx, vault)
	}
	vault.Stop()
	if vault.Running() || len(vault.PluginPIDs()) > 0 {
		err = errors.Join(err, errors.New("a process of Vault or of its plugin is still running"))
	}
	return err
}

// unmount ends the leases first, each for itself: the mount would have five seconds for all
// of them. What else it has at Palette, its session, ends with it.
func unmount(ctx context.Context, vault *vaulttest.Server) error {
	ctx, cancel := context.WithTimeout(ctx, goodbyePatience)
	defer cancel()
	client, err := vault.Client()
	if err != nil {
		return err
	}
	if err := client.Sys().RevokePrefixWithContext(ctx, MountPath+"/creds"); err != nil {
		return fmt.Errorf("revoking what is left: %w", err)
	}
	if err := client.Sys().UnmountWithContext(ctx, MountPath); err != nil {
		return fmt.Errorf("removing the mount: %w", err)
	}
	return nil
}

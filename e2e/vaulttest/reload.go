package vaulttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/hashicorp/vault/api"
)

// Reload takes the plugin anew from where it was found at the start ([PluginBinary]),
// registers it, and lets all of its mounts run it.
func (s *Server) Reload(ctx context.Context) error {
	plugin, err := PluginBinary()
	if err != nil {
		return err
	}
	// Beside it and then in its place: a file that runs cannot be written to.
	fresh := s.plugin + ".new"
	if err = place(plugin, fresh); err != nil {
		return err
	}
	if err = os.Rename(fresh, s.plugin); err != nil {
		return fmt.Errorf("putting the plugin in place: %w", err)
	}
	// Vault keeps an entry for each version, and its checksum: without one in the call it
	// would go on with the entry, and the checksum, of the version that is mounted.
	version, err := versionOf(ctx, s.plugin)
	if err != nil {
		return err
	}
	if err = s.register(ctx, version); err != nil {
		return err
	}
	client, err := s.Client()
	if err != nil {
		return err
	}
	mounts, err := client.Sys().ListMountsWithContext(ctx)
	if err != nil {
		return fmt.Errorf("listing the mounts: %w", err)
	}
	for path, mount := range mounts {
		if mount.Type != PluginName {
			continue
		}
		if err = client.Sys().TuneMountAllowNilWithContext(ctx, path, api.TuneMountConfigInput{PluginVersion: &version}); err != nil {
			return fmt.Errorf("giving %s the plugin's version: %w", path, err)
		}
	}
	if _, err = client.Sys().ReloadPluginWithContext(ctx, &api.ReloadPluginInput{Plugin: PluginName}); err != nil {
		return fmt.Errorf("reloading the plugin: %w", err)
	}
	return nil
}

// versionOf asks a plugin for its version.
func versionOf(ctx context.Context, plugin string) (string, error) {
	out, err := Run(exec.CommandContext(ctx, plugin, "-version"), "") // #nosec G204 -- in the server's own directory
	if err != nil {
		return "", err
	}
	name, version, _ := strings.Cut(strings.TrimSpace(out.Stdout), " ")
	if out.Code != 0 || name != PluginName || version == "" {
		return "", fmt.Errorf("the plugin does not tell its version: status %d, %q", out.Code, out.Stdout+out.Stderr)
	}
	return version, nil
}

// PluginVersion is the version that a mount's running plugin reports.
func (s *Server) PluginVersion(ctx context.Context, mount string) (string, error) {
	client, err := s.Client()
	if err != nil {
		return "", err
	}
	mounts, err := client.Sys().ListMountsWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("listing the mounts: %w", err)
	}
	if mounts[mount+"/"] == nil {
		return "", fmt.Errorf("nothing is mounted at %s", mount)
	}
	return mounts[mount+"/"].RunningVersion, nil
}

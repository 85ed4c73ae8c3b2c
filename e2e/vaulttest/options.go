// Package vaulttest runs a real Vault server, or OpenBao's, with the engine's plugin in its
// plugin directory, on free ports of the loopback. It needs a `vault` or `bao` binary and the
// built plugin, and no *testing.T: the demo uses it too.
//
// What it finds its programs by, in this order:
//
//	SERVER      "bao" for OpenBao; else Vault
//	VAULT_BIN   the server's binary; else bin/vault of the repository; else `vault` on the PATH.
//	            With SERVER=bao the two are called bao
//	PLUGIN_BIN  the plugin; else bin/vault-plugin-secrets-palette of the repository
package vaulttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// PluginName is the name that the plugin is registered under.
const PluginName = "vault-plugin-secrets-palette"

// Storage is where a server keeps its data.
type Storage int

const (
	// InMemory is Vault's dev mode: unsealed at once, and all is lost with the process.
	InMemory Storage = iota
	// Raft is integrated storage in the server's directory, which survives [Server.Kill].
	Raft
)

// Options says what server to start. The zero value is a dev server.
type Options struct {
	Storage Storage
	// NodeID is the server's name in its raft cluster; "one" where it is empty.
	NodeID string
	// Join is a server with [Raft] whose cluster the new one becomes part of; nil: it begins
	// a cluster. [StartCluster] starts a whole one.
	Join *Server
	// LogLevel is Vault's; info where it is empty.
	LogLevel string
	// Plugin is the plugin's program; the one that [PluginBinary] finds where it is empty.
	Plugin string
	// Config is added to the server's configuration.
	Config string
	// AtEnd is called by [Server.Stop] after all processes have ended and before the files
	// go: the logs are whole then.
	AtEnd func(*Server)
}

// VaultBinary finds the server's program.
func VaultBinary() (string, error) {
	name := program()
	if path, err := named("VAULT_BIN", name); path != "" || err != nil {
		return path, err
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("no %s: set VAULT_BIN, or run make vault", name)
	}
	return path, nil
}

// PluginBinary finds the engine's plugin.
func PluginBinary() (string, error) {
	path, err := named("PLUGIN_BIN", PluginName)
	if path == "" && err == nil {
		return "", errors.New("no plugin: set PLUGIN_BIN, or run make build")
	}
	return path, err
}

// named returns the file that an environment variable names, else the one of bin/ in a
// directory above, else nothing.
func named(variable, base string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		if _, err := os.Stat(path); err != nil { // #nosec G703 -- whoever runs this names the file
			return "", fmt.Errorf("%s: %w", variable, err)
		}
		return filepath.Abs(path)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding bin/%s: %w", base, err)
	}
	for {
		path := filepath.Join(dir, "bin", base)
		// Only a repository's bin/: a vault in /bin is found on the PATH, if at all.
		if _, err := os.Stat(filepath.Join(dir, "cmd", PluginName)); err == nil {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
			return "", nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

// cleanEnv is the environment without what would lead Vault or its CLI elsewhere.
func cleanEnv() []string {
	var env []string
	for _, entry := range os.Environ() {
		// OpenBao reads BAO_ADDR before VAULT_ADDR, and so on.
		if !strings.HasPrefix(entry, "VAULT_") && !strings.HasPrefix(entry, "BAO_") && !strings.HasPrefix(entry, "HOME=") {
			env = append(env, entry)
		}
	}
	return env
}

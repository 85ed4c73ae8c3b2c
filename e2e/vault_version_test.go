package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// VAULT_VERSION alone says on which Vault all of this runs, whatever is on the PATH. Of one there
// that is too old a line is said.
func TestVaultVersionChoosesTheServer(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../scripts/vault.sh")
	require.NoError(t, err)
	for _, row := range []struct{ onPath, wanted, finds string }{
		{"1.21.2", "", "path/vault"},
		{"1.18.0", "", "path/vault"},
		{"1.15.9", "", "bin/vault"},
		{"none", "", "bin/vault"},
		{"1.21.2", "1.19.0", "bin/vault-1.19.0"},
		{"1.21.2", "v1.19.0", "bin/vault-1.19.0"},
		{"1.19.0", "1.19.0", "path/vault"},
		{"1.19.0", "1.21.2", "bin/vault"},
		{"none", "1.19.0", "bin/vault-1.19.0"},
	} {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		require.NoError(t, err)
		put := func(path, content string) {
			path = filepath.Join(dir, path)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(content), 0o700)) // #nosec G306 -- programs
		}
		says := func(version string) string {
			return "#!/bin/sh\necho 'Vault v" + version + " (0123abc), built today'\n"
		}
		put("scripts/vault.sh", string(script))
		put("tools/vault/go.mod", "module tools/vault\nrequire github.com/hashicorp/vault v1.21.2\n")
		put("bin/vault", says("1.21.2"))
		put("bin/vault-1.19.0", says("1.19.0"))
		put("path/vault", says(row.onPath))
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "scripts/vault.sh"), "--path") // #nosec G204 -- as above
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "path")+string(os.PathListSeparator)+os.Getenv("PATH"), "VAULT_VERSION="+row.wanted, "SERVER=")
		out, err := vaulttest.Run(cmd, "")
		require.NoError(t, err)
		assert.Zero(t, out.Code, out.Stderr)
		assert.Equal(t, filepath.Join(dir, row.finds), strings.TrimSpace(out.Stdout), "%+v", row)
		assert.Empty(t, out.Stderr)

		cmd = exec.CommandContext(t.Context(), cmd.Path) // #nosec G204 -- as above
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "path")+string(os.PathListSeparator)+os.Getenv("PATH"), "VAULT_VERSION="+row.wanted, "SERVER=")
		out, err = vaulttest.Run(cmd, "")
		require.NoError(t, err)
		const tooOld = "path/vault is Vault 1.15.9, and the tests need 1.16 or newer (https://developer.hashicorp.com/vault/install): bin/vault takes its place\n"
		assert.Equal(t, row.onPath == "1.15.9", strings.Contains(out.Stderr, tooOld), out.Stderr)
	}
}

// SERVER=bao takes the OpenBao that VAULT_BIN names, else the one on the PATH, and nothing else.
func TestServerChoosesOpenBao(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, says := range map[string]string{"bao": "OpenBao v2.6.2", "named": "OpenBao v2.7.0", "vault": "Vault v1.21.2"} {
		content := "#!/bin/sh\necho '" + says + " (0123abc), built today'\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o700)) // #nosec G306 -- programs
	}
	without := pathOf(t, "bash", "dirname")
	for _, row := range []struct{ server, named, path, finds, says string }{
		{"bao", "", dir, "bao", ""},
		{"bao", "named", dir, "named", ""},
		{"bao", "vault", dir, "", "no OpenBao: name its program in VAULT_BIN, or put a bao on the PATH (https://openbao.org/downloads)"},
		{"bao", "", "", "", "the PATH is no OpenBao"},
		{"boa", "", dir, "", "SERVER is boa, and has to be vault or bao"},
	} {
		cmd := exec.CommandContext(t.Context(), "../scripts/vault.sh", "--path")
		cmd.Env = []string{"PATH=" + row.path + string(os.PathListSeparator) + without, "SERVER=" + row.server}
		if row.named != "" {
			cmd.Env = append(cmd.Env, "VAULT_BIN="+filepath.Join(dir, row.named))
		}
		out, err := vaulttest.Run(cmd, "")
		require.NoError(t, err)
		assert.Equal(t, row.finds == "", out.Code == 1, "%+v: %s", row, out.Stderr)
		assert.Contains(t, out.Stderr, row.says)
		if row.finds != "" {
			assert.Equal(t, filepath.Join(dir, row.finds)+"\n", out.Stdout)
			assert.Empty(t, out.Stderr)
		}
	}
}

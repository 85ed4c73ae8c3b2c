package e2e

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	oldVersion = "v0.1.0"
	newVersion = "v0.2.0"
)

// olderVersion is one to upgrade from.
type olderVersion struct {
	name, commit string
	has          features
}

// olderVersions are commits at which less was stored than today, from the first one that has
// leases.
var olderVersions = []olderVersion{
	{"tokens alone", "ca6b7f689b7c6cb9ba158ac164166c0772441c27", tokenLeases},
	{"shared sessions", "a9be9e29012eed7331448bcc2ccbdcf3c1441c1a", sharedSessions},
	{"API keys and rotation", "0b2fa250c43214c9ad954deee17683434fcebcc9", apiKeys},
}

// today stands for them where there is no history: it shows the way of an upgrade, and
// nothing of older storage.
var today = olderVersion{"today's source, for want of a history", "", apiKeys}

// An upgrade in place, by the commands of docs/how-to/upgrade.md: what the older version has opened goes on
// under the newer one, and back again.
func TestAnUpgradeInPlace(t *testing.T) {
	t.Parallel()
	next := buildPlugin(t, "..", newVersion)
	for _, from := range inHistory(t) {
		t.Run("from "+from.name, func(t *testing.T) {
			t.Parallel()
			v := bareServer(t, vaulttest.InMemory)
			v.addVersion(t, buildPlugin(t, sourceOf(t, from), oldVersion), oldVersion)
			f := newMount(t, v, palettetest.WithLifetime(palettetest.DefaultLifetime))
			f.runs(oldVersion)
			o := open(f, from.has)

			v.addVersion(t, next, newVersion)
			o.runs(oldVersion) // a registration changes nothing by itself
			o.change(newVersion)
			o.goesOn("the upgrade")
			read := o.read()

			o.change(oldVersion)
			o.goesOn("the way back")
			second := o.renewed(read.LeaseID)
			o.works(second)
			o.cli("lease", "revoke", "-sync", read.LeaseID)
			o.dies(soon, tokenOf(t, read), second)

			o.change(newVersion)
			o.goesOn("the second upgrade")
			o.ends()
			o.hasWhatIsNew()
		})
	}
}

// change tunes the mount to a version and reloads the plugin.
func (f *fixture) change(version string) {
	f.t.Helper()
	f.cli("secrets", "tune", "-plugin-version="+version, f.mount)
	f.cli("plugin", "reload", "-type=secret", "-plugin="+vaulttest.PluginName, "-scope=global")
	require.Eventually(f.t, func() bool {
		running, err := f.vault.PluginVersion(f.t.Context(), f.mount)
		return err == nil && running == version
	}, soon, often, "the mount must run %s", version)
}

func (f *fixture) runs(version string) {
	f.t.Helper()
	running, err := f.vault.PluginVersion(f.t.Context(), f.mount)
	require.NoError(f.t, err)
	require.Equal(f.t, version, running)
	assert.Contains(f.t, f.cli("secrets", "list", "-detailed"), version)
}

// hasWhatIsNew uses what the older version had not.
func (o *opened) hasWhatIsNew() {
	o.t.Helper()
	if o.has < sharedSessions {
		shown := o.config("config")
		assert.Equal(o.t, "10", fmt.Sprint(shown["rate_limit"]), "Palette's limit, as for a new config")
		assert.Equal(o.t, "55", fmt.Sprint(shown["queue_timeout"]))
	}
	o.write("roles/fleet", map[string]any{"shared": true})
	token := tokenOf(o.t, o.firstRead("creds/fleet"))
	assert.Equal(o.t, token, tokenOf(o.t, o.firstRead("creds/fleet")))
	o.write("rotate-root", nil)
	assert.NotEqual(o.t, palettetest.DefaultUser.Password, o.password())
	o.write("roles/app", map[string]any{"credential_type": "api_key"})
	o.readKey()
}

// addVersion puts a plugin into the server's plugin directory, under a name of its own, and
// registers it as the version.
func (v *server) addVersion(t *testing.T, program, version string) {
	t.Helper()
	command := vaulttest.PluginName + "-" + version
	sum, err := v.AddPlugin(program, command)
	require.NoError(t, err)
	out, err := v.CLI(t.Context(), "", "plugin", "register", "-sha256="+sum, "-version="+version, "-command="+command, "secret", vaulttest.PluginName)
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stderr)
}

// inHistory are the older versions that the repository's history holds, or today's. An
// archive of the source and a shallow clone have none of them.
func inHistory(t *testing.T) []olderVersion {
	t.Helper()
	var found []olderVersion
	for _, v := range olderVersions {
		if said, err := git(t, "cat-file", "-e", v.commit+"^{commit}"); err != nil {
			fmt.Printf("%s: commit %s is not in the history: %v %s\n", t.Name(), v.commit, err, said)
			continue
		}
		fmt.Printf("%s: from commit %s (%s)\n", t.Name(), v.commit, v.name)
		found = append(found, v)
	}
	if len(found) == 0 {
		fmt.Printf("%s: from %s\n", t.Name(), today.name)
		found = append(found, today)
	}
	return found
}

// sourceOf is the directory of a version's source.
func sourceOf(t *testing.T, v olderVersion) (dir string) {
	t.Helper()
	if v.commit == "" {
		return ".."
	}
	packed, err := git(t, "archive", "--format=zip", v.commit)
	require.NoError(t, err)
	files, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	require.NoError(t, err)
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir, files))
	return dir
}

// git runs git in the repository and returns what it said.
func git(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = ".."
	return cmd.CombinedOutput()
}

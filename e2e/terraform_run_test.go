package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/e2e/vaulttest"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// withoutProviders says why Terraform is not run, and what to set. The first line is for a summary.
const withoutProviders = `TF_PROVIDERS is not set: "make terraform TF_PROVIDERS=DIR" runs this test on the providers in DIR
DIR is a filesystem mirror. Where registry.opentofu.org can be reached, "tofu providers mirror DIR" in
examples/terraform/ephemeral makes one of hashicorp/vault and spectrocloud/spectrocloud. Their releases are at
https://releases.hashicorp.com/terraform-provider-vault and
https://github.com/spectrocloud/terraform-provider-spectrocloud/releases`

// terraform is a copy of examples/, an OpenTofu with its providers, and a Vault to run them on.
type terraform struct {
	t       *testing.T
	vault   *server
	api     *api.Client
	palette *palettetest.Server
	tofu    string // the program
	dir     string
	env     []string
}

// TestTerraformRuns runs the very files of examples/terraform under OpenTofu, with the real
// providers. Palette is the stand-in.
func TestTerraformRuns(t *testing.T) {
	t.Parallel()
	providers := os.Getenv("TF_PROVIDERS")
	if providers == "" {
		t.Skip(withoutProviders)
	}
	x := newTerraform(t, providers)
	x.setsUp()
	t.Run("main.tf", x.main)
	t.Run("ephemeral", x.ephemeral)
	t.Run("Vault is away for 30 s", x.vaultAway)
	t.Run("the Vault token has expired", x.tokenExpired)
	t.Run("the role is deleted", x.roleDeleted)
}

// newTerraform starts a Vault and copies the examples.
func newTerraform(t *testing.T, providers string) *terraform {
	t.Helper()
	// Palette's provider speaks HTTPS alone.
	x := &terraform{t: t, palette: palettetest.New(t, palettetest.WithTLS(), palettetest.AllowLiveTokens()), dir: t.TempDir()}
	x.vault = bareServer(t, vaulttest.Raft)
	watchPalette(x.vault, x.palette)
	var err error
	x.api, err = x.vault.Client()
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(x.dir, os.DirFS(examplesDir)))
	providers, err = filepath.Abs(providers)
	require.NoError(t, err)
	put := func(name, content string) string {
		path := filepath.Join(x.dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	x.tofu, err = filepath.Abs("../bin/tofu")
	require.NoError(t, err)
	x.env = slices.DeleteFunc(x.vault.Env(), func(entry string) bool { return strings.HasPrefix(entry, "TF_") })
	x.env = append(x.env, "TF_IN_AUTOMATION=1", "SSL_CERT_FILE="+put("palette.pem", string(x.palette.CA())),
		"TF_CLI_CONFIG_FILE="+put("tofu.rc", "provider_installation {\n  filesystem_mirror {\n    path = \""+providers+"\"\n  }\n}\n"),
		"PATH="+filepath.Dir(x.tofu)+string(os.PathListSeparator)+filepath.Join(x.vault.Dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	pinned, err := os.ReadFile("../tools/tofu/go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^require github.com/opentofu/opentofu (\S+)$`).FindSubmatch(pinned)
	require.NotNil(t, version)
	out := x.run(t, ".", x.env, x.tofu, "version")
	require.Contains(t, out.Stdout, "OpenTofu "+string(version[1])+"\n", "the OpenTofu that is pinned")
	return x
}

// run runs a program in a directory of the examples.
func (x *terraform) run(t *testing.T, dir string, env []string, program string, args ...string) vaulttest.Output {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = filepath.Join(x.dir, "terraform", dir), env
	out, err := vaulttest.Run(cmd, "")
	require.NoError(t, err)
	t.Logf("%s %s: status %d\n%s%s", program, strings.Join(args, " "), out.Code, out.Stdout, out.Stderr)
	assert.Empty(t, leaksIn("what it said", out.Stdout+out.Stderr, x.secrets()))
	return out
}

// secrets are the keys and passwords that there have been.
func (x *terraform) secrets() []string {
	return append(x.palette.KeySecrets(), x.palette.Passwords()...)
}

// works is run of what must succeed.
func (x *terraform) works(t *testing.T, dir string, env []string, program string, args ...string) {
	t.Helper()
	out := x.run(t, dir, env, program, args...)
	require.Zero(t, out.Code, out.Stderr)
}

// asRun is the environment of a run: a Vault token with the policy for Terraform alone.
func (x *terraform) asRun(t *testing.T) (env []string, token string) {
	t.Helper()
	created, err := x.api.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{"palette-terraform"}, NoDefaultPolicy: true})
	require.NoError(t, err)
	token = created.Auth.ClientToken
	return append(x.env, "VAULT_TOKEN="+token, "TF_VAR_project="+palettetest.ProjectName,
		"TF_VAR_host="+strings.TrimPrefix(x.palette.URL(), "https://")), token
}

// setsUp applies setup/, and plans it once more.
func (x *terraform) setsUp() {
	t := x.t
	user := palettetest.DefaultUser
	sum, err := x.vault.PluginSHA256()
	require.NoError(t, err)
	out, err := vaulttest.Run(exec.CommandContext(t.Context(), x.vault.Plugin(), "-version"), "")
	require.NoError(t, err)
	x.env = slices.Clip(append(x.env, "TF_VAR_plugin_sha256="+sum, "TF_VAR_plugin_version="+strings.Fields(out.Stdout)[1],
		"TF_VAR_palette_address="+x.palette.URL(), "TF_VAR_palette_email="+user.Email, "TF_VAR_palette_org="+user.Org,
		"TF_VAR_palette_ca_cert="+string(x.palette.CA()))) // clipped, so that no two runs append to one array
	x.works(t, "setup", x.env, x.tofu, "init")
	first := append(x.env, "TF_VAR_set_password=true", "TF_VAR_palette_password="+user.Password)
	x.works(t, "setup", first, x.tofu, "apply", "-auto-approve")
	x.noDrift(t, "setup", x.env, x.tofu)
	passwords := x.palette.Passwords()
	require.Greater(t, len(passwords), 1, "the password is rotated")
	again := append(x.env, "TF_VAR_set_password=true", "TF_VAR_palette_password="+passwords[len(passwords)-1])
	x.works(t, "setup", again, x.tofu, "apply", "-auto-approve", "-replace=vault_generic_endpoint.rotate")
	assert.Len(t, x.palette.Passwords(), len(passwords)+1, "a password that works is taken, and rotated")
	x.nothingKept(t, x.palette.Passwords())
}

// noDrift plans what has been applied.
func (x *terraform) noDrift(t *testing.T, dir string, env []string, command ...string) {
	t.Helper()
	out := x.run(t, dir, env, command[0], append(command[1:], "plan", "-detailed-exitcode", "-out=saved.plan")...)
	require.Zero(t, out.Code, "no drift: 0; a difference: 2\n%s", out.Stdout)
}

// nothingKept searches whatever the runs have left for secrets.
func (x *terraform) nothingKept(t *testing.T, secrets []string) {
	t.Helper()
	searched := make(map[string]bool)
	search := func(name string, content []byte) {
		searched[filepath.Base(name)] = true
		assert.Empty(t, leaksIn(name, string(content), secrets))
	}
	require.NoError(t, filepath.WalkDir(x.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, ".terraform/providers") {
			return err
		}
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		search(path, content)
		packed, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return nil // no plan
		}
		for _, file := range packed.File {
			opened, err := file.Open()
			require.NoError(t, err)
			content, err := io.ReadAll(opened)
			require.NoError(t, err)
			search(path+"/"+file.Name, content)
		}
		return nil
	}))
	for _, name := range []string{"terraform.tfstate", "saved.plan", "tfplan", "tfstate"} {
		assert.True(t, searched[name], "%s is there, and was searched", name)
	}
}

// keysEnd tells that no key but those of old is alive.
func (x *terraform) keysEnd(t *testing.T) {
	t.Helper()
	require.NotEmpty(t, x.palette.KeySecrets())
	assert.Empty(t, x.palette.LiveKeys(), "the key ends with the run")
}

// project is the output of a configuration's state.
func (x *terraform) project(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(x.dir, "terraform", dir, "terraform.tfstate"))
	require.NoError(t, err)
	var state struct {
		Outputs map[string]struct{ Value string }
	}
	require.NoError(t, json.Unmarshal(content, &state))
	return state.Outputs["project_uid"].Value
}

// main runs main.tf by palette-key.sh.
func (x *terraform) main(t *testing.T) {
	env, _ := x.asRun(t)
	x.works(t, ".", env, "./palette-key.sh", "tofu", "init")
	x.works(t, ".", env, "./palette-key.sh", "tofu", "apply", "-auto-approve")
	assert.Equal(t, x.palette.ProjectUID(palettetest.DefaultUser.Org), x.project(t, "."))
	x.noDrift(t, ".", env, "./palette-key.sh", "tofu")
	assert.Len(t, x.palette.KeySecrets(), 3, "a key a run")
	x.keysEnd(t)
	x.nothingKept(t, x.secrets())
}

// ephemeral runs ephemeral/main.tf. Nobody revokes its leases: they end with the token of the run.
func (x *terraform) ephemeral(t *testing.T) {
	env, token := x.asRun(t)
	x.works(t, "ephemeral", env, x.tofu, "init")
	x.works(t, "ephemeral", env, x.tofu, "apply", "-auto-approve")
	assert.Equal(t, x.palette.ProjectUID(palettetest.DefaultUser.Org), x.project(t, "ephemeral"))
	x.noDrift(t, "ephemeral", env, x.tofu)
	x.nothingKept(t, x.secrets())
	t.Logf("%d keys are alive", len(x.palette.LiveKeys()))
	require.NoError(t, x.api.Auth().Token().RevokeTreeWithContext(t.Context(), token))
	require.Eventually(t, func() bool { return len(x.palette.LiveKeys()) == 0 }, soon, often, "the keys end with the token of the run")
}

// away is how long Vault is away.
const away = 30 * time.Second

// vaultAway takes Vault away from a run at its begin, and from one before its end.
func (x *terraform) vaultAway(t *testing.T) {
	env, _ := x.asRun(t)
	env = append(env, "VAULT_MAX_RETRIES=10") // as the recipe says
	goes := func() {
		x.vault.Kill()
		time.AfterFunc(away, func() { assert.NoError(t, x.vault.Restart(t.Context())) })
	}
	goes()
	x.works(t, ".", env, "./palette-key.sh", "tofu", "apply", "-auto-approve")
	x.keysEnd(t)

	mark := filepath.Join(t.TempDir(), "applied")
	p := start(t, filepath.Join(x.dir, "terraform"), env, "./palette-key.sh", "sh", "-c",
		`tofu apply -auto-approve && touch "$0" && while [ -e "$0" ]; do sleep 0.1; done`, mark)
	require.Eventually(t, func() bool { _, err := os.Stat(mark); return err == nil }, 2*soon, often)
	goes()
	require.NoError(t, os.Remove(mark))
	require.Eventually(t, func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	}, 2*away+soon, often)
	assert.Zero(t, p.cmd.ProcessState.ExitCode(), p.said())
	x.keysEnd(t)
}

// tokenExpired ends the Vault token of a run before it begins, and in its middle.
func (x *terraform) tokenExpired(t *testing.T) {
	env, token := x.asRun(t)
	out := x.run(t, ".", env, "./palette-key.sh", "sh", "-c", "vault token revoke -self >&2; exec tofu plan")
	assert.Equal(t, 1, out.Code)
	assert.Contains(t, out.Stderr, "palette-key: could not revoke the lease", "the lease has ended with the token")
	x.keysEnd(t)
	made := len(x.palette.KeySecrets())
	require.NotEmpty(t, token)
	out = x.run(t, ".", env, "./palette-key.sh", "tofu", "plan")
	assert.NotZero(t, out.Code)
	assert.Contains(t, out.Stderr, "Code: 403")
	assert.Len(t, x.palette.KeySecrets(), made, "no key, and no run")
}

// roleDeleted deletes the role, which setup/ sees and mends.
func (x *terraform) roleDeleted(t *testing.T) {
	_, err := x.api.Logical().DeleteWithContext(t.Context(), "palette/roles/app-key")
	require.NoError(t, err)
	env, _ := x.asRun(t)
	out := x.run(t, ".", env, "./palette-key.sh", "tofu", "plan")
	assert.NotZero(t, out.Code)
	assert.Contains(t, out.Stderr, "app-key")
	out = x.run(t, "setup", x.env, x.tofu, "plan", "-detailed-exitcode")
	assert.Equal(t, 2, out.Code, "setup/ sees the difference")
	x.works(t, "setup", x.env, x.tofu, "apply", "-auto-approve")
	x.works(t, ".", env, "./palette-key.sh", "tofu", "plan")
	x.keysEnd(t)
}

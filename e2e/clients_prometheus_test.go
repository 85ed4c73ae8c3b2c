package e2e

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
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

	"vault-plugin-secrets-palette/internal/palettetest"
)

const (
	monitoringDir = "../docs/monitoring"
	// twoScrapes is how long something may take to be in Prometheus: the scrape file says 30 s.
	twoScrapes = time.Minute + soon
	// counted is when keys are, at the latest: in the minute after they were made, and at the next scrape.
	counted = 2*time.Minute + soon
)

// prometheus is a real one, on the scrape file of docs/monitoring.
type prometheus struct {
	*program
	url, tokenFile string
}

// prometheusProgram finds it.
func prometheusProgram(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		notRun(t, "Prometheus", "there is no prometheus on the PATH: apt-get install prometheus")
		t.Skip("nothing that this test runs is here")
	}
	return program
}

// startPrometheus puts Vault's address and a file for its token into the scrape file, and changes nothing else there.
func (x *examples) startPrometheus(t *testing.T, program string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	p := &prometheus{tokenFile: filepath.Join(dir, "vault-token")}
	address, authority := tlsBefore(t, x.vault.Address)
	config := text(t, filepath.Join(monitoringDir, "prometheus.yaml"))
	for old, put := range map[string]string{"vault.example.com:8200": address, "/etc/prometheus/vault-token": p.tokenFile} {
		require.Contains(t, config, old)
		config = strings.ReplaceAll(config, old, put)
	}
	for name, content := range map[string]string{
		"prometheus.yaml": config, "alerts.yaml": text(t, filepath.Join(monitoringDir, "alerts.yaml")), "ca.pem": authority,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	p.giveToken(t, x)
	env := append(x.vault.Env(), "VAULT_TOKEN=", "SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"))
	p.program = start(t, dir, env, program, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0")
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	require.Eventually(t, func() bool { return listening.MatchString(p.said()) }, soon, often, "Prometheus must listen")
	p.url = "http://" + listening.FindStringSubmatch(p.said())[1]
	return p
}

// tlsBefore puts TLS before an address, and returns the new address and its authority.
func tlsBefore(t *testing.T, address string) (host, authority string) {
	t.Helper()
	target, err := url.Parse(address)
	require.NoError(t, err)
	proxy := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(target))
	t.Cleanup(proxy.Close)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	return strings.TrimPrefix(proxy.URL, "https://"), string(certificate)
}

// giveToken makes a Vault token by the command in docs/monitoring, and puts it into the file.
func (p *prometheus) giveToken(t *testing.T, x *examples) {
	t.Helper()
	command := regexp.MustCompile(`(?m)^ *vault (token create .*)$`).FindStringSubmatch(text(t, filepath.Join(monitoringDir, "README.md")))
	require.NotNil(t, command, "docs/monitoring tells how to make the token")
	out, err := x.vault.CLI(t.Context(), "", strings.Fields(command[1])...)
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stderr)
	require.NoError(t, os.WriteFile(p.tokenFile, []byte(strings.TrimSpace(out.Stdout)), 0o600))
}

// get asks Prometheus's API.
func (p *prometheus) get(t *testing.T, path string, query url.Values, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path+"?"+query.Encode(), nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode, query)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(answer))
}

// query is what an expression says now, the first value of its series; "" where there is none.
func (p *prometheus) query(t *testing.T, expression string) string {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	p.get(t, "/api/v1/query", url.Values{"query": {expression}}, &answer)
	if len(answer.Data.Result) == 0 {
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}

// up waits for whether the last scrape has succeeded.
func (p *prometheus) up(t *testing.T, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return p.query(t, `up{job="vault-palette",mount="palette"}`) == want }, twoScrapes, time.Second, "up must be %s", want)
}

// lastError is why the last scrape has failed, as Prometheus's page "Targets" shows it.
func (p *prometheus) lastError(t *testing.T) string {
	t.Helper()
	var answer struct {
		Data struct{ ActiveTargets []struct{ LastError string } }
	}
	p.get(t, "/api/v1/targets", nil, &answer)
	require.Len(t, answer.Data.ActiveTargets, 1)
	return answer.Data.ActiveTargets[0].LastError
}

// dashboardQueries are the expressions of the dashboard, with its variables filled in.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	var queries []string
	for _, m := range regexp.MustCompile(`"expr": ("(?:[^"\\]|\\.)*")`).FindAllStringSubmatch(text(t, filepath.Join(monitoringDir, "dashboard.json")), -1) {
		var expression string
		require.NoError(t, json.Unmarshal([]byte(m[1]), &expression))
		queries = append(queries, strings.NewReplacer("$job", ".*", "$mount", ".*", "$instance", ".*", "$__rate_interval", "5m").Replace(expression))
	}
	require.Greater(t, len(queries), 30)
	return queries
}

// text is a file's content.
func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// rootKey is the UID of a config's own API key.
const rootKey = "uid-of-the-root-key"

// happen makes happen what metrics begin with that are not there from the start.
func (x *examples) happen(t *testing.T) {
	t.Helper()
	user, ctx := palettetest.DefaultUser, t.Context()
	write := func(path string, fields map[string]any) {
		_, err := x.api.Logical().WriteWithContext(ctx, path, fields)
		require.NoError(t, err)
	}
	read := func(role string) *api.Secret {
		secret, err := x.api.Logical().ReadWithContext(ctx, "palette/creds/"+role)
		require.NoError(t, err)
		return secret
	}
	read("app-fleet")
	read("app-key")
	x.palette.PlantKey(user.Email, user.Org, rootKey, "root", "key-of-the-config", time.Now().Add(24*time.Hour))
	write("palette/config/key", map[string]any{"address": x.calls.URL, "api_key": "key-of-the-config", "api_key_uid": rootKey})
	x.palette.Inject(palettetest.Refresh, palettetest.Fault{Status: 503, Times: 1})
	write("sys/leases/renew", map[string]any{"lease_id": read("app").LeaseID})
}

// TestClientsPrometheus scrapes a mount, and has its bad days.
func TestClientsPrometheus(t *testing.T) {
	t.Parallel()
	forClients(t)
	program := prometheusProgram(t)
	x := clientsWorldOf(t, palettetest.DefaultLifetime) // a session outlives the minute after which keys are counted
	p := x.startPrometheus(t, program)
	x.happen(t)
	p.up(t, "1")
	var names []string
	for _, query := range dashboardQueries(t) {
		p.query(t, query) // which Prometheus has to take
		names = append(names, regexp.MustCompile(`\b(?:vault_palette|go|process)_\w+`).FindAllString(query, -1)...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		assert.Eventually(t, func() bool {
			return p.query(t, fmt.Sprintf(`count(%s{job="vault-palette",mount="palette"})`, name)) != ""
		}, counted, time.Second, name)
	}
	t.Logf("up, and %d metrics of the dashboard", len(names))

	x.vault.Kill()
	x.vault.KillPlugins()
	p.up(t, "0")
	assert.Contains(t, p.lastError(t), "502")
	require.NoError(t, x.vault.Restart(t.Context()))
	p.up(t, "1")

	require.NoError(t, x.api.Auth().Token().RevokeTreeWithContext(t.Context(), text(t, p.tokenFile)))
	p.up(t, "0")
	assert.Contains(t, p.lastError(t), "403 Forbidden")
	p.giveToken(t, x)
	p.up(t, "1")
	assert.NotContains(t, p.said(), text(t, p.tokenFile))
	require.NoError(t, x.api.Sys().UnmountWithContext(t.Context(), "palette"))
	x.palette.DeleteKey(rootKey)
}

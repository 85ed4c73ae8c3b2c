package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"

	"vault-plugin-secrets-palette/e2e/playground"
	"vault-plugin-secrets-palette/e2e/vaulttest"
)

// What begins lines of a failed test's log that cmd/e2e reads.
const (
	byHand     = "by hand: "
	serversLog = "the server's log: "
)

// keptCommands is how many commands a history keeps.
const keptCommands = 20

// history is what a test has asked of its Vault last, as commands of the vault CLI. A command
// that comes again and again counts once, where it came last.
type history struct {
	mu       sync.Mutex
	commands []string
}

// tells makes a failed test tell what it has asked, with the mount where `make dev` has it.
func (h *history) tells(t *testing.T, mount string) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, command := range h.commands {
			t.Log(byHand + strings.ReplaceAll(command, " "+mount+"/", " "+playground.MountPath+"/"))
		}
	})
}

func (h *history) add(command string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands = slices.DeleteFunc(h.commands, func(c string) bool { return c == command })
	h.commands = append(h.commands, command)
	h.commands = h.commands[max(0, len(h.commands)-keptCommands):]
}

// request is for a request of Vault's client.
func (h *history) request(r *api.Request) {
	h.call(r.Method, strings.TrimPrefix(r.URL.Path, "/v1/")+query(r), string(r.BodyBytes))
}

// query is a request's query as it follows its path.
func query(r *api.Request) string {
	if len(r.Params) == 0 {
		return ""
	}
	return "?" + r.Params.Encode()
}

// call is for a request below /v1/.
func (h *history) call(method, path, body string) { h.add(asCommand(method, path, body)) }

// asCommand is a request as a command. The values of secret fields are left out.
func asCommand(method, path, body string) string {
	path, parameters, _ := strings.Cut(path, "?")
	words := strings.FieldsFunc(parameters, func(r rune) bool { return r == '&' })
	verb := map[string]string{http.MethodGet: "read", http.MethodDelete: "delete", "LIST": "list"}[method]
	if i := slices.Index(words, "list=true"); i >= 0 {
		verb, words = "list", slices.Delete(words, i, i+1)
	}
	var fields map[string]any
	if verb == "" {
		verb = "write"
		if json.Unmarshal([]byte(body), &fields) != nil || len(fields) == 0 {
			verb = "write -f"
		}
	}
	var given []string
	for name, value := range fields {
		given = append(given, name+"="+shown(name, value))
	}
	slices.Sort(given)
	return strings.Join(slices.Concat([]string{"vault", verb, path}, words, given), " ")
}

// shown is a field's value as a shell takes it.
func shown(field string, value any) string {
	if slices.Contains([]string{"password", "api_key", "client_key", "secret_id", "token"}, field) {
		return "…"
	}
	text, isText := value.(string)
	if !isText {
		encoded, err := json.Marshal(value)
		if err != nil {
			return "…"
		}
		text = string(encoded)
	}
	if strings.ContainsAny(text, " \t\n\"'`$&;<>|*?(){}[]\\") {
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	return text
}

// keptLogs is where the logs of failed tests' servers stay.
var keptLogs = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "vault-e2e-logs-") })

// keep keeps a server's logs where the test has failed, and says where. A name tells the
// servers of a test apart.
func keep(t *testing.T, v *vaulttest.Server, name string) {
	t.Helper()
	if !t.Failed() {
		return
	}
	t.Log(serversLog + keptAs(v, strings.ReplaceAll(t.Name(), "/", "."), name))
}

// keptAs keeps a server's logs in a folder below that of all kept ones, and says where the log is.
func keptAs(v *vaulttest.Server, folder ...string) string {
	dir, err := keptLogs()
	if err == nil {
		dir = filepath.Join(dir, filepath.Join(folder...))
		err = v.KeepLogs(dir)
	}
	if err != nil {
		return "it could not be kept: " + err.Error()
	}
	return filepath.Join(dir, vaulttest.LogFile)
}

func TestRequestsAsCommands(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ method, path, body, want string }{
		{"GET", "a/config", "", "vault read a/config"},
		{"GET", "a/creds/app?ttl=5s&renewable=false", "", "vault read a/creds/app ttl=5s renewable=false"},
		{"GET", "a/roles?list=true", "", "vault list a/roles"},
		{"DELETE", "a/roles/app", "", "vault delete a/roles/app"},
		{"PUT", "a/rotate-root", "", "vault write -f a/rotate-root"},
		{"PUT", "a/rotate-root", "null", "vault write -f a/rotate-root"},
		{"PUT", "a/config", `{"password":"Hidden","rate_limit":0,"org":"a b"}`, `vault write a/config org='a b' password=… rate_limit=0`},
		{"POST", "sys/mounts/a", `{"config":{"x":"it's"}}`, `vault write sys/mounts/a config='{"x":"it'\''s"}'`},
	} {
		assert.Equal(t, row.want, asCommand(row.method, row.path, row.body))
	}
	var h history
	for n := range keptCommands + 5 {
		h.call("GET", fmt.Sprint("a/", n), "")
		h.call("GET", "polled", "")
	}
	assert.Len(t, h.commands, keptCommands)
	assert.Equal(t, "vault read polled", h.commands[keptCommands-1])
	assert.Equal(t, fmt.Sprint("vault read a/", keptCommands+4), h.commands[keptCommands-2])
}

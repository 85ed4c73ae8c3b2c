package simulation

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin/pb"

	engine "vault-plugin-secrets-palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/palettetest"
)

// record keeps the texts that must hold no secret: the log, the events and observations, errors.
type record struct {
	// story gets the log too, where it is asked for.
	story *story
	mu    sync.Mutex
	text  bytes.Buffer
}

// Write implements io.Writer for the log.
func (r *record) Write(p []byte) (int, error) {
	if r.story != nil {
		r.story.tell("log", "%s", bytes.TrimSpace(p))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// SendEvent implements logical.EventSender.
func (r *record) SendEvent(_ context.Context, kind logical.EventType, event *logical.EventData) error {
	_, _ = fmt.Fprintf(r, "event %s %v\n", kind, event)
	return nil
}

// RecordObservationFromPlugin implements logical.ObservationRecorder.
func (r *record) RecordObservationFromPlugin(_ context.Context, kind string, data map[string]any) error {
	_, _ = fmt.Fprintf(r, "observation %s %v\n", kind, data)
	return nil
}

// take returns what has come since the last time.
func (r *record) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.text.String()
	r.text.Reset()
	return text
}

func (w *world) errorSeen(err error) {
	if err != nil {
		_, _ = fmt.Fprintf(w.log, "error %s\n", err)
	}
}

// checkTexts looks for secrets in what has been logged, answered and announced.
func (w *world) checkTexts() {
	text := w.log.take()
	if text == "" {
		return
	}
	w.mu.Lock()
	secrets := w.secrets
	w.mu.Unlock()
	for _, s := range secrets {
		if parts := strings.Split(s, "."); len(parts) == 3 && strings.HasPrefix(s, "eyJ") { // a token: its signature opens as much as the whole
			s = parts[2]
		}
		if at := strings.Index(text, s); at >= 0 {
			begin := strings.LastIndexByte(text[:at], '\n') + 1
			w.broken(invNoLeak, "a secret is in %q", text[begin:at])
		}
	}
}

// document holds, for "GET /creds/{name}" and so on, the statuses that the OpenAPI document declares.
var document = sync.OnceValue(func() map[string]map[int]bool {
	b, err := engine.FactoryOn(exchange.NewProcess(), "v0.0.0-simulation")(context.Background(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), StorageView: &logical.InmemStorage{},
		System: &logical.StaticSystemView{PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.2"}},
	})
	if err != nil {
		panic(err)
	}
	resp, err := b.HandleRequest(context.Background(), &logical.Request{Operation: logical.HelpOperation})
	if err != nil {
		panic(err)
	}
	out := make(map[string]map[int]bool)
	for path, item := range resp.Data["openapi"].(*framework.OASDocument).Paths {
		for method, op := range map[string]*framework.OASOperation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodDelete: item.Delete} {
			if op == nil {
				continue
			}
			statuses := make(map[int]bool)
			for status := range op.Responses {
				statuses[status] = true
			}
			out[method+" "+path] = statuses
		}
	}
	return out
})

// checkAnswer holds an answer against the document, and keeps its texts for the search for secrets.
func (w *world) checkAnswer(ctx context.Context, req *logical.Request, resp *logical.Response, err error) {
	w.errorSeen(err)
	if resp != nil {
		w.errorSeen(resp.Error())
		_, _ = fmt.Fprintln(w.log, resp.Warnings)
	}
	method, of := httpMethods[req.Operation]
	if !of || ctx.Err() != nil {
		return // Vault's own call, or the caller has gone
	}
	path := "/" + req.Path
	if first, name, has := strings.Cut(req.Path, "/"); has && name != "" {
		path = "/" + first + "/{name}"
	}
	status := statusOf(req, resp, err)
	declared, known := document()[method+" "+path]
	if !known {
		w.broken(invDeclared, "%s %s is in no OpenAPI document", method, path)
	} else if !declared[status] {
		w.broken(invDeclared, "%s %s is answered %d, which is not declared: %v %v", method, path, status, resp, err)
	}
}

// statusOf is what Vault answers, by its own reckoning, to what reaches it from an external plugin.
func statusOf(req *logical.Request, resp *logical.Response, err error) int {
	status, err := logical.RespondErrorCommon(req, resp, pb.ProtoErrToErr(pb.ErrToProtoErr(err)))
	logical.AdjustErrorStatusCode(&status, err)
	switch {
	case status != 0:
		return status
	case resp == nil:
		return http.StatusNoContent
	default:
		return http.StatusOK
	}
}

// storedConfig is a config as it is stored, by the fields that a check needs. Golden files keep their names.
type storedConfig struct {
	Address        string        `json:"address"`
	Email          string        `json:"email"`
	Username       string        `json:"username"`
	Password       string        `json:"password"`
	APIKey         string        `json:"api_key"`
	UID            string        `json:"api_key_uid"`
	RequestTimeout time.Duration `json:"request_timeout"`
	RotationPeriod time.Duration `json:"rotation_period"`
}

func (w *world) storedConfigs() map[string]storedConfig {
	out := make(map[string]storedConfig)
	for name, text := range w.disk.below("config/") {
		var c storedConfig
		if json.Unmarshal(text, &c) == nil {
			out[name] = c
		}
	}
	return out
}

func (w *world) isChanged(email string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed[email] || w.spoiling[email] > 0
}

// spoil lets people do what makes a config useless: nobody else's write mends it meanwhile.
func (w *world) spoil(email string, deed func()) {
	w.mu.Lock()
	w.spoiling[email]++
	w.mu.Unlock()
	deed()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spoiling[email]--
	w.changed[email] = true
}

func (w *world) setChanged(email string, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed[email] = changed
}

// stored checks what must hold after each write of the storage.
func (w *world) stored(key string) {
	if strings.HasPrefix(key, "config/") || strings.HasPrefix(key, "wal/") {
		w.passwordChecked("a write of " + key)
	}
}

// passwordChecked checks that the password which works is stored, in a config or ahead. The order of its looks matters:
// the engine goes on meanwhile, and lets a password into the config before it lets it out of the log.
func (w *world) passwordChecked(when string) {
	for _, email := range accountsOf {
		if w.isChanged(email) {
			continue
		}
		user, _ := w.palette.User(email, w.plan.system.org(email))
		knows, has := false, false
		for _, text := range w.disk.below("wal/") {
			knows = knows || strings.Contains(string(text), user.Password)
		}
		for _, c := range w.storedConfigs() {
			if strings.EqualFold(cmp.Or(c.Email, c.Username), email) {
				has, knows = true, knows || c.Password == user.Password
			}
		}
		if now, _ := w.palette.User(email, w.plan.system.org(email)); has && !knows && !w.isChanged(email) && now.Password == user.Password {
			w.broken(invSecretWorks, "the password of %s is in no config and no write-ahead entry, after %s", email, when)
		}
	}
}

// storedRole is a role as it is stored, by the fields that a check needs.
type storedRole struct {
	ConfigName     string `json:"config_name"`
	CredentialType string `json:"credential_type"`
	Shared         bool   `json:"shared"`
}

func (w *world) storedRoles() map[string]storedRole {
	out := make(map[string]storedRole)
	for name, text := range w.disk.below("roles/") {
		var r storedRole
		if json.Unmarshal(text, &r) == nil {
			out[name] = r
		}
	}
	return out
}

// serves tells whether a role gets credentials of a config.
func (c storedConfig) serves(r storedRole) bool {
	wantsKey := r.CredentialType == "api_key"
	return (c.APIKey == "" || wantsKey) && (c.Username == "" || !wantsKey)
}

// account is whose secret a config holds.
func account(name string, c storedConfig) string {
	if c.APIKey != "" {
		return accountsOf["keys"]
	}
	if c.Email == "" {
		return accountsOf[name]
	}
	return strings.ToLower(c.Email) // people spell it in capitals too
}

// alive tells whether a read's credential opens something.
func alive(p *palettetest.Server, data map[string]any) bool {
	if token, ok := data["token"].(string); ok {
		return p.Alive(token)
	}
	key, _ := data["api_key"].(string)
	return p.KeyAlive(key)
}

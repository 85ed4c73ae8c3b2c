package simulation

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palettetest"
)

// credential is a token or an API key that Palette has made.
type credential struct {
	// id is a token's text or a key's uid, names are the texts by one of which it is accounted for.
	id    string
	names []string
	key   bool
	// secret must not be in any log.
	secret string
	node   int
	at     time.Duration
	// dropped: nobody got the answer that holds it. Else answered says when.
	dropped  bool
	answered time.Time
	// brokenOff: the engine itself did not wait for the answer.
	brokenOff bool
	// excused says why nobody has to account for it.
	excused string
	// orphan is since when nobody accounts for it, by what was seen; zero where somebody does.
	orphan time.Time
	// from says which call made it.
	from palettetest.Endpoint
}

func (c *credential) String() string {
	if c.key {
		return fmt.Sprintf("the API key %s (%s), made at %s for node %d,", c.id, c.names[1], clock(c.at), c.node)
	}
	return fmt.Sprintf("a token of %s, made at %s for node %d by %s,", claim(c.id, "email"), clock(c.at), c.node, c.from)
}

// claim reads a text out of a token.
func claim(token, name string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return decoded(text, name)
}

// expiry is when a token dies by its exp.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp int64 `json:"exp"`
	}
	_ = json.Unmarshal(text, &claims)
	return time.Unix(claims.Exp, 0)
}

// made notes the credential that Palette has made. Until it is answered nobody knows it.
func (w *world) made(q *request, a *answer) {
	var c *credential
	switch {
	case q.isLogin() && a.status == http.StatusOK, q.endpoint == palettetest.Refresh && a.status == http.StatusOK:
		text := decoded(a.body.Bytes(), "Authorization")
		c = &credential{id: text, names: []string{text}, secret: text}
	case q.endpoint == palettetest.APIKeyCreate && a.status == http.StatusCreated:
		uid := decoded(a.body.Bytes(), "uid")
		var asked struct {
			Metadata struct{ Name string }
		}
		_ = json.Unmarshal(q.body, &asked)
		c = &credential{id: uid, names: []string{uid, asked.Metadata.Name}, key: true, secret: decoded(a.body.Bytes(), "apiKey")}
	case q.endpoint == palettetest.PasswordChange && a.status == http.StatusNoContent:
		w.keepSecret(decoded(q.body, "newPassword"))
		w.passwordChecked("a password change")
		return
	default:
		return
	}
	c.node, c.dropped, c.from, c.at = q.node.id, true, q.endpoint, time.Since(w.story.began)
	a.made = c
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.key && !w.takenAway.Before(q.sent) {
		c.excused = "its config was taken away while it was being made"
	}
	w.credentials = append(w.credentials, c)
	w.secrets = append(w.secrets, c.secret)
}

// brokenOff notes a credential whose making the engine has broken off.
func (w *world) brokenOff(q *request, a *answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.made.brokenOff = w.cutAt[q.node.id].Before(q.sent) && !w.over.Load()
}

// answered notes that a node got an answer.
func (w *world) answered(q *request, a *answer) {
	if a.made != nil {
		w.mu.Lock()
		a.made.answered = time.Now()
		a.made.dropped = w.cutAt[q.node.id].Equal(a.made.answered)
		w.mu.Unlock()
	}
	w.notRevoked(q, a)
	if !q.isLogin() {
		return
	}
	switch email := strings.ToLower(cmp.Or(decoded(q.body, "emailId"), decoded(q.body, "username"))) + " at " + q.Host; {
	case a.made != nil:
		w.accepted(q.node, email)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden && !a.foreign: // Palette may have counted it
		w.rejected(q.node, email)
	}
}

// refused notes what the storage did not take: a session that is kept in memory for it holds tokens that the storage
// does not know.
func (w *world) refused(e *logical.StorageEntry) {
	if !strings.HasPrefix(e.Key, "sessions/") {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	text := string(e.Value)
	for _, c := range w.credentials {
		if c.excused == "" && !c.key && strings.Contains(text, c.id) {
			c.excused = "the storage refused " + e.Key
		}
	}
}

// crashed excuses the tokens that only the node's memory knew. Of the keys those are excused whose making was answered:
// their write-ahead entry is gone by then. That of a shared key goes when the key is stored.
func (w *world) crashed(n *node) {
	w.trouble()
	known := w.accounts()
	live := w.live()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.credentials {
		if c.excused == "" && live[c.id] && !c.in(known) && !c.dropped && !c.isShared() {
			c.excused = "known to a node's memory alone when it crashed"
		}
	}
	_ = n
}

func (c *credential) in(text string) bool {
	for _, name := range c.names {
		if name != "" && strings.Contains(text, name) {
			return true
		}
	}
	return false
}

// live are the ids of the credentials that open something now.
func (w *world) live() map[string]bool {
	live := make(map[string]bool)
	for _, token := range w.palette.LiveTokens() {
		live[token] = true
	}
	for _, key := range w.palette.LiveKeys() {
		live[key.UID] = true
	}
	return live
}

// accounts is the text of all that accounts for credentials: what is stored, and what Vault's leases hold.
func (w *world) accounts() string {
	var text strings.Builder
	w.disk.text(&text)
	w.vault.text(&text)
	return text.String()
}

// unaccounted is how long a credential may be in nobody's account while nothing goes wrong: a node has it in memory
// alone, and is about to end it.
const unaccounted = 5 * time.Minute

// checkAccounts looks for credentials that nobody accounts for.
func (w *world) checkAccounts() {
	known, live, now := w.accounts(), w.live(), time.Now()
	quiet := w.quietSince()
	w.mu.Lock()
	var lost *credential
	for _, c := range w.credentials {
		switch {
		case !live[c.id] || c.excused != "" || c.dropped && !c.key && !c.brokenOff || c.in(known):
			c.orphan = time.Time{}
		case c.orphan.IsZero():
			c.orphan = now
		case now.Sub(c.orphan) >= unaccounted && now.Sub(quiet) >= unaccounted:
			lost = c
		}
	}
	w.mu.Unlock()
	if lost != nil {
		w.broken(invAccounted, "%s is alive, and nobody accounts for it since %s", lost, clock(lost.orphan.Sub(w.story.began)))
	}
}

// isShared tells whether the credential is a key that the leases of a role share.
func (c *credential) isShared() bool { return c.key && strings.Contains(c.names[1], "-shared-") }

// isRoot tells whether the credential is a config's own key.
func (c *credential) isRoot() bool { return c.key && strings.HasPrefix(c.names[1], "vault-root-") }

// Package advice says what a write of a config or a role breaks, and what else is to be changed there.
//
// Promise: who writes is told which roles are concerned, what becomes of their leases, and what to do.
// Advice holds up nothing.
//
// State: none.
package advice

import (
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-palette/internal/keyname"
	"vault-plugin-secrets-palette/internal/store"
)

// mostNames is how many roles a warning names.
const mostNames = 10

// named are the names of roles in a sentence: `role "a"`, `roles "a", "b"`.
func named(roles []store.Named) string {
	var names []string
	for _, r := range roles[:min(len(roles), mostNames)] {
		names = append(names, fmt.Sprintf("%q", r.Name))
	}
	text := "role "
	if len(roles) > 1 {
		text = "roles "
	}
	text += strings.Join(names, ", ")
	if more := len(roles) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d others", more)
	}
	return text
}

func filtered(roles []store.Named, wanted func(store.Named) bool) (found []store.Named) {
	for _, r := range roles {
		if wanted(r) {
			found = append(found, r)
		}
	}
	return found
}

func isToken(r store.Named) bool  { return !r.IsAPIKey() }
func isShared(r store.Named) bool { return r.Shared && !r.IsAPIKey() }
func isKeyed(r store.Named) bool  { return r.SharesKey() }

// ended says what a config shared that has ended; "" where it shared nothing.
func ended(roles []store.Named) (text string) {
	if shared := filtered(roles, isShared); len(shared) > 0 {
		text += fmt.Sprintf(". The shared session has ended, and with it the tokens that leases of %s carry", named(shared))
	}
	if keyed := filtered(roles, isKeyed); len(keyed) > 0 {
		text += fmt.Sprintf(". The API keys that leases of %s share have ended", named(keyed))
	}
	return text
}

// ConfigWritten says what a write of a config has broken. roles are those that name the config.
func ConfigWritten(name string, old, next *store.Config, roles []store.Named) (out []string) {
	if old == nil || len(roles) == 0 {
		return nil
	}
	if tokens := filtered(roles, isToken); next.APIKey != "" && old.APIKey == "" && len(tokens) > 0 {
		out = append(out, fmt.Sprintf("config %q holds an API key now, with which nobody can log in: reads of %s are refused from now on; write credential_type=api_key or another config_name there", name, named(tokens)))
	}
	if !IsOther(old, next) {
		return out
	}
	text := fmt.Sprintf("config %q is another user at Palette now: leases that %s issued before can no longer be renewed, and can still be revoked; what is read from now on is the new user's", name, named(roles))
	return append(out, text+ended(roles))
}

// IsOther tells whether a config has become another user. For two API keys it can tell where Palette has
// named the user of both.
func IsOther(old, next *store.Config) bool {
	return !old.SameIdentity(next) || old.UserUID != "" && next.UserUID != "" && old.UserUID != next.UserUID
}

// ConfigDeleted says what the end of a config has broken.
func ConfigDeleted(name string, roles []store.Named) []string {
	if len(roles) == 0 {
		return nil
	}
	text := fmt.Sprintf("config %q is gone: reads of %s fail from now on, and their leases can no longer be renewed; they can still be revoked", name, named(roles))
	return []string{text + ended(roles) + ". Write the config again, or another config_name to the roles"}
}

// keyEnded says that the shared key of a role has ended.
func keyEnded(name string) string {
	return fmt.Sprintf("the API key that leases of role %q share has ended: those that carry it read again", name)
}

// RoleDeleted says what the end of a role has broken. old is nil where the role could not be read.
func RoleDeleted(name string, old *store.Role) (out []string) {
	if old != nil && old.SharesKey() {
		out = append(out, keyEnded(name))
	}
	return append(out, fmt.Sprintf("role %q is gone: leases that it issued can no longer be renewed, and can still be revoked (vault lease revoke -prefix)", name))
}

// RoleWritten says what a write of a role has broken. before and after are the configs that the role
// named and names; before is nil where there is none any more.
func RoleWritten(name string, old, next *store.Role, before, after *store.Config) (out []string) {
	if old == nil {
		return nil
	}
	if old.ConfigName != next.ConfigName && (before == nil || IsOther(before, after)) {
		out = append(out, fmt.Sprintf("role %q names another user's config now: leases that it issued before can no longer be renewed, and can still be revoked", name))
	}
	if old.SharesKey() && (!next.SharesKey() || old.ConfigName != next.ConfigName || old.UserUID != next.UserUID) {
		out = append(out, keyEnded(name))
	}
	// Without a ttl of its own, a role takes the mount's.
	if next.TTL > 0 && next.TTL < old.TTL {
		out = append(out, fmt.Sprintf("ttl of role %q is %s now, after %s: a lease keeps its present end, and its next renewal lasts as long as the new ttl", name, next.TTL, old.TTL))
	}
	if next.MaxTTL > 0 && (old.MaxTTL == 0 || next.MaxTTL < old.MaxTTL) {
		out = append(out, fmt.Sprintf("max_ttl of role %q is %s now: a lease keeps its present end, and a renewal is refused for leases that are older than that", name, next.MaxTTL))
	}
	return out
}

// vaultTimeout is how long Vault gives a request by default (default_max_request_duration).
const vaultTimeout = 90 * time.Second

// Config is what a config does that may not be meant.
func Config(name string, c *store.Config) []string {
	out := KeyExpiry(name, c)
	if c.QueueTimeout+c.RequestTimeout > vaultTimeout {
		out = append(out, fmt.Sprintf("queue_timeout (%s) and request_timeout (%s) together exceed the %s that Vault gives a request by default: a call that waits and is slow may outlive its request, whose caller gets no answer",
			c.QueueTimeout, c.RequestTimeout, vaultTimeout))
	}
	return out
}

// PasswordReset says that Palette has answered IsPasswordReset to the login of a config. What Palette
// documents of it is its name alone.
func PasswordReset(name string, c *store.Config) string {
	return fmt.Sprintf("Palette answers IsPasswordReset to the login of %s of config %q: its password was reset, or is to be changed. Log in to the system console once, and where that asks for a new password, write config/%s with it",
		c.Who(), name, name)
}

// KeyExpiry says that a config's API key expires and that nothing rotates it.
func KeyExpiry(name string, c *store.Config) []string {
	if c.APIKey == "" || c.APIKeyExpiry == 0 || c.RotationPeriod > 0 {
		return nil
	}
	return []string{fmt.Sprintf("the api_key of config %q expires at %s, and nothing rotates it: set rotation_period, or write rotate-root/%s or another api_key before then",
		name, time.Unix(c.APIKeyExpiry, 0).UTC().Format(time.RFC3339), name)}
}

// NameTemplate says what to change in a role that was stored with a name_template which is refused
// now. Such a role goes on.
func NameTemplate(name string, r *store.Role) []string {
	if !r.IsAPIKey() {
		return nil
	}
	if err := keyname.Check(r.NameTemplate); err != nil {
		return []string{fmt.Sprintf("the role %q has the name_template %q, which is refused now: %s. The role goes on with it; write another one", name, r.NameTemplate, err)}
	}
	return nil
}

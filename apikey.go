package palette

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

const (
	// secretTypeKey is the type of an API key's secret in Vault's lease.
	secretTypeKey = "palette_api_key"
	// defaultKeyTTL is the term of a key's lease where the role names none.
	defaultKeyTTL = time.Hour
	// keyGrace is how much longer than its lease a key lives at Palette, so that it dies
	// even when Vault does, and not before its lease.
	keyGrace = time.Minute
	// defaultNameTemplate makes the names of keys.
	defaultNameTemplate = `{{ printf "vault-%s-%s-%s" (.RoleName | truncate 24) (.DisplayName | truncate 24) (random 20) }}`
	// maxKeyName bounds a key's name, in bytes. Palette's document names no limit (an
	// assumption).
	maxKeyName = 128
)

// heldKey is an API key that the engine answers for until it is dead.
type heldKey struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
	// Key is the key itself: with it the key can still be ended when its config has gone.
	Key palette.Secret `json:"key"`
	// ExpiresAt is its end at Palette.
	ExpiresAt time.Time `json:"expires_at"`
}

// leaseLeft is how long a lease may still last that the key outlives by keyGrace. Of the
// grace it takes what makes it whole seconds, in which Vault tells it; under one it does not.
func (k *heldKey) leaseLeft(now time.Time) time.Duration {
	left := k.ExpiresAt.Add(-keyGrace).Sub(now)
	if whole := left.Truncate(time.Second); whole > 0 && whole < left {
		return whole + time.Second
	}
	return left
}

// errMadeTooLate is for a key that is there when its lease would be over.
var errMadeTooLate = logical.CodedError(http.StatusServiceUnavailable, "making the API key took as long as the lease would last, and it has been discarded; try again, or with a longer ttl")

// lostKeys are the write-ahead entries of keys that may have been made and that nobody was
// given.
type lostKeys struct {
	mu  sync.Mutex
	ids []string
	// silent are the configs for which this minute's search met a passing fault. With Palette
	// down each try takes request_timeout, and what waits for the search, as the list of what
	// the engine owes does, would wait for all of them.
	silent map[string]bool
}

func (l *lostKeys) add(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, ids...)
}

// take begins a search: it returns the entries, and forgets them and the silent configs.
func (l *lostKeys) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := l.ids
	l.ids, l.silent = nil, nil
	return ids
}

func (l *lostKeys) isSilent(config string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent[config]
}

func (l *lostKeys) silence(config string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent == nil {
		l.silent = make(map[string]bool)
	}
	l.silent[config] = true
}

// nameData is what a name_template may use.
type nameData struct{ RoleName, DisplayName, EntityID string }

// keyName makes a key's name. Two names of one template must differ: a key whose making was
// broken off is found by its name.
func keyName(text string, data nameData) (string, error) {
	if text == "" {
		text = defaultNameTemplate
	}
	made, err := newNameTemplate(text)
	if err != nil {
		return "", err
	}
	name, err := made.Generate(data)
	switch {
	case err != nil:
		return "", err
	case name == "" || len(name) > maxKeyName:
		return "", fmt.Errorf("it makes a name of %d characters, but it must have 1 to %d", len(name), maxKeyName)
	}
	return name, nil
}

// checkNameTemplate returns what is wrong with a template, or nothing.
func checkNameTemplate(text string) error {
	example := nameData{"role", "token-display-name", "entity-id"}
	first, err := keyName(text, example)
	if err != nil {
		return err
	}
	if second, err := keyName(text, example); err != nil || first == second {
		return fmt.Errorf("two names would be the same; use {{ random 20 }} or {{ uuid }} in it")
	}
	return nil
}

// issueKey makes an API key under a lease.
func (b *backend) issueKey(ctx context.Context, req *logical.Request, r *role, cfg *config, l *lease) (*logical.Response, error) {
	keyName, err := keyName(r.NameTemplate, nameData{l.Role, req.DisplayName, req.EntityID})
	if err != nil {
		return userError("the name_template of role %q makes no name: %s", l.Role, err), nil
	}
	granted := b.shortest(r, 0, keyLimit(r))
	ttl := granted.left
	if l.TTL > 0 && l.TTL < ttl {
		ttl = l.TTL
	}
	l.Key = heldKey{Name: keyName, ExpiresAt: time.Now().Add(ttl + keyGrace).UTC()}
	made, err := b.makeKey(ctx, req.Storage, r, cfg, l)
	if err != nil {
		return failedKeyCall(r.ConfigName, cfg, err, "")
	}
	l.Key = made
	// The key's life counts from before the waits for a session, a turn and the answer, its
	// lease from now on.
	now := time.Now()
	left := made.leaseLeft(now)
	if left < time.Second {
		b.discardKey(req.Storage, l, "a making that took as long as the key's lease")
		return nil, errMadeTooLate
	}
	ttl = min(ttl, left)
	internal, err := l.internalData()
	if err != nil {
		return nil, err
	}
	resp := b.Secret(secretTypeKey).Response(l.keyCredential(r, ttl, now), internal)
	resp.Secret.TTL, resp.Secret.MaxTTL = ttl, min(granted.left, left)
	if l.TTL > granted.left {
		resp.AddWarning(tooLong(l.TTL, granted))
	}
	return resp, nil
}

// keyLimit is what bounds each term of a key's lease beside the mount's limits.
func keyLimit(r *role) limit {
	if r.TTL > 0 {
		return limit{"the role's ttl", r.TTL}
	}
	return limit{"an hour, the default for API keys,", defaultKeyTTL}
}

// keyCredential is what a read and a renewal return. expires_at is the lease's end; the key
// itself lives a minute longer.
func (l *lease) keyCredential(r *role, ttl time.Duration, now time.Time) map[string]any {
	data := map[string]any{
		fieldAPIKey:     l.Key.Key.Reveal(),
		fieldAPIKeyUID:  l.Key.UID,
		fieldAPIKeyName: l.Key.Name,
		fieldExpiresAt:  now.Add(ttl).UTC().Format(time.RFC3339),
		fieldAddress:    l.Address,
		fieldOrg:        l.Org,
	}
	if r.ProjectUID != "" {
		data[fieldProjectUID] = r.ProjectUID
	}
	return data
}

// makeKey makes the lease's key. Its name is written ahead and stays until the key is in
// the hands of the handler; one that arrives after the caller has gone is deleted.
func (b *backend) makeKey(ctx context.Context, s logical.Storage, r *role, cfg *config, l *lease) (heldKey, error) {
	w := &keyWAL{ConfigName: r.ConfigName, Address: cfg.Address, Name: l.Key.Name, Expiry: l.Key.ExpiresAt, At: time.Now().UTC()}
	late := func(made heldKey) {
		l.Key = made
		b.discardKey(s, l, "a call whose caller had gone")
	}
	return detached(ctx, b, func(ctx context.Context) (heldKey, error) {
		// Before this entry is there: it would be looked up as one that a crash has left behind.
		if err := b.listLeftovers(ctx, s); err != nil {
			return heldKey{}, err
		}
		id, err := framework.PutWAL(ctx, s, walKey, w)
		if err != nil {
			return heldKey{}, fmt.Errorf("writing the key's name ahead: %w", err)
		}
		made := l.Key
		var creation error // an error of the session's login says that no key was made
		err = b.withAuth(ctx, s, r.ConfigName, cfg, func(client paletteAPI, auth palette.Auth) error {
			made.UID, made.Key, creation = client.CreateAPIKey(ctx, auth, palette.NewAPIKey{
				Name: made.Name, Description: r.Description, UserUID: r.UserUID, Expiry: made.ExpiresAt,
			})
			return creation
		})
		switch {
		case err != nil && palette.VerdictOf(creation) == palette.Unknown:
			b.lostKeys.add(id) // it may have been made
			return heldKey{}, err
		case err != nil:
			if delErr := framework.DeleteWAL(ctx, s, id); delErr != nil {
				b.lostKeys.add(id)
			}
			return heldKey{}, err
		}
		if err := framework.DeleteWAL(ctx, s, id); err != nil {
			// With its entry the key would be deleted later, in use: so it is now.
			late(made)
			b.lostKeys.add(id)
			return heldKey{}, fmt.Errorf("taking the key's name out of the write-ahead log: %w", err)
		}
		return made, nil
	}, late)
}

// withAuth calls Palette with what manages keys: the config's API key or its shared
// session, which is refreshed or begun where it must, not a login for each key.
func (b *backend) withAuth(ctx context.Context, s logical.Storage, name string, expected *config, call func(paletteAPI, palette.Auth) error) error {
	cfg, leave, err := b.enterAs(ctx, s, name, expected)
	if err != nil {
		return err
	}
	client, err := b.clientFor(cfg.Connection)
	if err != nil {
		leave()
		return err
	}
	if cfg.APIKey != "" {
		defer leave() // a rotation deletes the key that this call goes out with
		return call(client, palette.Auth{APIKey: cfg.APIKey})
	}
	leave() // the session's login, where there is one, enters by itself
	current, err := b.currentSession(ctx, s, name, cfg)
	if err != nil {
		return err
	}
	used := current.session.newest().Token
	if err = call(client, palette.Auth{Token: used}); !unauthorized(err) {
		return err
	}
	// The session has ended, here or at Palette. A call that is answered 401 was not carried
	// out, and may be sent again.
	if current, err = b.sessionAfter(ctx, s, name, cfg, used); err != nil {
		return err
	}
	return call(client, palette.Auth{Token: current.session.newest().Token})
}

// failedKeyCall answers for a call with a config's API key, or about a key, that did not work.
func failedKeyCall(name string, cfg *config, err error, hint string) (*logical.Response, error) {
	if hint != "" {
		hint = "; " + hint
	}
	if says := palette.Refusal(err); says != nil {
		if cfg.APIKey != "" && unauthorized(err) {
			return userError("Palette (%s) does not accept the api_key of config %q%s; write one that is active%s", says.Host, name, says.PaletteSays(), hint), nil
		}
		return userError("Palette (%s) refuses to %s for config %q%s; check that its user may do so%s", says.Host, says.Op, name, says.PaletteSays(), hint), nil
	}
	return nil, upstreamError(err)
}

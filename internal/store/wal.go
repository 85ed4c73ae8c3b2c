package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
)

// Kinds of write-ahead entries.
const (
	WALPassword = "password" // a password that Palette may have taken
	WALRootKey  = "root_key" // an API key of a config that Palette may have made
	WALKey      = "api_key"  // an API key of a lease that Palette may have made
)

// PasswordWAL is written ahead of a password change. The config holds the old password.
type PasswordWAL struct {
	ConfigName string `json:"config_name"`
	Identity
	Password palette.Secret `json:"password"`
	// TrustDigest is [Config.TrustDigest] at the rotation; "" in entries of older versions.
	TrustDigest string    `json:"way"`
	At          time.Time `json:"at"`
	// ArrivesBy is [Config.ArrivesBy] of the config that the change went out with; zero in entries of
	// older versions.
	ArrivesBy time.Time `json:"arrives_by,omitzero"`
}

// Until is the time after which the change cannot reach Palette any more. A config whose limits have
// changed since counts where it says later.
func (w *PasswordWAL) Until(cfg *Config) time.Time { return later(w.ArrivesBy, cfg.ArrivesBy(w.At)) }

// KeyWAL is written ahead of the making of an API key, which is found by its name and expiry.
type KeyWAL struct {
	ConfigName string `json:"config_name"`
	// Role is the role whose shared key it is; "" for a key of a lease or config.
	Role    string `json:"role,omitempty"`
	Address string `json:"address"`
	Name    string `json:"name"`
	// Expiry is by Vault's clock, SentExpiry by Palette's, as the request names it; zero in entries
	// of versions that named Expiry.
	Expiry     time.Time `json:"expiry"`
	SentExpiry time.Time `json:"sent_expiry,omitzero"`
	At         time.Time `json:"at"`
	// OldUID is the key that a config's new key replaces.
	OldUID string `json:"old_uid,omitempty"`
	// OldKey is the old key itself, which may delete itself where the new key may not yet; "" in entries
	// of older versions. OldExpiry is the end of the old key by our clock, in Unix seconds; 0 where the
	// engine does not know it.
	OldKey    palette.Secret `json:"old_key,omitempty"`
	OldExpiry int64          `json:"old_expiry,omitempty"`
	// ArrivesBy is [Config.ArrivesBy] of the config that the making went out with; zero in entries of
	// older versions.
	ArrivesBy time.Time `json:"arrives_by,omitzero"`
}

// Until is the time after which the making cannot reach Palette any more. A config whose limits have
// changed since counts where it says later.
func (w *KeyWAL) Until(cfg *Config) time.Time { return later(w.ArrivesBy, cfg.ArrivesBy(w.At)) }

func later(x, y time.Time) time.Time { return slices.MaxFunc([]time.Time{x, y}, time.Time.Compare) }

// Sent is the expiry that the request names.
func (w *KeyWAL) Sent() time.Time {
	return cmp.Or(w.SentExpiry, w.Expiry)
}

// ErrUndecodable is for a write-ahead entry that no version of the engine has written. Reading
// the entry again is useless, in contrast to a storage that fails.
var ErrUndecodable = errors.New("a write-ahead entry cannot be decoded")

// DecodeWAL decodes the data of a write-ahead entry. Errors are ErrUndecodable.
func DecodeWAL(data, into any) error {
	text, err := json.Marshal(data)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return ErrUndecodable
	}
	return nil
}

// LoadWAL returns a write-ahead entry, nil for none, and the config that the entry is about.
// framework.GetWAL does not tell an undecodable entry, ErrUndecodable here, from a storage that
// fails.
func LoadWAL(ctx context.Context, s logical.Storage, id string) (entry *framework.WALEntry, configName string, err error) {
	raw, err := s.Get(ctx, framework.WALPrefix+id)
	if err != nil {
		return nil, "", fmt.Errorf("reading a write-ahead entry: %w", err)
	}
	if raw == nil {
		return nil, "", nil
	}
	entry = &framework.WALEntry{}
	if jsonutil.DecodeJSON(raw.Value, entry) != nil {
		return nil, "", ErrUndecodable
	}
	if configName, err = WALConfig(entry.Data); err != nil {
		return nil, "", err
	}
	return entry, configName, nil
}

// RewriteWAL puts other data into a write-ahead entry, which keeps its id, kind and age.
func RewriteWAL(ctx context.Context, s logical.Storage, id string, data any) error {
	entry, _, err := LoadWAL(ctx, s, id)
	if err != nil || entry == nil {
		return err
	}
	entry.Data = data
	return NewRecords[framework.WALEntry](framework.WALPrefix, nil).Put(ctx, s, id, entry)
}

// WALConfig is the name of the config that a write-ahead entry is about.
func WALConfig(data any) (string, error) {
	var of struct {
		ConfigName string `json:"config_name"`
	}
	err := DecodeWAL(data, &of)
	return of.ConfigName, err
}

// Interrupted are the write-ahead entries that an earlier process has left, by what they are
// about.
type Interrupted struct {
	Rotations         map[string][]string // the ids, by config
	Keys, Undecodable []string
}

// ReadWALs sorts write-ahead entries. An undecodable entry must not keep the others from being
// recovered, or no config could be used.
func ReadWALs(ctx context.Context, s logical.Storage, ids []string) (Interrupted, error) {
	found := Interrupted{Rotations: make(map[string][]string)}
	written := make(map[string]int64)
	for _, id := range ids {
		entry, name, err := LoadWAL(ctx, s, id)
		switch {
		case errors.Is(err, ErrUndecodable):
			found.Undecodable = append(found.Undecodable, id)
		case err != nil:
			return Interrupted{}, err
		case entry == nil:
		case entry.Kind == WALKey:
			found.Keys = append(found.Keys, id)
		case entry.Kind == WALPassword || entry.Kind == WALRootKey:
			found.Rotations[name] = append(found.Rotations[name], id)
			written[id] = entry.CreatedAt
		}
	}
	for _, ids := range found.Rotations { // the oldest first, as a process notes its own
		slices.SortStableFunc(ids, func(x, y string) int { return cmp.Compare(written[x], written[y]) })
	}
	return found, nil
}

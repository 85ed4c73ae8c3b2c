package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/transport"
)

// Config is a Palette login and how to reach Palette. Config must stay comparable:
// [Configs.Swap] compares a stored config with the one that its caller has read.
type Config struct {
	palette.Connection
	// LoginType is LoginUser ("" in entries of older versions) or LoginSystem.
	LoginType string `json:"login_type,omitempty"`
	Email     string `json:"email"`
	Org       string `json:"org"`
	// Username stands instead of Email and Org with LoginSystem.
	Username string         `json:"username,omitempty"`
	Password palette.Secret `json:"password"`
	// APIKey stands instead of Email and Password.
	APIKey palette.Secret `json:"api_key,omitempty"`
	// UserUID is the user of APIKey; "" where Palette was not asked.
	UserUID string `json:"user_uid,omitempty"`
	// APIKeyUID is Palette's name for APIKey; "" where the engine does not know it.
	APIKeyUID string `json:"api_key_uid,omitempty"`
	// APIKeyExpiry is the end of APIKey by our clock, in Unix seconds; 0 where the engine does not know it.
	APIKeyExpiry int64 `json:"api_key_expiry,omitempty"`
	// APIKeyName is the name of APIKey at Palette; "" where the engine has not made the key.
	APIKeyName string `json:"api_key_name,omitempty"`
	// PasswordPolicy names the Vault policy that makes the passwords of rotations.
	PasswordPolicy string        `json:"password_policy,omitempty"`
	RotationPeriod time.Duration `json:"rotation_period,omitempty"`
	// LastRotated is when the engine last rotated the config, in Unix seconds. A time.Time would
	// not be comparable.
	LastRotated int64 `json:"last_rotated,omitempty"`
	// RotateFrom is what RotationPeriod counts from: the last rotation, or the write of the
	// password, the key or the period. Unix seconds.
	RotateFrom int64 `json:"rotate_from,omitempty"`
	// RotateBy is when APIKey must have been rotated at the latest, whatever RotationPeriod says, in Unix
	// seconds; 0 where no expiry asks for that.
	RotateBy int64 `json:"rotate_by,omitempty"`
	// KeyLimit is how many API keys Palette lets a user have; 0 where that is not known.
	KeyLimit int `json:"key_limit"`
	// SecretSince is when the password or key was written or rotated, in Unix seconds; 0 in
	// entries of older versions.
	SecretSince int64 `json:"secret_since,omitempty"`
}

// The values of LoginType: a user of a tenant, and a system administrator of a self-hosted Palette.
const (
	LoginUser   = "user"
	LoginSystem = "system"
)

// DefaultConnection is a connection of which only the address is known. Stored connections are
// decoded over it: older versions had no rate_limit, and 0 would lift Palette's limit.
func DefaultConnection(address string) palette.Connection {
	return palette.Connection{
		Address: address, RequestTimeout: transport.DefaultRequestTimeout,
		RateLimit: transport.DefaultRateLimit, QueueTimeout: transport.DefaultQueueTimeout,
	}
}

// DefaultKeyLimit is Palette's own limit (source: the resource limits of a tenant).
const DefaultKeyLimit = 20

// NewConfig is a config of which only the address is known. Stored configs are decoded over it.
func NewConfig(address string) *Config {
	return &Config{Connection: DefaultConnection(address), KeyLimit: DefaultKeyLimit}
}

// IsSystem tells whether the config logs in as a system administrator.
func (c *Config) IsSystem() bool { return c.LoginType == LoginSystem }

// Identity is the user that the config logs in as, and where.
func (c *Config) Identity() Identity {
	return Identity{Address: c.Address, Org: c.Org, Email: c.Email, Username: c.Username}
}

// Who names the config's account in messages.
func (c *Config) Who() string {
	if c.IsSystem() {
		return fmt.Sprintf("system administrator %q", c.Username)
	}
	return fmt.Sprintf("%q in organization %q", c.Email, c.Org)
}

// LoginFields names the fields of the config's login in messages.
func (c *Config) LoginFields() string {
	if c.IsSystem() {
		return "username and password (neither works where the administrator has a passkey)"
	}
	return "email, org and password"
}

// SameIdentity tells whether two configs log in as one user at one Palette.
func (c *Config) SameIdentity(other *Config) bool { return c.Identity().Same(other.Identity()) }

// Login is what the config logs in with.
func (c *Config) Login() palette.Login {
	return palette.Login{Email: c.Email, Org: c.Org, Username: c.Username, Password: c.Password, SetAt: c.SetByRotation()}
}

// SetByRotation is when a rotation has set the config's secret; zero where an operator has.
func (c *Config) SetByRotation() time.Time {
	if c.LastRotated == 0 || c.LastRotated != c.SecretSince {
		return time.Time{}
	}
	return time.Unix(c.LastRotated, 0)
}

// SetRotated notes that the config's password or key is new since a time.
func (c *Config) SetRotated(at time.Time) {
	c.LastRotated, c.RotateFrom, c.SecretSince, c.RotateBy = at.Unix(), at.Unix(), at.Unix(), 0
}

// lateness is how much longer than its limits a call may take to reach Palette (an assumption).
const lateness = 10 * time.Second

// ArrivesBy is the time after which a call that began at a time cannot reach Palette any more.
// What recovers an interrupted rotation or the making of a key waits until then.
func (c *Config) ArrivesBy(began time.Time) time.Time {
	return began.Add(c.QueueTimeout + c.RequestTimeout + lateness)
}

// TrustDigest is a digest of who stands between Vault and Palette, and of who counts as Palette.
// A password that was written ahead goes out only where the digest is still the same.
func (c *Config) TrustDigest() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", c.ProxyURL.Reveal(), c.CACert, c.TLSServerName, c.TLSSkipVerify))
	return hex.EncodeToString(sum[:])
}

// Configs are the configs of a mount. Swap makes a read, change and write of one whole.
type Configs struct {
	*Collection[Config]
	// locks guard the swap of a config, by its name. No lock is held over a call to Palette.
	locks []*locksutil.LockEntry
}

// NewConfigs are the configs of a mount.
func NewConfigs() *Configs {
	blank := func() *Config { return NewConfig("") }
	return &Configs{Collection: NewCollection(ConfigPrefix, blank), locks: locksutil.CreateLocks()}
}

// Swap stores next, or deletes the config where next is nil. Swap does so only where the stored
// config is still old, and swapped tells whether it was. Where the config leaves an address, the
// connection to that address is kept: leases were issued there.
func (c *Configs) Swap(ctx context.Context, s logical.Storage, name string, old, next *Config) (swapped bool, err error) {
	lock := locksutil.LockForKey(c.locks, name)
	lock.Lock()
	defer lock.Unlock()
	current, err := c.Get(ctx, s, name)
	if err != nil {
		return false, err
	}
	if (current == nil) != (old == nil) || current != nil && *current != *old {
		return false, nil
	}
	if current != nil && (next == nil || !SameAddress(current.Address, next.Address)) {
		if err = KeepConnection(ctx, s, name, current.Connection); err != nil {
			return false, err
		}
	}
	if next == nil {
		return true, c.Delete(ctx, s, name)
	}
	return true, c.Put(ctx, s, name, next)
}

// ConnectionTo finds how to reach the Palette at an address that a config had when it issued a
// credential. The config comes first, since the config knows the CA of today. Then comes the
// connection that was kept when the config changed or went, and last the bare address.
func (c *Configs) ConnectionTo(ctx context.Context, s logical.Storage, configName, address string) (palette.Connection, error) {
	cfg, err := c.Get(ctx, s, configName)
	if err != nil {
		return palette.Connection{}, err
	}
	if cfg != nil && SameAddress(cfg.Address, address) {
		return cfg.Connection, nil
	}
	// Older versions have kept a connection by the address as it was written.
	for _, as := range []string{transport.NormalAddress(address), address} {
		found, err := keptConnections.Get(ctx, s, keptID(configName, as))
		if err != nil {
			return palette.Connection{}, err
		}
		if found != nil {
			return found.Connection, nil
		}
	}
	return DefaultConnection(address), nil
}

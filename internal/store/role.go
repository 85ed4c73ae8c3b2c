package store

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// The values of a role's credential_type.
const (
	CredentialToken  = "token"
	CredentialAPIKey = "api_key"
)

// Role says which config issues a credential, and how long the credential's lease lasts.
type Role struct {
	ConfigName string `json:"config_name"`
	// TTL bounds each term of a lease; 0 sets no limit.
	TTL time.Duration `json:"ttl"`
	// MaxTTL bounds all terms of a lease together, counted from the issue; 0 sets no limit.
	MaxTTL     time.Duration `json:"max_ttl"`
	Renewable  bool          `json:"renewable"`
	ProjectUID string        `json:"project_uid"`
	// Shared: the leases hand out the config's shared session instead of a login each or, with
	// CredentialAPIKey, one key of the role's.
	Shared bool `json:"shared"`
	// CredentialType is token ("" in entries of older versions) or api_key.
	CredentialType string `json:"credential_type,omitempty"`
	// The fields from here on are for API keys.
	UserUID      string `json:"user_uid,omitempty"`
	NameTemplate string `json:"name_template,omitempty"`
	Description  string `json:"description,omitempty"`
}

// IsAPIKey tells whether the role hands out API keys.
func (r *Role) IsAPIKey() bool { return r.CredentialType == CredentialAPIKey }

// SharesKey tells whether the role's leases hand out one API key.
func (r *Role) SharesKey() bool { return r.Shared && r.IsAPIKey() }

// Roles are the roles of a mount.
type Roles struct {
	*Collection[Role]
	locks []*locksutil.LockEntry
}

// NewRoles are the roles of a mount.
func NewRoles() *Roles {
	return &Roles{Collection: NewCollection[Role](RolePrefix, nil), locks: locksutil.CreateLocks()}
}

// Named is a role with its name.
type Named struct {
	Name string
	*Role
}

// Of are the roles that a config issues the credentials of, in the order of their names. A role that
// cannot be read is left out.
func (r *Roles) Of(ctx context.Context, s logical.Storage, config string) ([]Named, error) {
	var found []Named
	err := r.Each(ctx, s, func(name string, role *Role, err error) {
		if err == nil && role.ConfigName == config {
			found = append(found, Named{name, role})
		}
	})
	return found, err
}

// Lock makes a read, change and write of a role whole until unlock is called. The lock must not
// be held over a call to Palette.
func (r *Roles) Lock(name string) (unlock func()) {
	lock := locksutil.LockForKey(r.locks, name)
	lock.Lock()
	return lock.Unlock
}

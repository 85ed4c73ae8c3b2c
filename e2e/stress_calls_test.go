package e2e

import (
	"fmt"
	"slices"
	"strings"
)

// role is the client's own role of a kind.
func (c *stressClient) role(kind string) string { return fmt.Sprintf("%s%d", kind, c.n) }

func (c *stressClient) put(path string, data map[string]any) error {
	_, err := c.api.Logical().WriteWithContext(c.t.Context(), c.mount+"/"+path, data)
	return err
}

// issue reads a credential, and keeps its lease. Of what is too much the oldest is revoked.
func (c *stressClient) issue(role string, fields ...string) error {
	query := map[string][]string{}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		query[name] = []string{value}
	}
	secret, err := c.api.Logical().ReadWithDataWithContext(c.t.Context(), c.mount+"/creds/"+role, query)
	if err != nil {
		return err
	}
	c.leases = append(c.leases, heldLease{secret.LeaseID, role, secret.Renewable})
	if len(c.leases) > heldLeases {
		return c.revoke(true)
	}
	return nil
}

func (c *stressClient) readOwn() error {
	return c.issue(c.role("app"), [][]string{nil, {"ttl=10m"}, {"renewable=false"}}[c.rand.IntN(3)]...)
}

// renew renews some lease that can be, if there is one.
func (c *stressClient) renew() error {
	candidates := slices.DeleteFunc(slices.Clone(c.leases), func(l heldLease) bool { return !l.renewable })
	if len(candidates) == 0 {
		return nil
	}
	_, err := c.api.Sys().RenewWithContext(c.t.Context(), candidates[c.rand.IntN(len(candidates))].id, 600+c.rand.IntN(600))
	return err
}

// revoke revokes the oldest lease.
func (c *stressClient) revoke(sync bool) error {
	if len(c.leases) == 0 {
		return nil
	}
	id := c.leases[0].id
	c.leases = c.leases[1:]
	return c.end("sys/leases/revoke", map[string]any{"lease_id": id, "sync": sync})
}

// revokePrefix revokes the leases of one of the client's own roles.
func (c *stressClient) revokePrefix(sync bool) error {
	role := c.role([]string{"app", "key"}[c.rand.IntN(2)])
	c.leases = slices.DeleteFunc(c.leases, func(l heldLease) bool { return l.role == role })
	return c.end("sys/leases/revoke-prefix/"+c.mount+"/creds/"+role, map[string]any{"sync": sync})
}

func (c *stressClient) end(path string, data map[string]any) error {
	_, err := c.api.Logical().WriteWithContext(c.t.Context(), path, data)
	return err
}

// writeConfig changes what does no harm, with and without a login.
func (c *stressClient) writeConfig() error {
	return c.put("config", map[string]any{
		"request_timeout": 20 + c.rand.IntN(20), "queue_timeout": 40 + c.rand.IntN(20), "verify_connection": c.rand.IntN(2) == 0,
	})
}

func (c *stressClient) writeRole() error {
	role := []string{"shared", c.role("app"), c.role("key")}[c.rand.IntN(3)]
	return c.put("roles/"+role, map[string]any{"ttl": 600 + c.rand.IntN(600), "max_ttl": 3600 + c.rand.IntN(3600), "renewable": true})
}

// comeAndGo makes a config and a role, reads a credential and deletes both. The lease stays.
func (c *stressClient) comeAndGo() error {
	name := c.role("brief")
	if err := c.put("config/"+name, c.loginAs(stressUser(c.n))); err != nil {
		return err
	}
	if err := c.put("roles/"+name, map[string]any{"config_name": name, "renewable": false, "shared": c.rand.IntN(2) == 0}); err != nil {
		return err
	}
	if err := c.issue(name); err != nil {
		return err
	}
	for _, path := range []string{"roles/", "config/"} {
		if _, err := c.api.Logical().DeleteWithContext(c.t.Context(), c.mount+"/"+path+name); err != nil {
			return err
		}
	}
	return nil
}

// look reads one of some paths.
func (c *stressClient) look(paths ...string) error {
	_, err := c.api.Logical().ReadWithContext(c.t.Context(), c.mount+"/"+paths[c.rand.IntN(len(paths))])
	return err
}

func (c *stressClient) endSession() error {
	_, err := c.api.Logical().DeleteWithContext(c.t.Context(), c.mount+"/sessions/default")
	return err
}

func (c *stressClient) list() error {
	_, err := c.api.Logical().ListWithContext(c.t.Context(), c.mount+"/"+[]string{"config", "roles", "sessions"}[c.rand.IntN(3)])
	return err
}

func (c *stressClient) metrics() error {
	resp, err := c.api.Logical().ReadRawWithContext(c.t.Context(), c.mount+"/metrics")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

# For the Vault Secrets Operator, which reads, renews and revokes for one application. "app-agent",
# "app-fleet" and "app-key" are the roles. Vault's policy "default" lets it renew leases, and renew
# and look up its own token.

path "palette/creds/app-agent" {
  capabilities = ["read"]
}

path "palette/creds/app-fleet" {
  capabilities = ["read"]
}

path "palette/creds/app-key" {
  capabilities = ["read"]
}

# The operator revokes the lease of an object that is deleted. It names the lease in the body, so
# the leases of other roles are refused here, and not by the path.
path "sys/leases/revoke" {
  capabilities = ["update"]
  allowed_parameters = {
    "lease_id" = ["palette/creds/app-agent/*", "palette/creds/app-fleet/*", "palette/creds/app-key/*"]
  }
}

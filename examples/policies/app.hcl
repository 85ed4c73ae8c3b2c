# For an application that reads its token, renews its lease and revokes it when it ends.
# "app" is the role.

path "palette/creds/app" {
  # "update" is for reads with fields in the body, as in
  # `vault write palette/creds/app ttl=5m`; without them "read" is enough.
  capabilities = ["read", "update"]
}

# Vault's policy "default" allows this too. The lease's ID is in the body; whoever knows
# a lease's ID may renew it.
path "sys/leases/renew" {
  capabilities = ["update"]
}

# The CLI and Vault's Go client put the lease's ID into the path, so that this allows
# the leases of this role and no others.
path "sys/leases/revoke/palette/creds/app/*" {
  capabilities = ["update"]
}

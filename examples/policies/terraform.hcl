# For a Terraform run: reads an API key, and ends it. "app-key" is the role.

path "palette/creds/app-key" {
  capabilities = ["read"]
}

# palette-key.sh ends the key when the run is over. The CLI puts the lease's ID into the
# path, so that this allows the leases of this role and no others.
path "sys/leases/revoke/palette/creds/app-key/*" {
  capabilities = ["update"]
}

# Only for ephemeral/main.tf: Terraform's Vault provider makes itself a child token, to end
# with the run, and looks its own up.
path "auth/token/create" {
  capabilities = ["update"]
}

path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}

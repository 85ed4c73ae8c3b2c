# For whoever runs the mount: configs and their rotation, roles, shared sessions, and
# the leases in an emergency. It does not allow reading a credential.

path "palette/config" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "palette/config/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Give a config a new password or API key, which nobody sees. It locks out whoever
# else uses the same Palette user.
path "palette/rotate-root" {
  capabilities = ["update"]
}

path "palette/rotate-root/*" {
  capabilities = ["update"]
}

path "palette/roles" {
  capabilities = ["list"]
}

path "palette/roles/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# See the shared sessions, and end them: the only way to end the tokens of shared leases.
path "palette/sessions" {
  capabilities = ["list"]
}

path "palette/sessions/*" {
  capabilities = ["read", "delete", "list"]
}

# See whether a config works, and what the mount does.
path "palette/check" {
  capabilities = ["read"]
}

path "palette/check/*" {
  capabilities = ["read"]
}

path "palette/metrics" {
  capabilities = ["read"]
}

# See which leases there are.
path "sys/leases/lookup/palette/creds/*" {
  capabilities = ["list", "sudo"]
}

path "sys/leases/lookup" {
  capabilities = ["update"]
}

# End them: one, or with -prefix all of a role or of the mount.
path "sys/leases/revoke/palette/creds/*" {
  capabilities = ["update"]
}

path "sys/leases/revoke-prefix/palette/*" {
  capabilities = ["update", "sudo"]
}

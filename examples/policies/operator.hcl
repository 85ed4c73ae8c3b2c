# For whoever runs the mount: configs, roles, and the leases in an emergency. It does not
# allow reading a credential.

path "palette/config" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "palette/config/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "palette/roles" {
  capabilities = ["list"]
}

path "palette/roles/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
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

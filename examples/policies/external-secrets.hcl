# For External Secrets, which reads for one application, and neither renews nor revokes.
# "app-agent" and "app-fleet" are the roles.

path "palette/creds/app-agent" {
  capabilities = ["read"]
}

path "palette/creds/app-fleet" {
  capabilities = ["read"]
}

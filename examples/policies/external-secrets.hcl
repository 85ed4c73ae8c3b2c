# For External Secrets, which reads for one application, and neither renews nor revokes.
# "app-agent",
# "app-fleet" and "app-fleet-key" are the roles.

path "palette/creds/app-agent" {
  capabilities = ["read"]
}

path "palette/creds/app-fleet" {
  capabilities = ["read"]
}

path "palette/creds/app-fleet-key" {
  capabilities = ["read"]
}

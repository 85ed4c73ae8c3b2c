# For one of many consumers that share a session: applications and Vault Agents. They read
# and nothing else. To revoke such a lease would not end its token, and to end the session
# is the operator's, since all the others use it. "app-fleet" is the role.

path "palette/creds/app-fleet" {
  # "update" is only needed for reads with fields in the body.
  capabilities = ["read"]
}

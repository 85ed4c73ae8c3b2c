# For a Vault Agent that fills a template. It neither renews nor revokes: its leases are
# not renewable and end by themselves. "app-agent" is the role.

path "palette/creds/app-agent" {
  # "update" is only needed for templates whose `secret` has further arguments.
  capabilities = ["read"]
}

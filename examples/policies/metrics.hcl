# For Prometheus: reads the mount's metrics and nothing else. They hold no secret and no
# credential's name, but the names of configs.

path "palette/metrics" {
  capabilities = ["read"]
}

# Prometheus takes its Vault token from a file. Whatever keeps that file, as a Vault Agent
# does, renews the token by this; Vault's policy "default" allows it too.
path "auth/token/renew-self" {
  capabilities = ["update"]
}

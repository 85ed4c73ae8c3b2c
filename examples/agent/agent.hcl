# Vault Agent: logs in with AppRole and keeps palette.env filled with a live Palette
# token.
#
#   export VAULT_ADDR=https://vault.example.com:8200
#   vault agent -config=agent.hcl
#
# Nothing in here has to be replaced. The server's address comes from VAULT_ADDR (and
# its authority from VAULT_CACERT), and paths are relative to the working directory,
# which is where role-id, secret-id and palette.env.ctmpl are expected (under systemd:
# WorkingDirectory=).

auto_auth {
  method "approle" {
    config = {
      role_id_file_path   = "role-id"
      secret_id_file_path = "secret-id"

      # Kept, so that the Agent can log in again after a restart.
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # The Agent stops when a template has failed for good, and whatever supervises it
  # notices. Without this it goes on, and the file keeps its last token past its death.
  exit_on_retry_failure = true

  # Read anew at 70 to 80 percent of the lease (the Agent's default is 85 to 95). The
  # token in the file then has at least a fifth of its life left, and whoever reads the
  # file has that long to pick up the next one.
  lease_renewal_threshold = 0.75
}

template {
  source               = "palette.env.ctmpl"
  destination          = "palette.env"
  perms                = "0600"
  error_on_missing_key = true
}

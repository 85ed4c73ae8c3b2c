#!/bin/sh
# Mounts the engine on a running Vault and configures it: plugin, config, roles, policies.
# Each command can be run again.
#
#   VAULT_ADDR, VAULT_TOKEN   Vault, with a token that may register plugins, mount engines
#                             and write policies
#   PLUGIN                    the plugin's binary, as it lies in Vault's plugin_directory
#   PALETTE_EMAIL, PALETTE_PASSWORD, PALETTE_ORG
#                             the Palette user that the engine logs in as
#   PALETTE_ADDRESS           Palette (https://api.spectrocloud.com)
#   PALETTE_CA_CERT           file with the authority of Palette's certificate (the system's)
#   PALETTE_RATE_LIMIT        calls a second that Palette allows this Vault (10); less where
#                             others call Palette from the same IP address
#   PALETTE_QUEUE_TIMEOUT     how long a call waits for its turn (55s); less where whoever
#                             reads, or a proxy before Vault, waits less than 60 s
#   PALETTE_PASSWORD_POLICY   Vault password policy for the passwords of rotations (none)
#   PALETTE_ROTATION_PERIOD   rotate the password that often, such as 720h (never). Each run
#                             that names it starts the period anew
#   PALETTE_ROTATE            "yes": rotate the password at the end, once for each run. From
#                             then on nobody knows it, so PALETTE_EMAIL must be a user of the
#                             engine's own
set -eu

here=$(cd "$(dirname "$0")" && pwd)
name=vault-plugin-secrets-palette
: "${PLUGIN:?the path of the plugin binary in plugin_directory}"
: "${PALETTE_EMAIL:?}" "${PALETTE_ORG:?}"

sha256=$(sha256sum "$PLUGIN" | cut -d ' ' -f 1)
version=$("$PLUGIN" -version | cut -d ' ' -f 2)
vault plugin register -sha256="$sha256" -version="$version" -command="$(basename "$PLUGIN")" secret "$name"
if ! vault read sys/mounts/palette >/dev/null 2>&1; then
	vault secrets enable -path=palette "$name"
fi

set -- "address=${PALETTE_ADDRESS:-https://api.spectrocloud.com}" "email=$PALETTE_EMAIL" "org=$PALETTE_ORG" \
	"rate_limit=${PALETTE_RATE_LIMIT:-10}" "queue_timeout=${PALETTE_QUEUE_TIMEOUT:-55s}"
[ -z "${PALETTE_CA_CERT:-}" ] || set -- "$@" "ca_cert=@$PALETTE_CA_CERT"
[ -z "${PALETTE_PASSWORD_POLICY:-}" ] || set -- "$@" "password_policy=$PALETTE_PASSWORD_POLICY"
[ -z "${PALETTE_ROTATION_PERIOD:-}" ] || set -- "$@" "rotation_period=$PALETTE_ROTATION_PERIOD"
if vault read -field=last_rotated palette/config >/dev/null 2>&1; then
	# The engine has a password that nobody knows, and PALETTE_PASSWORD is a dead one.
	vault write palette/config "$@"
else
	: "${PALETTE_PASSWORD:?}"
	# "password=-" reads it from standard input, so that no command line holds it.
	printf '%s' "$PALETTE_PASSWORD" | vault write palette/config "$@" password=-
fi

# One role for each kind of client: see docs/how-to/choose-a-role.md.
vault write palette/roles/app renewable=true max_ttl=24h
vault write palette/roles/app-agent renewable=false
# For many consumers: they share one session of Palette's, and a lease that is revoked does
# not end it. See docs/explanation/shared-credentials.md.
vault write palette/roles/app-fleet shared=true renewable=false
# For what takes an API key and no token, as Palette's Terraform provider: see terraform/.
vault write palette/roles/app-key credential_type=api_key ttl=1h max_ttl=24h description="Made by Vault"

vault policy write palette-app "$here/policies/app.hcl"
vault policy write palette-agent "$here/policies/agent.hcl"
vault policy write palette-fleet "$here/policies/fleet.hcl"
vault policy write palette-terraform "$here/policies/terraform.hcl"
vault policy write palette-operator "$here/policies/operator.hcl"
vault policy write palette-metrics "$here/policies/metrics.hcl"

[ "${PALETTE_ROTATE:-}" != yes ] || vault write -force palette/rotate-root

# Does it work? Where it does not, this says at which step, and what to do.
vault read palette/check

#!/bin/sh
# Runs a command, such as Terraform, with a Palette API key out of Vault in its environment,
# and ends the key when the command has ended, however that comes.
#
#   palette-key.sh terraform apply
#
#   VAULT_ADDR         Vault, and whatever else the vault CLI takes from the environment
#   VAULT_TOKEN        or a token that `vault login` has left; policies/terraform.hcl will do.
#                      It has to outlive the command: when it ends, so does the key
#   PALETTE_ROLE_PATH  what to read (palette/creds/app-key): a role with
#                      credential_type=api_key, whose ttl is longer than the command runs
#
# The short way, without a revocation at the end, is
#   SPECTROCLOUD_APIKEY=$(vault read -field=api_key palette/creds/app-key) terraform apply
set -eu

[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT]..." >&2; exit 64; }
role_path=${PALETTE_ROLE_PATH:-palette/creds/app-key}
credential=

# The vault CLI prints one field on a line, and none of these needs JSON's escapes. Where
# jq is at hand: jq -r ".$1 // .data.$1 // empty".
field() { printf '%s\n' "$credential" | sed -n 's/^ *"'"$1"'": "\(.*\)",\{0,1\}$/\1/p'; }

end() {
	status=$?
	trap - EXIT
	lease_id=$(field lease_id)
	if [ -n "$lease_id" ] && ! vault lease revoke -sync "$lease_id" >&2; then
		echo "palette-key: could not revoke the lease" >&2
		[ "$status" -ne 0 ] || status=1
	fi
	exit "$status"
}
trap end EXIT
# The shell waits for the command first, which gets an interrupt as well.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

credential=$(vault read -format=json "$role_path")
key=$(field api_key)
host=$(field address)
[ -n "$key" ] || { echo "palette-key: $role_path returns no API key" >&2; exit 1; }

# Before "=", and not in an `export`, so that only the command has them.
SPECTROCLOUD_APIKEY=$key SPECTROCLOUD_HOST=${host#*://} "$@"

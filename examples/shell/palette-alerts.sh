#!/bin/sh
# Reads a Palette token from Vault, asks Palette for the projects' alerts with it, and
# revokes the token at the end, however that comes.
#
#   VAULT_ADDR         Vault, and whatever else the vault CLI takes from the environment
#   VAULT_TOKEN        or a token that `vault login` has left
#   PALETTE_ROLE_PATH  what to read (palette/creds/app)
#   PALETTE_CA_CERT    file with the authority of Palette's certificate (the system's)
#
# Needs vault and curl. The token is on no command line, where `ps` would show it: it goes
# through pipes, and printf is the shell's own.
set -eu

role_path=${PALETTE_ROLE_PATH:-palette/creds/app}
credential=

# The vault CLI prints one field on a line, and none of these needs JSON's escapes. Where
# jq is at hand: jq -r ".$1 // .data.$1 // empty".
field() { printf '%s\n' "$credential" | sed -n 's/^ *"'"$1"'": "\(.*\)",\{0,1\}$/\1/p'; }

end() {
	status=$?
	trap - EXIT
	lease_id=$(field lease_id)
	if [ -n "$lease_id" ] && ! vault lease revoke -sync "$lease_id" >&2; then
		echo "palette-alerts: could not revoke the lease" >&2
		[ "$status" -ne 0 ] || status=1
	fi
	exit "$status"
}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Not renewable: the script is done long before the token dies, and nobody would take a
# new token out of a renewal.
credential=$(vault read -format=json "$role_path" renewable=false)
address=$(field address)
project_uid=$(field project_uid)

# curl reads these as options. Palette's header has no "Bearer".
options() {
	printf 'url = "%s/v1/projects/alerts"\n' "$address"
	printf 'header = "Authorization: %s"\n' "$(field token)"
	[ -z "$project_uid" ] || printf 'header = "ProjectUid: %s"\n' "$project_uid"
	[ -z "${PALETTE_CA_CERT:-}" ] || printf 'cacert = "%s"\n' "$PALETTE_CA_CERT"
}

options | curl --config - --silent --show-error --fail --max-time 30
echo

#!/bin/sh
# Shows the shared sessions of a mount, or ends that of one config. All tokens that the
# leases of the config's shared roles carry are dead then, and the next read logs in.
#
#   palette-sessions.sh             show them, with when each token expires
#   palette-sessions.sh end CONFIG  end one
#
#   VAULT_ADDR     Vault, and whatever else the vault CLI takes from the environment
#   VAULT_TOKEN    or a token that `vault login` has left; policies/operator.hcl will do
#   PALETTE_MOUNT  where the engine is mounted (palette)
set -eu

mount=${PALETTE_MOUNT:-palette}

case "${1:-}:$#" in
:0)
	# Where there is none, the CLI says "No value found" and ends with 2.
	names=$(vault list -format=yaml "$mount/sessions") || [ $? -eq 2 ]
	for name in $(printf '%s\n' "$names" | sed -n 's/^- //p'); do
		printf '== %s\n' "$name"
		vault read "$mount/sessions/$name"
	done
	;;
end:2)
	# Where Palette cannot be reached this succeeds as well: the engine tries each minute,
	# and its log says so.
	vault delete "$mount/sessions/$2"
	;;
*)
	echo "usage: $0 [end CONFIG]" >&2
	exit 64
	;;
esac

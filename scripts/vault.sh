#!/usr/bin/env bash
# Finds the Vault server that the tests and the demo run on, or builds it.
#
#   scripts/vault.sh          builds it where there is none; the path is all of its standard output
#   scripts/vault.sh --path   the same, without a word where there is one
#
# A `vault` on the PATH comes first when it is 1.16 or newer; of an older one a line is said.
# Otherwise the module in tools/vault is built into bin/vault, once. VAULT_VERSION=1.19.0 asks for that
# version instead, wherever it is from, and builds it into bin/vault-1.19.0.
#
# SERVER=bao asks for OpenBao instead: the program that VAULT_BIN names, or the `bao` on the PATH.
# None is built.
#
# Vault is under the Business Source License: it is a fixture of the tests, in a
# module of its own, and never linked into or shipped with the plugin.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
module=$root/tools/vault
only_path=
[ "${1:-}" != --path ] || only_path=yes

# Everything but the path goes to standard error, for the callers of --path.
say() { printf 'vault: %s\n' "$*" >&2; }

# With --path a Vault that is there already is not worth a word.
tell() { [ "$only_path" ] || say "$@"; }

# version_of BINARY prints 1.21.2, and nothing for what is no Vault (OpenBao, a
# wrapper, a binary of another system).
version_of() {
	"$1" version 2>/dev/null | sed -n 's/^Vault v\([0-9][0-9.]*\).*/\1/p' || true
}

# new_enough VERSION: 1.16 is the first whose plugin catalog and leases the tests rely on.
new_enough() {
	local major minor rest
	IFS=. read -r major minor rest <<<"$1"
	[ "${major:-0}" -gt 1 ] || { [ "${major:-0}" -eq 1 ] && [ "${minor:-0}" -ge 16 ]; }
}

# build VERSION TARGET
build() {
	local version=$1 target=$2 source=$module mode=readonly started=$SECONDS
	if [ "$version" != "$pinned" ]; then
		# The pinned requirements are those of another Vault: start from the few
		# lines that are written by hand and let Go fill in the rest, in a copy.
		scratch=$(mktemp -d)
		trap 'rm -rf "$scratch"' EXIT
		grep -E '^(module|go|tool|replace) ' "$module/go.mod" >"$scratch/go.mod"
		echo "require github.com/hashicorp/vault v$version" >>"$scratch/go.mod"
		source=$scratch mode=mod
	fi
	say "building Vault $version from its Go module into ${target#"$root"/}:"
	say "6 to 10 minutes on two cores the first time, seconds once Go has it in its cache"
	mkdir -p "$root/bin"
	# Into place by rename, so that an interrupted build leaves no half of a binary.
	# With a date, as a server that HashiCorp has built: without one it does not tell plugins
	# what it is.
	(
		cd "$source"
		export GOWORK=off
		date=$(go list -mod=$mode -m -f '{{with .Time}}{{.Format "2006-01-02T15:04:05Z07:00"}}{{end}}' github.com/hashicorp/vault)
		go build -mod=$mode -tags minimal -ldflags "-X github.com/hashicorp/vault/version.BuildDate=${date:-2006-01-02T15:04:05Z}" \
			-o "$target.new" github.com/hashicorp/vault
	) >&2 || {
		say "Vault $version could not be built: put one on the PATH, 1.16 or newer, from https://developer.hashicorp.com/vault/install"
		exit 1
	}
	mv -f "$target.new" "$target"
	say "built in $((SECONDS - started)) s"
}

case ${SERVER:-vault} in
vault) ;;
bao)
	bao=${VAULT_BIN:-$(command -v bao || true)}
	if ! found=$("${bao:-bao}" version 2>/dev/null) || [[ $found != OpenBao* ]]; then
		say "SERVER=bao, and ${bao:-the PATH} is no OpenBao: name its program in VAULT_BIN, or put a bao on the PATH (https://openbao.org/downloads)"
		exit 1
	fi
	tell "using $found, $bao"
	echo "$bao"
	exit
	;;
*)
	say "SERVER is $SERVER, and has to be vault or bao"
	exit 1
	;;
esac

pinned=$(sed -n 's/^require github.com\/hashicorp\/vault v//p' "$module/go.mod")
version=${VAULT_VERSION:-$pinned}
version=${version#v}
target=$root/bin/vault
[ "$version" = "$pinned" ] || target=$target-$version

found=
on_path=$(command -v vault) && found=$(version_of "$on_path")
if [ -n "$found" ] && new_enough "$found" && { [ -z "${VAULT_VERSION:-}" ] || [ "$found" = "$version" ]; }; then
	tell "using Vault $found from the PATH"
	echo "$on_path"
	exit
fi
if [ -n "$found" ] && ! new_enough "$found"; then
	tell "$on_path is Vault $found, and the tests need 1.16 or newer (https://developer.hashicorp.com/vault/install): ${target#"$root"/} takes its place"
fi
if [ "$(version_of "$target")" = "$version" ]; then
	tell "using Vault $version, built before into ${target#"$root"/}"
else
	build "$version" "$target"
fi

echo "$target"

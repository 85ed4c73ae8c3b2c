#!/usr/bin/env bash
# Says, a line each, what this machine lacks for a command of the Makefile and how to get it.
#
#   scripts/preflight.sh git compiler bin      fails where one of these is missing; Go always counts
#
#   git        the commits' messages and the upgrade test read the history
#   compiler   a C compiler, for Go's race detector
#   bin        a folder bin/ that can be written to: all programs are built there
#
# Vault is not among them: scripts/vault.sh finds or builds one, and says so.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0
missing() {
	printf 'preflight: %s\n' "$*" >&2
	failed=1
}

has() { command -v "$1" >/dev/null 2>&1; }

has_compiler() {
	local words
	read -ra words <<<"$(go env CC)" # may be several words: ccache gcc
	has "${words[0]:-cc}"
}

if ! has go; then
	missing "there is no Go: get 1.26 or newer from https://go.dev/dl, and put its bin folder on the PATH"
fi
for need in "$@"; do
	case $need in
	git)
		has git || missing "there is no git: install it (apt-get install git, dnf install git, brew install git)"
		;;
	compiler)
		if ! has go; then
			continue # which knows the compiler's name
		elif ! has_compiler; then
			missing "there is no C compiler ($(go env CC)) for the race detector: install one (apt-get install gcc, dnf install gcc, xcode-select --install), or name it in CC"
		elif [ "$(go env CGO_ENABLED)" != 1 ]; then
			missing "CGO_ENABLED is 0, and the race detector needs cgo: unset CGO_ENABLED"
		fi
		;;
	bin)
		# By trying: permissions do not tell of a read-only file system, and do not hold for root.
		probe=bin/.preflight-$$
		if mkdir -p bin 2>/dev/null && (: >"$probe") 2>/dev/null; then
			rm -f "$probe"
		else
			missing "cannot write to $PWD/bin, where all programs are built: work in a clone of your own (git clone $PWD)"
		fi
		;;
	*)
		missing "does not know of \"$need\""
		;;
	esac
done
exit $failed

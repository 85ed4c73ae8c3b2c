#!/usr/bin/env bash
# Runs the linters of .golangci.yml in modules of this repository.
#
#   scripts/lint.sh . e2e               in these
#   scripts/lint.sh --changed . e2e     in those of them that hold a change which is not committed
#
# GOLANGCI names the program.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
linter=${GOLANGCI:-$root/bin/tools/golangci-lint}
cd "$root"

changed=
if [ "${1:-}" = --changed ]; then
	shift
	# Where there is no history, all are linted.
	changed=$(git status --porcelain --untracked-files=all 2>/dev/null | sed 's/^...//; s/.* -> //') || changed=
	if [ -z "$changed" ] && git rev-parse HEAD >/dev/null 2>&1; then
		echo "nothing is changed"
		exit 0
	fi
fi

# module_of FILE prints the module, of those given, that holds a file: the one with the longest path.
module_of() {
	local best=. module
	for module in "${modules[@]}"; do
		case $1 in "$module"/*) best=$module ;; esac
	done
	echo "$best"
}

modules=("$@")
wanted=$(while read -r file; do module_of "$file"; done <<<"$changed" | sort -u)
failed=0
for module in "${modules[@]}"; do
	if [ -n "$changed" ] && ! grep -qxF "$module" <<<"$wanted"; then continue; fi
	printf '%s: ' "$module"
	(cd "$module" && "$linter" run --timeout 15m ./...) || failed=1
done
exit $failed

#!/usr/bin/env bash
# Fails where .github/dependabot.yml leaves a Go module out, or names a folder that has none.
# Without a word there go the modules named here: those that require nothing, and the Vault and the
# Kubernetes of the tests, whose versions are chosen.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
left_out='tools/binary tools/kubernetes tools/vault'

# "directories: [/, /e2e]" and "directory: /" of gomod entries, without the leading slash.
named=$(awk '
	/package-ecosystem:/ { gomod = /gomod/ }
	gomod && /directories: \[/ { gsub(/.*\[|\].*|,/, " "); print }
' .github/dependabot.yml | tr ' ' '\n' | sed -n 's|^/||p' | sed 's|^$|.|' | sort)
modules=$(find . -name go.mod -not -path './bin/*' -not -path './dist/*' | sed 's|/go\.mod$||; s|^\./||' |
	grep -vxF "$(tr ' ' '\n' <<<"$left_out")" | sort)

if ! diff <(echo "$named") <(echo "$modules") >&2; then
	echo ".github/dependabot.yml: < is named there and is no module; > is a module and not named" >&2
	exit 1
fi

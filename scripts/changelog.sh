#!/usr/bin/env bash
# Writes the list of commits into a section of CHANGELOG.md, out of their messages. What stands
# in the section before the list is written by hand and stays.
#
#   scripts/changelog.sh                  the list of [Unreleased]
#   scripts/changelog.sh v0.1.0           that of v0.1.0, which [Unreleased] becomes the first time
#   scripts/changelog.sh --check v0.1.0   fails where v0.1.0 has no section, or another list
#   scripts/changelog.sh --notes v0.1.0   prints what is written by hand
#
# CHGLOG names the program https://github.com/goreleaser/chglog.
set -euo pipefail

mode=update
case ${1:-} in --check | --notes) mode=${1#--}; shift ;; esac
version=${1:-}
section=${version:-Unreleased}
section=${section#v}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "changelog: $*" >&2; exit 1; }
has_section() { grep -qF "## [$section]" CHANGELOG.md; }

[ "$mode" = update ] || has_section || fail "CHANGELOG.md has no section [$section]: run make changelog RELEASE=$version"

if [ "$mode" = notes ]; then
	awk -v start="## [$section]" '
		/^## \[/ { inside = index($0, start) == 1; next }
		/^<!-- commits/ { inside = 0 }
		inside { print }
	' CHANGELOG.md
	exit 0
fi

[ "$(git rev-parse --is-shallow-repository)" = false ] || fail "a shallow clone does not hold the commits"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A clone, as chglog knows no worktrees.
git clone --quiet --no-checkout . "$work/repository"
: >"$work/since.yml"
if since=$(git describe --tags --abbrev=0 --match 'v[0-9]*' --exclude '*-*' ${version:+--exclude "$version"} 2>/dev/null); then
	printf -- '- semver: %s\n  date: 2000-01-01T00:00:00Z\n  packager: ""\n' "${since#v}" >"$work/since.yml"
fi
"${CHGLOG:-chglog}" add --config-file "$PWD/.chglog/config.yml" --input "$work/since.yml" --output "$work/commits.yml" \
	--version "${version:-v9999.0.0}" "$work/repository" || fail "no list could be made of the commits since ${since:-the first}"
lines=$("${CHGLOG:-chglog}" format --input "$work/commits.yml" --template-file .chglog/section.tpl)
cat -s <<<"$lines" >"$work/list" # one empty line where the template leaves several

# The list goes between its two marks, which end the section.
awk -v section="$section" -v date="$(date -u +%F)" -v list="$work/list" -v known="$(has_section && echo yes || echo)" '
	function put(   line) {
		if (!wanted) return
		print "<!-- commits: from here on written by make changelog -->\n\n### Commits"
		while ((getline line < list) > 0) print line
		print "\n<!-- /commits -->"
		wanted = 0
	}
	/^## \[/ {
		if (wanted) { put(); print "" }
		if (!known && /^## \[Unreleased\]/) {
			print "## [Unreleased]\n"
			$0 = "## [" section "] - " date
		}
		wanted = index($0, "## [" section "]") == 1
	}
	/^<!-- commits/ && wanted { put(); skip = 1 }
	!skip { print }
	/^<!-- \/commits/ { skip = 0 }
	END { if (wanted) { print ""; put() } }
' CHANGELOG.md >"$work/CHANGELOG.md"

if [ "$mode" = check ]; then
	diff -u CHANGELOG.md "$work/CHANGELOG.md" || fail "the list of [$section] is not of the commits: run make changelog RELEASE=$version"
	exit 0
fi
cp "$work/CHANGELOG.md" CHANGELOG.md
echo "wrote [$section] of CHANGELOG.md, with the commits since ${since:-the first}"

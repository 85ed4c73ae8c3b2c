#!/usr/bin/env bash
# Fails where the subject of a commit is not of the form of https://www.conventionalcommits.org:
# the changelog and a release's page are made from them.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
subject='^(feat|fix|perf|refactor|style|test|docs|build|ci|chore|revert)(\([a-z0-9/-]+\))?!?: [^ ]'

if ! commits=$(git log --no-merges --format='%h %s' 2>/dev/null); then
	echo "not checked: there is no git history here"
	exit 0
fi
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
	echo "only $(wc -l <<<"$commits") of the commits are checked: the clone is a shallow one"
fi
others=$(grep -vE "^[0-9a-f]+ ${subject#^}" <<<"$commits" || true)
if [ -n "$others" ]; then
	printf 'not of the form "feat: what it does" (%s):\n%s\n' "$subject" "$others" >&2
	exit 1
fi
echo "$(wc -l <<<"$commits") commits are of the form of Conventional Commits"

#!/usr/bin/env bash
# Builds the plugin twice, in folders of different names, and fails when the two differ.
#
#   scripts/reproducible.sh v0.1.0 linux/amd64 windows/arm64
#   SUMS=dist/…_SHA256SUMS scripts/reproducible.sh v0.1.0 linux/amd64    also compares with a release
#
# What is built is what lies here, with changes that are not committed.
# The first build uses Go's cache, with whatever other folders have put there; the second
# starts from an empty one: with -trimpath Go would hand it the first one's output.
set -euo pipefail

version=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
first=$work/a second=$work/a-much-longer/way/to/the/same/sources

# copy FOLDER, with new times.
copy() {
	mkdir -p "$1"
	tar -C "$root" --exclude=./.git --exclude=./bin --exclude=./dist -cf - . | tar -xmf - -C "$1"
}

sum() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1; }

copy "$first"
copy "$second"
failed=0
for target in "$@"; do
	started=$SECONDS
	export GOOS=${target%/*} GOARCH=${target#*/}
	name=vault-plugin-secrets-palette_${version#v}_${GOOS}_$GOARCH
	[ "$GOOS" != windows ] || name=$name.exe
	"$first/scripts/build.sh" "$version" "$work/first/$name"
	TZ=Pacific/Chatham LC_ALL=C GOCACHE=$work/cache "$second/scripts/build.sh" "$version" "$work/second/$name"
	one=$(sum "$work/first/$name") two=$(sum "$work/second/$name")
	if [ "$one" != "$two" ]; then
		echo "reproducible: $name DIFFERS: $one, then $two"
		failed=1
	elif [ -n "${SUMS:-}" ] && ! grep -qx "$one  $name" "$SUMS"; then
		echo "reproducible: $name is $one, and $(grep " $name\$" "$SUMS" || echo nothing) in $SUMS"
		failed=1
	else
		echo "$one  $name  ($((SECONDS - started)) s)"
	fi
done
exit $failed

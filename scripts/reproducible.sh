#!/usr/bin/env bash
# Builds the plugin twice, in folders of different names, and fails when the two differ.
#
#   scripts/reproducible.sh v0.1.0 linux/amd64 windows/arm64
#   COLD=yes scripts/reproducible.sh v0.1.0 linux/amd64                  the second one from nothing
#   SUMS=dist/…_SHA256SUMS scripts/reproducible.sh v0.1.0 linux/amd64    also compares with a release
#
# What is built is what lies here, with changes that are not committed.
# The first build uses Go's cache, with whatever other folders have put there. The second has a
# cache of its own: with -trimpath Go would hand it the first one's output. That cache is empty
# with COLD=yes, which is for CI and releases. Elsewhere it holds what is compiled of other
# modules, which takes a minute and stays in bin/.
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

# fill_cache makes the second build's cache. Nothing of the plugin's own is ever in the kept one.
fill_cache() {
	if [ "${COLD:-}" = yes ]; then return; fi
	TZ=Pacific/Chatham LC_ALL=C GOCACHE=$root/bin/foreign-cache "$second/scripts/build.sh" --foreign
	rm -rf "$work/cache"
	cp -R "$root/bin/foreign-cache" "$work/cache"
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
	fill_cache
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

#!/usr/bin/env bash
# Builds the plugin just as a release does: env, flags and ldflags are those of
# .goreleaser.yaml.
#
#   scripts/build.sh v0.1.0 FILE      for GOOS and GOARCH, or for this machine
#   scripts/build.sh --foreign        what the plugin needs of others, into Go's cache alone
set -euo pipefail

version=$1 file=${2:-}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# items KEY: the list of that name in the build of .goreleaser.yaml.
items() {
	awk -v key="    $1:" '
		$0 == key { inside = 1; next }
		inside && /^      - / { sub(/^      - /, ""); print; found = 1; next }
		inside { exit }
		END { if (!found) { print ".goreleaser.yaml: no " key > "/dev/stderr"; exit 1 } }
	' .goreleaser.yaml
}

# shellcheck disable=SC2086 # environment, flags and packages are words
environment=$(items env) flags=$(items flags) ldflags=$(items ldflags)
ldflags=${ldflags//v\{\{ .Version \}\}/$version}
case $ldflags in *'{{'*) echo ".goreleaser.yaml: ldflags hold a template that scripts/build.sh does not know" >&2; exit 1 ;; esac

if [ "$version" = --foreign ]; then
	packages=$(env $environment go list -deps -f '{{if or (not .Module) (not .Module.Main)}}{{.ImportPath}}{{end}}' ./cmd/vault-plugin-secrets-palette)
	exec env $environment go build $flags $packages
fi
exec env $environment go build $flags -ldflags "$ldflags" -o "$file" ./cmd/vault-plugin-secrets-palette

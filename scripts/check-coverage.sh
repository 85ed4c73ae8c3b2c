#!/usr/bin/env bash
# Prints the coverage of each package from a profile of `go test -coverprofile`, and
# fails when one of those that hold the engine's rules is under its floor.
#
#   scripts/check-coverage.sh coverage.out PACKAGE=FLOOR...
set -euo pipefail

profile=$1
shift

awk -v floored="$*" '
	# vault-plugin-secrets-palette/paths.go:12.34,15.2 3 1 is a block of three
	# statements that ran once.
	FNR > 1 {
		package = $1
		sub(/\/[^\/]*$/, "", package)
		total[package] += $2
		if ($3 > 0) covered[package] += $2
	}
	END {
		wanted = split(floored, names, " ")
		for (i = 1; i <= wanted; i++) { split(names[i], pair, "="); has_floor[pair[1]] = pair[2] }
		for (package in total) {
			percent = 100 * covered[package] / total[package]
			note = ""
			if (package in has_floor) {
				floor = has_floor[package]
				note = "(floor " floor "%)"
				if (percent < floor) { note = "UNDER THE FLOOR of " floor "%"; failed = 1 }
			}
			printf "coverage %5.1f%%  %s  %s\n", percent, package, note | "sort -k3"
		}
		close("sort -k3")
		for (name in has_floor) if (!(name in total)) {
			print "coverage: nothing in the profile for " name
			failed = 1
		}
		exit failed
	}
' "$profile"

#!/usr/bin/env bash
# Run each fuzz target of the module for a while, or the one that FUZZ names: FUZZTIME, which is
# 10s in CI and 2s elsewhere.
# A target that fails leaves its input in testdata/fuzz, where the unit tests run it from
# then on; what it is and how to repeat it is printed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${FUZZTIME:-$([ "${CI:-}" = true ] && echo 10s || echo 2s)}
module=$(go list -m)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# `go test -list` prints the names of a package's targets, and then the package.
targets=$(go test -list "^${FUZZ:-Fuzz}" ./... | awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }')
if [ -z "$targets" ]; then
	echo "no fuzz target${FUZZ:+ $FUZZ}" >&2
	exit 1
fi

# Go up to 1.26 can take the end of the time for a failure of the target:
# https://go.dev/issue/75804. Such a run has this one line to say, and found no input.
ran_out_of_time() {
	! grep -q 'Failing input written to' "$log" &&
		[ "$(sed -n '/^--- FAIL: /,/^FAIL$/p' "$log" | sed '1d;$d')" = '    context deadline exceeded' ]
}

failed=0
while read -r package target; do
	dir=.${package#"$module"}
	# The time to make an input smaller that is merely new counts as fuzzing; without a bound
	# it takes all of it.
	if go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$dir" >"$log" 2>&1 || ran_out_of_time; then
		printf '%s %s: %s\n' "$dir" "$target" "$(grep -o 'execs: [0-9]*' "$log" | tail -1)"
		continue
	fi
	failed=1
	cat "$log"
	input=$(sed -n 's|^ *Failing input written to ||p' "$log" | tail -1)
	if [ -n "$input" ]; then
		printf '\n%s %s: the input is in %s/%s; repeat it by\n  go test -run %s/%s %s\n' \
			"$dir" "$target" "$dir" "$input" "$target" "${input##*/}" "$dir"
	else
		printf '\n%s %s failed; repeat it by\n  FUZZ=%s make fuzz\n' "$dir" "$target" "$target"
	fi
done <<<"$targets"
exit "$failed"

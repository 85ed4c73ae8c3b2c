#!/usr/bin/env bash
# Runs checks, which are targets of the Makefile, side by side.
#
#   scripts/side-by-side.sh 'nice lint unit' e2e-together then e2e-alone
#
# Each argument is a lane: its checks run one after the other, beside those of the other lanes.
# A lane that begins with "nice" leaves the processors to the others where these need them.
# What comes after "then" waits until all before it has ended.
#
# A check's output is printed whole when the check ends. The other checks go on after one that
# failed, whose output is printed once more at the end. Ctrl-C ends all that runs.
set -euo pipefail
# Each lane is a process group of its own, which a signal reaches as a whole.
set -m

work=$(mktemp -d)
mkfifo "$work/ended"
exec 3<>"$work/ended" # open for both, so that a reader does not see an end between two lanes
lanes=() failed=() passed=0

# running tells whether a process of some lane is left.
running() {
	local lane
	for lane in ${lanes[@]+"${lanes[@]}"}; do
		if kill -0 -- "-$lane" 2>/dev/null; then return 0; fi
	done
	return 1
}

# stop ends all lanes. A check may have servers to stop, which takes a moment.
stop() {
	local lane i
	for lane in ${lanes[@]+"${lanes[@]}"}; do kill -TERM -- "-$lane" 2>/dev/null || true; done
	for ((i = 0; i < 600; i++)); do
		running || break
		sleep 0.1
	done
	for lane in ${lanes[@]+"${lanes[@]}"}; do kill -KILL -- "-$lane" 2>/dev/null || true; done
}

interrupted() {
	trap '' INT TERM HUP
	printf '\n==> interrupted: ending what runs\n' >&2
	exec 2>/dev/null # the shell would tell of each lane by its source
	stop
	exit 130
}
trap interrupted INT TERM HUP
trap 'rm -rf "$work"' EXIT

# lane CHECK... runs the checks and tells of each that it has ended: its name, status and time.
lane() {
	local check status began nice=()
	if [ "$1" = nice ]; then
		nice=(nice)
		shift
	fi
	for check in "$@"; do
		began=$SECONDS status=0
		${nice[@]+"${nice[@]}"} "${MAKE:-make}" --no-print-directory "$check" >"$work/$check.out" 2>&1 </dev/null || status=$?
		echo "$check $status $((SECONDS - began))" >&3
	done
}

# report CHECK STATUS SECONDS
report() {
	cat "$work/$1.out"
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
		printf '==> %s: passed in %s s\n' "$1" "$3"
	else
		failed+=("$1")
		printf '==> %s: FAILED after %s s\n' "$1" "$3"
	fi
}

# all LANE... runs lanes to their end.
all() {
	local lane words left=0 check status took
	lanes=()
	for lane in "$@"; do
		read -ra words <<<"$lane"
		lane "${words[@]}" &
		lanes+=($!)
		left=$((left + ${#words[@]}))
		if [ "${words[0]}" = nice ]; then left=$((left - 1)); fi
	done
	while [ "$left" -gt 0 ]; do
		if read -r -t 2 -u 3 check status took; then
			report "$check" "$status" "$took"
			left=$((left - 1))
		elif ! running && ! read -r -t 0 -u 3; then
			echo "==> a lane was killed with $left checks left" >&2
			failed+=("$left killed")
			return
		fi
	done
	wait
}

started=$SECONDS group=()
for argument in "$@" then; do
	if [ "$argument" != then ]; then
		group+=("$argument")
		continue
	fi
	all "${group[@]}"
	group=()
done

for check in ${failed[@]+"${failed[@]}"}; do
	if [ -e "$work/$check.out" ]; then
		printf '\n==> once more, since it FAILED: %s\n' "$check"
		cat "$work/$check.out"
	fi
done
if [ ${#failed[@]} -gt 0 ]; then
	printf '\n==> FAILED: %s; %d checks passed, in %d s\n' "${failed[*]}" "$passed" $((SECONDS - started))
	exit 1
fi
printf '\n==> all %d checks passed in %d s\n' "$passed" $((SECONDS - started))

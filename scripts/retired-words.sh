#!/usr/bin/env bash
# Fails where code, tests or documents use a word that the project has retired. docs/development/architecture.md
# and the packages' comments use the words on the right.
#
#   scripts/retired-words.sh          in all files that git tracks
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# word (a regular expression of grep -P) | say instead
words='
\bow(e|es|ed|ing)\b(?!/) | pending revocation(s), enqueue
\bdebts?\b | pending revocation(s)
\btakeOff\b|\bpayOwed\b|\bpayPatiently\b | remove, Retry
\bunsettled\b|\bsettle[sd]?Alone\b | unresolved, recover
\bleftovers?\b | unresolved entry
\bunwatch\b|\bsupersedes?Watch\b | grace period
\bpacer\b | bucket
\bentrants?\b | waiter
\blogin ramp\b|\brampStep\b | concurrency limit
\bwayOf\b | TrustDigest
\bstaleness\b|\bsetStale\b|\bmarkStale\b | generation, MarkSuspect
\bdeaf\b | disabled
\bpatience\b | timeout
\bpayOwed\b|\boweLoose\b | Enqueue
\bclockwork\b|\bBlockUntilContext\b | Go'"'"'s own time
the list of (tokens|what) | pending revocations
\bbroken[- ]off rotations?\b | interrupted rotation
\blockout guard\b | login protection
'

# What quotes old words on purpose: the history of changes, the notes on upgrades, this list, the names of stored keys.
skip=(':!CHANGELOG.md' ':!docs/how-to/upgrade.md' ':!scripts/retired-words.sh' ':!testdata' ':!*/testdata/*' ':!go.sum' ':!*/go.sum' ':!tools/kubernetes/go.mod' ':!docs/monitoring/*.png')

failed=0
while IFS= read -r line; do
	[ -n "$line" ] || continue
	word=${line%% | *} instead=${line##* | }
	if found=$(git grep -nIP "$word" -- "${skip[@]}"); then
		printf '%s\n  retired: say %s\n' "$found" "$instead"
		failed=1
	fi
done <<<"$words"
exit $failed

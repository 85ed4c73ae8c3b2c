package input

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
)

// A name that differs from a field's in misspelt letters at most is taken for its misspelling. Of the
// longer name no more than one letter in misspeltPart may differ: a short parameter, such as t or ts, is
// no ttl.
const (
	misspelt     = 2
	misspeltPart = 3
)

// unknown says that a field is none of a path's, and which one it may have been meant for.
func (r *Rules) unknown(path *framework.Path, field string) string {
	names := takes(path)
	says := fmt.Sprintf("unknown field %q", field)
	here := nearest(field, names)
	elsewhere := nearest(field, r.known)
	switch {
	case here != "":
		says += fmt.Sprintf("; did you mean %q?", here)
	case elsewhere == field:
		says += ", which is a field of other paths"
	case elsewhere != "":
		says += fmt.Sprintf("; did you mean %q, a field of other paths?", elsewhere)
	}
	if len(names) == 0 {
		return says + "; this path takes no fields"
	}
	return says + "; the fields here are " + strings.Join(names, ", ")
}

// isHarmless tells whether nobody can have meant a parameter for a field of the engine.
func (r *Rules) isHarmless(name string) bool { return nearest(name, r.known) == "" }

// nearest is the name that another one may be a misspelling of; "" for none. Case and hyphens make
// no difference.
func nearest(name string, names []string) string {
	best, least := "", misspelt+1
	for _, known := range names {
		a, b := plain(name), plain(known)
		if d := distance(a, b); d < least && d <= max(len(a), len(b))/misspeltPart {
			best, least = known, d
		}
	}
	return best
}

func plain(name string) []rune {
	return []rune(strings.ReplaceAll(strings.ToLower(name), "-", "_"))
}

// distance is in how many letters two names differ: letters more, letters less, other letters, and
// two that have changed places (the restricted Damerau-Levenshtein distance). Names that differ in
// their length alone by more than misspelt are not looked at.
func distance(a, b []rune) int {
	if len(a)-len(b) > misspelt || len(b)-len(a) > misspelt {
		return misspelt + 1
	}
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		next[0] = i + 1
		for j, y := range b {
			cost := 1
			if x == y {
				cost = 0
			}
			next[j+1] = slices.Min([]int{row[j+1] + 1, next[j] + 1, row[j] + cost})
			if i > 0 && j > 0 && x == b[j-1] && a[i-1] == y {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}

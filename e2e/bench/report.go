package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Verdict says whether a figure keeps its limit.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "PASS"
	Miss Verdict = "MISS"
	// NotJudged is for timings of a quick run, which is too short for them.
	NotJudged Verdict = "-"
)

// Row is a line of the table.
type Row struct {
	// What is measured, in a few words, and what that Means, in sentences.
	What, Means string
	// Figure is what was found, Limit what it is held against.
	Figure, Limit string
	// Floor, Wait and Direct are what the others took, in the same run.
	Floor, Wait, Direct string
	Verdict             Verdict
}

// Report is what a run has found.
type Report struct {
	Rows []Row
	// Vault is the server's version.
	Vault string
	Quick bool
}

// Missed tells whether a figure missed its limit.
func (r *Report) Missed() bool {
	return slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Verdict == Miss })
}

var columns = []string{"What", "Figure", "Limit", "", "Floor", "Wait", "Direct"}

func (r Row) cells() []string {
	return []string{r.What, r.Figure, r.Limit, string(r.Verdict), r.Floor, r.Wait, r.Direct}
}

// Print writes the table as text.
func (r *Report) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(columns, "\t"))
	for _, row := range r.Rows {
		fmt.Fprintln(table, strings.Join(row.cells(), "\t"))
	}
	return table.Flush()
}

func judge(kept bool) Verdict {
	if kept {
		return Pass
	}
	return Miss
}

// judgeTiming is for a figure that a quick run is too short for.
func (b *bench) judgeTiming(kept bool) Verdict {
	if b.Quick {
		return NotJudged
	}
	return judge(kept)
}

// seconds writes a duration for the table: tenths below a minute.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	if d%time.Second == 0 {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// count writes a number with its thousands apart.
func count(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

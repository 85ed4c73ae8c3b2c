package bench

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
	"time"
)

const (
	documentName = "performance.md"
	plotName     = "performance.svg"
)

//go:embed performance.md.tmpl
var documentText string

var document = template.Must(template.New(documentName).Parse(documentText))

// facts are what the document tells.
type facts struct {
	*Report
	Table, Loads string
	Cores        int
	Platform, Go string
	Plot         string
	// Measured is the date, and the commit where git tells it.
	Measured string
	// Rounds of turns as long as Slot.
	Rounds int
	Slot   string
	// Latency is the stand-in's, Limit how many calls a second it takes.
	Latency string
	Limit   int
}

// write writes document and plot.
func (b *bench) write(r *Report) error {
	if err := b.load.plot(filepath.Join(b.Out, plotName)); err != nil {
		return err
	}
	var text strings.Builder
	err := document.Execute(&text, facts{
		Report: r, Table: r.markdown(), Loads: b.load.markdown(),
		Cores: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Measured: measured(), Plot: plotName, Rounds: b.rounds, Slot: seconds(b.slot), Latency: fmt.Sprintf("%d ms", paletteLatency.Milliseconds()), Limit: paletteLimit,
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", documentName, err)
	}
	// #nosec G306 -- for others to read
	if err := os.WriteFile(filepath.Join(b.Out, documentName), []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", documentName, err)
	}
	return nil
}

// measured is today, and the commit where git tells it.
func measured() string {
	date := time.Now().UTC().Format(time.DateOnly)
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return date
	}
	return date + ", at commit " + strings.TrimSpace(string(commit))
}

// markdown is the table for the document.
func (r *Report) markdown() string {
	lines := [][]string{columns}
	for _, row := range r.Rows {
		lines = append(lines, row.cells())
	}
	return markdownTable(lines)
}

// markdown is the table behind the plot.
func (l *load) markdown() string {
	lines := [][]string{append([]string{"Clients"}, subjects...)}
	for _, clients := range clientCounts {
		line := []string{fmt.Sprint(clients)}
		for _, subject := range subjects {
			line = append(line, fmt.Sprintf("%.0f/s, %.1f / %.1f ms",
				l.rate(subject, clients), l.quantile(subject, clients, 0.5), l.quantile(subject, clients, 0.99)))
		}
		lines = append(lines, line)
	}
	return markdownTable(lines)
}

// markdownTable takes the first line as the header.
func markdownTable(lines [][]string) string {
	var out strings.Builder
	for i, cells := range lines {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(&out, "|%s\n", strings.Repeat(" --- |", len(cells)))
		}
	}
	return strings.TrimSuffix(out.String(), "\n")
}

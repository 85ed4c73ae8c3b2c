// Command monitoring draws the panels of docs/monitoring/dashboard.json from the metrics
// that e2e/cmd/record-metrics has kept: `make panels`. Each query is the panel's own and is
// answered by Prometheus's engine. Its tests check dashboard and alerts: `make monitoring`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

// caption is the line below the title.
const caption = "Drawn from the dashboard's own queries, as Prometheus's engine answers them, over a run on a real Vault with the stand-in for Palette. Not a screen of Grafana, which took no part."

func main() {
	var d drawing
	flag.StringVar(&d.dashboard, "dashboard", "", "the dashboard")
	flag.StringVar(&d.run, "run", "", "directory of the metrics")
	flag.StringVar(&d.out, "out", "", "the picture, PNG")
	flag.Parse()
	if err := d.make(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "monitoring:", err)
		os.Exit(1)
	}
}

// drawing is what the command line asks for.
type drawing struct {
	dashboard, run, out string
}

func (d *drawing) make(ctx context.Context) error {
	board, err := loadDashboard(d.dashboard)
	if err != nil {
		return err
	}
	kept, err := loadRun(d.run)
	if err != nil {
		return err
	}
	defer kept.close()
	answers := make([]answer, len(board.Panels))
	for i, p := range board.Panels {
		if answers[i], err = kept.ask(ctx, p); err != nil {
			return fmt.Errorf("panel %q: %w", p.Title, err)
		}
		if p.Type != typeRow && len(answers[i]) == 0 {
			fmt.Fprintf(os.Stderr, "no data: %s\n", p.Title)
		}
	}
	return drawBoard(board, answers, kept, d.out)
}

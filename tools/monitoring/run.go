package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
)

// recorded is a run's metrics in Prometheus's own database.
type recorded struct {
	dir        string
	db         *tsdb.DB
	engine     *promql.Engine
	start, end time.Time
	every      time.Duration
	scenes     []scene
}

// scene is something that happened in the run.
type scene struct {
	at    time.Time
	title string
}

// loadScenes reads the file that names them: the time in milliseconds, a tab, the title.
func loadScenes(file string) ([]scene, error) {
	text, err := os.ReadFile(file) // #nosec G304 -- of the directory that the command line names
	if err != nil {
		return nil, fmt.Errorf("reading the scenes: %w", err)
	}
	var scenes []scene
	for row := range strings.Lines(string(text)) {
		at, title, _ := strings.Cut(strings.TrimSpace(row), "\t")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the scenes: %w", err)
		}
		scenes = append(scenes, scene{time.UnixMilli(ms), title})
	}
	return scenes, nil
}

// target labels are those that the scrape of docs/monitoring/prometheus.yaml would add.
var targetLabels = map[string]string{"job": "vault-palette", "instance": "vault", "mount": "palette"}

// loadRun reads the files of a run, one for each scrape, named by its time in milliseconds.
func loadRun(dir string) (_ *recorded, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.prom"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(fmt.Errorf("there are no metrics in %s", dir), err)
	}
	slices.Sort(files)
	r := new(recorded)
	if r.every, err = gapOf(files); err != nil {
		return nil, err
	}
	if r.scenes, err = loadScenes(filepath.Join(dir, "scenes.tsv")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.dir, err = os.MkdirTemp("", "panels-"); err != nil {
		return nil, fmt.Errorf("making the database's directory: %w", err)
	}
	options := tsdb.DefaultOptions()
	options.WALSegmentSize = -1 // none: the database is gone with the process
	if r.db, err = tsdb.Open(r.dir, nil, nil, options, nil); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	for _, file := range files {
		at, err := r.load(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if r.start.IsZero() {
			r.start = at
		}
		r.end = at
	}
	r.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1 << 22, Timeout: time.Minute, LookbackDelta: 5 * time.Minute,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: parser.NewParser(parser.Options{}),
	})
	return r, nil
}

// gapOf is how often the metrics were read, in whole seconds: the gap between the first two
// files.
func gapOf(files []string) (time.Duration, error) {
	if len(files) < 2 {
		return 0, errors.New("one scrape is no run")
	}
	first, err := scrapedAt(files[0])
	if err != nil {
		return 0, err
	}
	second, err := scrapedAt(files[1])
	if err != nil {
		return 0, err
	}
	gap := second.Sub(first).Round(time.Second)
	if gap <= 0 {
		return 0, fmt.Errorf("%s follows upon %s within less than a second", files[1], files[0])
	}
	return gap, nil
}

// scrapedAt is the time in a file's name.
func scrapedAt(file string) (time.Time, error) {
	ms, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".prom"), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: the name is no time: %w", file, err)
	}
	return time.UnixMilli(ms), nil
}

// load stores one scrape.
func (r *recorded) load(file string) (time.Time, error) {
	at, err := scrapedAt(file)
	if err != nil {
		return time.Time{}, err
	}
	ms := at.UnixMilli()
	text, err := os.ReadFile(file) // #nosec G304 -- of the directory that the command line names
	if err != nil {
		return time.Time{}, err
	}
	appender := r.db.Appender(context.Background())
	p := textparse.NewPromParser(text, labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return time.Time{}, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := p.Series()
		var of labels.Labels
		p.Labels(&of)
		if _, err := appender.Append(0, withTarget(of), ms, value); err != nil {
			return time.Time{}, err
		}
	}
	up := labels.FromStrings("__name__", "up")
	if _, err := appender.Append(0, withTarget(up), ms, 1); err != nil {
		return time.Time{}, err
	}
	return at, appender.Commit()
}

func withTarget(of labels.Labels) labels.Labels {
	b := labels.NewBuilder(of)
	for name, value := range targetLabels {
		b.Set(name, value)
	}
	return b.Labels()
}

func (r *recorded) close() {
	if r.db != nil {
		_ = r.db.Close()
	}
	if r.dir != "" {
		_ = os.RemoveAll(r.dir)
	}
}

// line is one series of a panel.
type line struct {
	name   string
	points []promql.FPoint
}

// answer is what a panel shows.
type answer []line

// ask has a panel's queries answered, for the whole run.
func (r *recorded) ask(ctx context.Context, p panel) (answer, error) {
	var out answer
	for _, t := range p.Targets {
		query, err := r.engine.NewRangeQuery(ctx, r.db, nil, expression(t.Expr, r.every), r.start, r.end, r.every)
		if err != nil {
			return nil, err
		}
		result := query.Exec(ctx)
		matrix, err := result.Matrix()
		if err != nil {
			return nil, err
		}
		for _, series := range matrix {
			// The engine takes its memory back with Close.
			out = append(out, line{legend(t.LegendFormat, series.Metric.Map()), slices.Clone(series.Floats)})
		}
		query.Close()
	}
	slices.SortStableFunc(out, func(a, b line) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

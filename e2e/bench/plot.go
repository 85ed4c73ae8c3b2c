package bench

import (
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth  = 24 * vg.Centimeter
	plotHeight = 11 * vg.Centimeter
	// headroom above the highest point, as a factor, keeps the legend off the lines.
	headroom = 2
)

// looks tell the subjects apart, by form too, in colours that the colour-blind can
// (Okabe and Ito's).
var looks = map[string]struct {
	colour color.Color
	glyph  draw.GlyphDrawer
	dashes []vg.Length
}{
	own:       {color.RGBA{R: 0xd5, G: 0x5e, A: 0xff}, draw.CircleGlyph{}, nil},
	shared:    {color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, draw.BoxGlyph{}, nil},
	sharedKey: {color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, draw.TriangleGlyph{}, nil},
	floor:     {color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, draw.SquareGlyph{}, []vg.Length{vg.Points(6), vg.Points(3)}},
	wait:      {color.RGBA{R: 0xe6, G: 0x9f, A: 0xff}, draw.RingGlyph{}, []vg.Length{vg.Points(6), vg.Points(3)}},
	direct:    {color.RGBA{R: 0x66, G: 0x66, B: 0x66, A: 0xff}, draw.CrossGlyph{}, []vg.Length{vg.Points(2), vg.Points(2)}},
}

// plot draws reads a second and p99 over the number of clients, as SVG.
func (l *load) plot(file string) error {
	rates, err := l.panel("reads a second", func(subject string, clients int) float64 { return l.rate(subject, clients) })
	if err != nil {
		return err
	}
	slowest, err := l.panel("p99 in ms", func(subject string, clients int) float64 { return l.quantile(subject, clients, 0.99) })
	if err != nil {
		return err
	}
	canvas := vgsvg.New(plotWidth, plotHeight)
	area := draw.New(canvas)
	area.SetColor(color.White)
	area.Fill(area.Path())
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Centimeter, PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(12)}
	for i, canvas := range plot.Align([][]*plot.Plot{{rates, slowest}}, tiles, area)[0] {
		[]*plot.Plot{rates, slowest}[i].Draw(canvas)
	}
	out, err := os.Create(file) // #nosec G304 -- the command line names it
	if err != nil {
		return fmt.Errorf("writing the plot: %w", err)
	}
	if _, err := canvas.WriteTo(out); err != nil {
		_ = out.Close() // the first error tells more
		return fmt.Errorf("writing the plot: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("writing the plot: %w", err)
	}
	return nil
}

// panel is one of the two plots.
func (l *load) panel(title string, of func(subject string, clients int) float64) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, "clients"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	ticks := make(plot.ConstantTicks, len(clientCounts))
	for i, n := range clientCounts {
		ticks[i] = plot.Tick{Value: float64(n), Label: fmt.Sprint(n)}
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks, halfDecades{}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	p.Add(plotter.NewGrid())
	for _, subject := range subjects {
		points := make(plotter.XYs, len(clientCounts))
		for i, n := range clientCounts {
			points[i] = plotter.XY{X: float64(n), Y: of(subject, n)}
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("plotting %s: %w", subject, err)
		}
		look := looks[subject]
		line.Color, line.Dashes, line.Width = look.colour, look.dashes, vg.Points(1.5)
		marks.Color, marks.Shape, marks.Radius = look.colour, look.glyph, vg.Points(3)
		p.Add(line, marks)
		p.Legend.Add(subject, line, marks)
	}
	p.Y.Max *= headroom
	return p, nil
}

// halfDecades are the ticks 1, 2, 5, 10, 20 and so on.
type halfDecades struct{}

// Ticks implements plot.Ticker.
func (halfDecades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for decade := 0.1; decade <= high; decade *= 10 {
		for _, of := range []float64{1, 2, 5} {
			if value := decade * of; value >= low && value <= high {
				ticks = append(ticks, plot.Tick{Value: value, Label: fmt.Sprintf("%.4g", value)})
			}
		}
	}
	return ticks
}

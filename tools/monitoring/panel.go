package main

import (
	"fmt"
	"image/color"
	"math"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// colours tell lines apart where the colour-blind look too (Okabe and Ito's); with more
// lines they come again, dashed.
var colours = []color.Color{
	color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
	color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
	color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
	color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
	color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
	color.RGBA{R: 0x66, G: 0x66, B: 0x66, A: 0xff},
}

// thresholds are the colours that the dashboard's thresholds name.
var thresholds = map[string]color.Color{
	"blue":   color.RGBA{R: 0x1f, G: 0x60, B: 0xc4, A: 0xff},
	"green":  color.RGBA{R: 0x37, G: 0x87, B: 0x2d, A: 0xff},
	"orange": color.RGBA{R: 0xd9, G: 0x6b, B: 0x00, A: 0xff},
	"red":    color.RGBA{R: 0xc4, G: 0x16, B: 0x2a, A: 0xff},
}

// noData is what an empty panel says.
func (p panel) noData() string {
	if says := p.FieldConfig.Defaults.NoValue; says != "" {
		return says
	}
	return "No data"
}

func look(i int) draw.LineStyle {
	style := draw.LineStyle{Color: colours[i%len(colours)], Width: 1.6 * px}
	if i >= len(colours) {
		style.Dashes = []vg.Length{5 * px, 3 * px}
	}
	return style
}

// drawStat shows the last value of the first series, as large as there is room for, in the
// colour of the threshold that it has reached.
func drawStat(area draw.Canvas, p panel, shown answer) error {
	last := shown[0].points[len(shown[0].points)-1].F
	says, err := format(last, p.FieldConfig.Defaults.Unit)
	if err != nil {
		return err
	}
	if p.Options.TextMode == "name" {
		says = shown[0].name
	}
	of := thresholds["blue"]
	for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value == nil || last >= *step.Value {
			of = thresholds[step.Color]
		}
	}
	large := style(30, of, false)
	large.XAlign, large.YAlign = draw.XCenter, draw.YCenter
	area.FillText(large, area.Center(), says)
	return nil
}

// drawSeries draws the lines over the run, and their names below.
func drawSeries(area draw.Canvas, p panel, shown answer, kept *recorded) error {
	below := drawLegend(area, shown)
	chart, err := chartOf(p, shown, kept)
	if err != nil {
		return err
	}
	chart.Draw(draw.Crop(area, 0, 0, below, 0))
	return nil
}

// drawLegend returns how much room the names of the lines took.
func drawLegend(area draw.Canvas, shown answer) vg.Length {
	const lineHeight, mark = 18 * px, 16 * px
	names := style(12.5, ink, false)
	type place struct {
		x   vg.Length
		row int
	}
	places := make([]place, len(shown))
	x, row := vg.Length(0), 0
	for i, l := range shown {
		w := mark + 4*px + names.Width(l.name) + 14*px
		if x > 0 && x+w > area.Size().X {
			x, row = 0, row+1
		}
		places[i] = place{x, row}
		x += w
	}
	used := lineHeight * vg.Length(row+1)
	for i, l := range shown {
		top := area.Min.Y + used - lineHeight*vg.Length(places[i].row)
		left := area.Min.X + places[i].x
		middle := top - 7*px
		area.StrokeLine2(look(i), left, middle, left+mark, middle)
		area.FillText(names, vg.Point{X: left + mark + 4*px, Y: top}, l.name)
	}
	return used + 4*px
}

// chartOf makes the axes and the lines.
func chartOf(p panel, shown answer, kept *recorded) (*plot.Plot, error) {
	chart := plot.New()
	chart.BackgroundColor = color.Transparent
	axis := style(12, faint, false)
	for _, a := range []*plot.Axis{&chart.X, &chart.Y} {
		a.LineStyle.Color, a.Tick.LineStyle.Color, a.Tick.Length = border, border, 3*px
		a.Tick.Label.Font, a.Tick.Label.Color = axis.Font, axis.Color
	}
	lines := plotter.NewGrid()
	lines.Vertical.Color, lines.Horizontal.Color = grid, grid
	chart.Add(lines)
	top := 0.0
	for i, l := range shown {
		var stretch plotter.XYs
		flush := func() error {
			if len(stretch) == 0 {
				return nil
			}
			drawn, err := plotter.NewLine(stretch)
			if err != nil {
				return err
			}
			drawn.LineStyle = look(i)
			if p.FieldConfig.Defaults.Custom.LineInterpolation == "stepAfter" {
				drawn.StepStyle = plotter.PostStep
			}
			chart.Add(drawn)
			stretch = nil
			return nil
		}
		before := int64(math.MinInt64)
		for _, point := range l.points {
			missing := math.IsNaN(point.F) || math.IsInf(point.F, 0)
			if gone := len(stretch) > 0 && point.T-before > kept.every.Milliseconds(); gone || missing {
				if err := flush(); err != nil {
					return nil, err
				}
			}
			if before = point.T; !missing {
				stretch = append(stretch, plotter.XY{X: float64(point.T-kept.start.UnixMilli()) / 1000, Y: point.F})
				top = max(top, point.F)
			}
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	chart.X.Min, chart.X.Max = 0, kept.end.Sub(kept.start).Seconds()
	chart.Y.Min, chart.Y.Max = 0, top*1.1
	if top == 0 {
		chart.Y.Max = 1
	}
	chart.X.Tick.Marker = plot.TickerFunc(minutes)
	ticks, err := values(chart.Y.Max, p.FieldConfig.Defaults.Unit)
	if err != nil {
		return nil, err
	}
	chart.Y.Tick.Marker = ticks
	markScenes(chart, kept)
	return chart, nil
}

// markScenes draws a dotted line with its number where a scene begins.
func markScenes(chart *plot.Plot, kept *recorded) {
	var at plotter.XYLabels
	for i, s := range kept.scenes {
		x := s.at.Sub(kept.start).Seconds()
		dotted, err := plotter.NewLine(plotter.XYs{{X: x, Y: 0}, {X: x, Y: chart.Y.Max}})
		if err != nil {
			continue // two points that are numbers are a line
		}
		dotted.LineStyle = draw.LineStyle{Color: color.RGBA{R: 0xb0, G: 0xb4, B: 0xb8, A: 0xff}, Width: px, Dashes: []vg.Length{2 * px, 3 * px}}
		chart.Add(dotted)
		at.XYs = append(at.XYs, plotter.XY{X: x, Y: chart.Y.Max})
		at.Labels = append(at.Labels, strconv.Itoa(i+1))
	}
	if numbers, err := plotter.NewLabels(at); err == nil {
		for i := range numbers.TextStyle {
			numbers.TextStyle[i] = style(10, faint, false)
			numbers.TextStyle[i].XAlign = draw.XLeft
		}
		numbers.Offset = vg.Point{X: 2 * px}
		chart.Add(numbers)
	}
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// minutes are the ticks of the time.
func minutes(_, high float64) []plot.Tick {
	var ticks []plot.Tick
	for x := 0.0; x <= high; x += minute {
		ticks = append(ticks, plot.Tick{Value: x, Label: clock(time.Duration(x) * time.Second)})
	}
	return ticks
}

// minute is one, in seconds.
const minute = 60

// values are four or five ticks at round numbers, in the panel's unit.
func values(high float64, unit string) (plot.ConstantTicks, error) {
	base := 1.0
	switch {
	case unit == "bytes":
		base = 1 << 20
	case unit == "s" && high >= minute:
		base = minute
	}
	step := roundUp(high/base/5) * base
	var ticks plot.ConstantTicks
	for y := 0.0; y <= high; y += step {
		says, err := format(y, unit)
		if err != nil {
			return nil, err
		}
		ticks = append(ticks, plot.Tick{Value: y, Label: says})
	}
	return ticks, nil
}

// roundUp is the next of 1, 2, 5, 10 and so on.
func roundUp(x float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(x)))
	for _, of := range []float64{1, 2, 5} {
		if of*decade >= x {
			return of * decade
		}
	}
	return 10 * decade
}

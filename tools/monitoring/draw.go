package main

import (
	"fmt"
	"image/color"
	"image/png"
	"os"

	weights "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Grafana's grid has 24 columns; a panel's height is in rows. px is a point of the picture.
const (
	dpi      = 96
	px       = vg.Length(72.0 / dpi)
	columns  = 24
	column   = 60 * px
	gridRow  = 32 * px
	gap      = 8 * px
	headLine = 20 * px
	titleRow = 40 * px
)

var (
	page   = color.RGBA{R: 0xf4, G: 0xf5, B: 0xf5, A: 0xff}
	ink    = color.RGBA{R: 0x24, G: 0x29, B: 0x2e, A: 0xff}
	faint  = color.RGBA{R: 0x6b, G: 0x70, B: 0x76, A: 0xff}
	border = color.RGBA{R: 0xd0, G: 0xd4, B: 0xd8, A: 0xff}
	grid   = color.RGBA{R: 0xe6, G: 0xe8, B: 0xea, A: 0xff}
)

// style is text of a size in points of the picture.
func style(size float64, of color.Color, bold bool) text.Style {
	f := font.From(plot.DefaultFont, vg.Length(size)*px)
	f.Variant = "Sans"
	if bold {
		f.Weight = weights.WeightBold
	}
	return text.Style{Color: of, Font: f, XAlign: draw.XLeft, YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
}

// drawBoard draws all panels where the dashboard's grid has them.
func drawBoard(board *dashboard, answers []answer, kept *recorded, file string) error {
	rows := 0
	for _, p := range board.Panels {
		rows = max(rows, p.GridPos.Y+p.GridPos.H)
	}
	// The room for the title, the caption and a line for each two scenes.
	head := titleRow + headLine*vg.Length(1+(len(kept.scenes)+1)/2) + gap
	width, height := columns*column+2*gap, head+vg.Length(rows)*gridRow+gap
	img := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))
	all := draw.New(img)
	fill(all, page)
	header(all, board.Title, kept)
	for i, p := range board.Panels {
		top := height - head - vg.Length(p.GridPos.Y)*gridRow
		left := gap + vg.Length(p.GridPos.X)*column
		area := draw.Canvas{Canvas: all.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: left, Y: top - vg.Length(p.GridPos.H)*gridRow + gap},
			Max: vg.Point{X: left + vg.Length(p.GridPos.W)*column - gap, Y: top},
		}}
		if err := drawPanel(area, p, answers[i], kept); err != nil {
			return fmt.Errorf("drawing %q: %w", p.Title, err)
		}
	}
	out, err := os.Create(file) // #nosec G304 -- the command line names it
	if err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression} // it is kept in the repository
	if err := encoder.Encode(out, img.Image()); err != nil {
		_ = out.Close() // the first error tells more
		return fmt.Errorf("writing the picture: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	return nil
}

// header has the title, the caption, and what happened when, by the numbers that the panels
// show.
func header(c draw.Canvas, title string, kept *recorded) {
	at := vg.Point{X: 2 * gap, Y: c.Max.Y - gap}
	c.FillText(style(22, ink, true), at, title)
	at.Y -= titleRow - gap
	c.FillText(style(13, faint, false), at, caption)
	for i, s := range kept.scenes {
		if i%2 == 0 {
			at.Y -= headLine
		}
		at.X = 2*gap + vg.Length(i%2)*(columns/2)*column
		c.FillText(style(13, ink, false), at, fmt.Sprintf("%d  %s  %s", i+1, clock(s.at.Sub(kept.start)), s.title))
	}
}

func drawPanel(area draw.Canvas, p panel, shown answer, kept *recorded) error {
	if p.Type == typeRow {
		area.FillText(style(16, ink, true), vg.Point{X: area.Min.X, Y: area.Max.Y - 2*px}, p.Title)
		return nil
	}
	fill(area, color.White)
	outline := area.Rectangle
	area.StrokeLines(draw.LineStyle{Color: border, Width: px}, []vg.Point{
		outline.Min, {X: outline.Max.X, Y: outline.Min.Y}, outline.Max, {X: outline.Min.X, Y: outline.Max.Y}, outline.Min,
	})
	area.FillText(style(14, ink, true), vg.Point{X: area.Min.X + gap, Y: area.Max.Y - gap}, p.Title)
	inner := draw.Crop(area, gap, -gap, gap, -32*px)
	if len(shown) == 0 {
		s := style(15, faint, false)
		s.XAlign, s.YAlign = draw.XCenter, draw.YCenter
		inner.FillText(s, inner.Center(), p.noData())
		return nil
	}
	switch p.Type {
	case typeStat:
		return drawStat(inner, p, shown)
	case typeSeries:
		return drawSeries(inner, p, shown, kept)
	}
	return fmt.Errorf("a panel of the type %q cannot be drawn", p.Type)
}

func fill(c draw.Canvas, with color.Color) {
	c.SetColor(with)
	c.Fill(c.Rectangle.Path())
}

package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Pages are light or dark, and the colours of the data have a contrast of at
// least 3:1 to both. They are the colours of Okabe and Ito, which colour-blind
// people can distinguish; the lighter ones are darkened. Text has a colour for
// each kind of page, with a contrast of 5:1, and of 3:1 should a viewer use the
// wrong one.
var (
	ink     = rgb(0x64, 0x6c, 0x75)
	darkInk = rgb(0x88, 0x90, 0x9a)
	oursInk = rgb(0xd5, 0x5e, 0x00)
	inks    = []color.NRGBA{
		rgb(0x00, 0x78, 0xbd), rgb(0x00, 0x96, 0x6c), rgb(0xb5, 0x62, 0x90), rgb(0x7d, 0x7d, 0x7d), rgb(0x8a, 0x76, 0x00),
		rgb(0x77, 0x6c, 0xc8),
	}
	gridInk = color.NRGBA{0x80, 0x80, 0x80, 0x50}
)

func rgb(r, g, b uint8) color.NRGBA { return color.NRGBA{r, g, b, 0xff} }

func hex(c color.NRGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }

const (
	width     = vg.Length(640)
	rowHeight = vg.Length(19)
	margin    = vg.Length(8)
	textSize  = vg.Length(12)
)

func sans(size vg.Length, weight xfont.Weight) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}
}

// A figure has a title, a legend, and plots with common axes.
type figure struct {
	title, desc string
	legend      []entry
	plots       [][]*plot.Plot // rows
	height      vg.Length      // of the plots
}

// An entry of the legend explains its thumbnails.
type entry struct {
	label  string
	thumbs []plot.Thumbnailer
}

// newPlot returns a plot with a grid and without a background.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text = title
	p.Title.Padding = margin
	p.Title.TextStyle.Font = sans(textSize, xfont.WeightBold)
	p.Title.TextStyle.Color = ink
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color = ink
		a.Label.TextStyle.Font = sans(textSize, xfont.WeightNormal)
		a.Label.TextStyle.Color = ink
		a.Label.Padding = 4
		a.Tick.Label.Font = sans(11, xfont.WeightNormal)
		a.Tick.Label.Color = ink
		a.Tick.Color = ink
		a.Tick.Length = 4
		a.Padding = 0
	}
	p.Y.Padding = 6
	grid := draw.LineStyle{Color: gridInk, Width: 0.75}
	p.Add(&plotter.Grid{Vertical: grid, Horizontal: grid})
	return p
}

// layLegend arranges the entries in lines. The top of the first line is at y.
// layLegend returns the bottom of the last line.
func (f *figure) layLegend(dc draw.Canvas, y vg.Length, draws bool) vg.Length {
	x := dc.Min.X
	for i, e := range f.legend {
		l := plot.NewLegend()
		l.TextStyle.Font = sans(textSize, xfont.WeightNormal)
		l.TextStyle.Color = ink
		l.Left, l.Top = true, true
		l.Add(e.label, e.thumbs...)
		size := l.Rectangle(dc).Size()
		if i > 0 && x+size.X > dc.Max.X {
			x = dc.Min.X
			y -= size.Y + 5
		}
		if draws {
			l.Draw(draw.Canvas{Canvas: dc.Canvas, Rectangle: vg.Rectangle{
				Min: vg.Point{X: x, Y: y - size.Y}, Max: vg.Point{X: x + size.X, Y: y}}})
		}
		x += size.X + 18
		if i == len(f.legend)-1 {
			y -= size.Y
		}
	}
	return y
}

func (f *figure) writeSVG(w io.Writer) error {
	title := plot.New().Title.TextStyle
	title.Font = sans(15, xfont.WeightBold)
	title.Color = ink
	title.XAlign = draw.XLeft
	titleHeight := title.Height(f.title) + 8

	size := vg.Point{X: width}
	space := draw.Canvas{Rectangle: vg.Rectangle{Min: vg.Point{X: margin}, Max: vg.Point{X: width - margin}}}
	legendHeight := -f.layLegend(space, 0, false)
	size.Y = margin + titleHeight + legendHeight + 2*margin + f.height + margin

	svg := &canvas{Canvas: vgsvg.New(size.X, size.Y)}
	dc := draw.Crop(draw.New(svg), margin, -margin, margin, -margin)
	dc.FillText(title, vg.Point{X: dc.Min.X, Y: dc.Max.Y}, f.title)
	dc.Max.Y = f.layLegend(dc, dc.Max.Y-titleHeight, true) - 2*margin
	tiles := draw.Tiles{Rows: len(f.plots), Cols: len(f.plots[0]), PadX: 2 * margin, PadY: 2 * margin}
	for i, row := range plot.Align(f.plots, tiles, dc) {
		for j, c := range row {
			f.plots[i][j].Draw(c)
		}
	}

	var out bytes.Buffer
	if _, err := svg.WriteTo(&out); err != nil {
		return err
	}
	_, err := io.WriteString(w, svg.fix(f.finish(out.String())))
	return err
}

// canvas records the width of each text. A viewer without these fonts would not
// know it.
type canvas struct {
	*vgsvg.Canvas
	widths []vg.Length
}

func (c *canvas) FillString(f font.Face, at vg.Point, text string) {
	c.widths = append(c.widths, f.Width(text))
	c.Canvas.FillString(f, at, text)
}

// fix sets the widths of the texts.
func (c *canvas) fix(svg string) string {
	const start = "<text "
	var b strings.Builder
	for i, piece := range strings.Split(svg, start) {
		if i > 0 {
			fmt.Fprintf(&b, `%stextLength="%.1f" lengthAdjust="spacingAndGlyphs" `, start, c.widths[i-1].Points())
		}
		b.WriteString(piece)
	}
	return b.String()
}

// finish adds what vgsvg does not write: a description of the picture for
// those unable to see it, its colours on a dark page, and names of
// alternative fonts with the metrics of Arial and Helvetica.
func (f *figure) finish(svg string) string {
	escape := func(s string) string {
		var b strings.Builder
		xml.EscapeText(&b, []byte(s)) // a Builder returns no errors
		return b.String()
	}
	dark := ""
	for _, property := range []string{"fill", "stroke"} {
		dark += fmt.Sprintf(" [style*=%q] { %s: %s !important }", property+":"+hex(ink), property, hex(darkInk))
	}
	head := fmt.Sprintf("<title>%s</title>\n<desc>%s</desc>\n<style>@media (prefers-color-scheme: dark) {%s }</style>\n",
		escape(f.title), escape(f.desc), dark)
	start := strings.Index(svg, "<svg")
	end := start + strings.Index(svg[start:], ">")
	svg = svg[:end] + ` role="img">` + "\n" + head + svg[end+1:]
	return strings.ReplaceAll(svg, "font-family:Liberation Sans;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;")
}

// dots is a chart of times by mechanism, with rows of marks.
type dots struct {
	title, desc, axis string
	marks             []markKind
	panels            []panel
}

type panel struct {
	title string
	rows  []row
}

type row struct {
	label  string
	ours   bool
	values []float64 // in nanoseconds, by mark; NaN if not measured
}

// If two of the first three marks coincide, both are visible.
var glyphs = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.PyramidGlyph{}, barGlyph{}, draw.BoxGlyph{}, draw.CrossGlyph{}, draw.PlusGlyph{}}

// barGlyph draws a vertical bar.
type barGlyph struct{}

func (barGlyph) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	height := s.Radius * 1.5
	c.StrokeLine2(draw.LineStyle{Color: s.Color, Width: 2}, at.X, at.Y-height, at.X, at.Y+height)
}

// ringGlyph draws a circle with a line wide enough to be seen.
type ringGlyph struct{}

func (ringGlyph) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	c.SetLineStyle(draw.LineStyle{Color: s.Color, Width: 1.75})
	var p vg.Path
	p.Move(vg.Point{X: at.X + s.Radius, Y: at.Y})
	p.Arc(at, s.Radius, 0, 2*math.Pi)
	p.Close()
	c.Stroke(p)
}

// drawable reports whether a value has a place on a logarithmic axis.
func drawable(v float64) bool { return v > 0 && !math.IsInf(v, 1) }

func glyph(i int, c color.Color) draw.GlyphStyle {
	return draw.GlyphStyle{Color: c, Radius: 4, Shape: glyphs[i%len(glyphs)]}
}

// figure returns the figure, with the fastest mechanism of the first panel at
// the top. It leaves out panels and marks without values. It returns nil if no
// panel is left.
func (d *dots) figure() (*figure, error) {
	measured := make([]bool, len(d.marks))
	var all []float64
	order := make(map[string]float64)
	d.panels = slices.DeleteFunc(d.panels, func(p panel) bool {
		found := false
		for _, row := range p.rows {
			for i := range d.marks {
				if v := row.values[i]; drawable(v) {
					if _, ok := order[row.label]; !ok {
						order[row.label] = v
					}
					found, measured[i] = true, true
					all = append(all, v)
				}
			}
		}
		return !found
	})
	if len(all) == 0 {
		return nil, nil
	}
	f := &figure{title: d.title, desc: d.desc}
	low, high := logRange(all)
	for _, p := range d.panels {
		slices.SortStableFunc(p.rows, func(a, b row) int { return cmp.Compare(order[b.label], order[a.label]) })
		drawn, err := d.panel(p, low, high)
		if err != nil {
			return nil, err
		}
		f.plots = append(f.plots, []*plot.Plot{drawn})
		f.height += rowHeight*vg.Length(len(p.rows)) + 75
	}
	last := f.plots[len(f.plots)-1][0]
	last.X.Label.Text = d.axis
	for i, m := range d.marks {
		if measured[i] {
			f.legend = append(f.legend, entry{m.label, []plot.Thumbnailer{&plotter.Scatter{GlyphStyle: glyph(i, ink)}}})
		}
	}
	for _, group := range []struct {
		label string
		ink   color.Color
	}{{"this library", oursInk}, {"others", inks[0]}} {
		f.legend = append(f.legend, entry{group.label, []plot.Thumbnailer{&plotter.Line{LineStyle: draw.LineStyle{Color: group.ink, Width: 4}}}})
	}
	return f, nil
}

func (d *dots) panel(from panel, low, high float64) (*plot.Plot, error) {
	p := newPlot(from.title)
	p.X.Tick.Marker = logTicks(formatTime)
	var names []string
	for y, row := range from.rows {
		names = append(names, row.label)
		c := inks[0]
		if row.ours {
			c = oursInk
		}
		var points plotter.XYs
		var styles []draw.GlyphStyle
		for i := range d.marks {
			if v := row.values[i]; drawable(v) {
				points = append(points, plotter.XY{X: math.Log10(v), Y: float64(y)})
				styles = append(styles, glyph(i, c))
			}
		}
		if len(points) == 0 {
			continue
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.LineStyle = draw.LineStyle{Color: c, Width: 1.5}
		marks.GlyphStyleFunc = func(i int) draw.GlyphStyle { return styles[i] }
		p.Add(line, marks)
	}
	p.NominalY(names...)
	p.X.Padding = 0
	p.X.Min, p.X.Max = math.Log10(low), math.Log10(high)
	p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
	return p, nil
}

// curves is a chart of lines with logarithmic axes.
type curves struct {
	title, desc, xAxis, yAxis string
	xFormat, yFormat          func(float64) string
	panels                    []linePanel
}

type linePanel struct {
	title string
	lines []line
}

type line struct {
	label  string
	ours   bool
	points plotter.XYs
}

// style is the style of the line with a label, in all panels.
type style struct {
	line  draw.LineStyle
	glyph draw.GlyphStyle
}

func oursStyle(i int) style {
	s := style{draw.LineStyle{Color: oursInk, Width: 2.5}, draw.GlyphStyle{Color: oursInk, Radius: 4.5, Shape: draw.CircleGlyph{}}}
	if i > 0 {
		s.line.Dashes = []vg.Length{6, 3}
		s.glyph.Shape = ringGlyph{}
	}
	return s
}

// figure returns the figure, without panels that have no lines. It returns nil
// if no panel is left.
func (c *curves) figure() (*figure, error) {
	c.panels = slices.DeleteFunc(c.panels, func(p linePanel) bool { return len(p.lines) == 0 })
	if len(c.panels) == 0 {
		return nil, nil
	}
	f := &figure{title: c.title, desc: c.desc, height: 290, plots: [][]*plot.Plot{nil}}
	styles := make(map[string]style)
	ours, others := 0, 0
	for _, first := range []bool{true, false} { // ours before the others
		for _, p := range c.panels {
			for _, l := range p.lines {
				if _, ok := styles[l.label]; ok || l.ours != first {
					continue
				}
				var s style
				if l.ours {
					s = oursStyle(ours)
					ours++
				} else {
					ink := inks[others%len(inks)]
					s = style{draw.LineStyle{Color: ink, Width: 1.5}, glyph(others+1, ink)}
					others++
				}
				styles[l.label] = s
				f.legend = append(f.legend, entry{l.label,
					[]plot.Thumbnailer{&plotter.Line{LineStyle: s.line}, &plotter.Scatter{GlyphStyle: s.glyph}}})
			}
		}
	}
	var xs, ys []float64
	for _, p := range c.panels {
		for _, l := range p.lines {
			for _, xy := range l.points {
				xs, ys = append(xs, xy.X), append(ys, xy.Y)
			}
		}
	}
	low, high := logRange(ys)
	slices.Sort(xs)
	xs = slices.Compact(xs)
	for _, from := range c.panels {
		p := newPlot(from.title)
		p.X.Label.Text, p.Y.Label.Text = c.xAxis, c.yAxis
		p.X.Min, p.X.Max = math.Log10(xs[0]/1.3), math.Log10(xs[len(xs)-1]*1.3)
		ticks := make([]plot.Tick, len(xs))
		room := p.X.Min
		for i, x := range xs {
			ticks[i].Value = math.Log10(x)
			if i == 0 || ticks[i].Value >= room {
				ticks[i].Label = c.xFormat(x)
				room = ticks[i].Value + (p.X.Max-p.X.Min)/8 // room for the label
			}
		}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(ticks), logTicks(c.yFormat)
		// Ours are drawn last, over the others.
		slices.SortStableFunc(from.lines, func(a, b line) int {
			switch {
			case a.ours == b.ours:
				return 0
			case a.ours:
				return 1
			}
			return -1
		})
		for _, l := range from.lines {
			points := make(plotter.XYs, len(l.points))
			for i, xy := range l.points {
				points[i] = plotter.XY{X: math.Log10(xy.X), Y: math.Log10(xy.Y)}
			}
			drawn, marks, err := plotter.NewLinePoints(points)
			if err != nil {
				return nil, err
			}
			drawn.LineStyle, marks.GlyphStyle = styles[l.label].line, styles[l.label].glyph
			p.Add(drawn, marks)
		}
		p.Y.Min, p.Y.Max = math.Log10(low), math.Log10(high)
		f.plots[0] = append(f.plots[0], p)
	}
	return f, nil
}

// steps are the numbers, within a decade, at which a logarithmic axis can begin
// and end. A short axis also has labels at them.
var steps = []float64{1, 2, 5}

// logRange returns a range from one step to another that includes all values
// with some margin.
func logRange(values []float64) (low, high float64) {
	const room = 1.1
	least, most := slices.Min(values)/room, slices.Max(values)*room
	low, high = math.Inf(-1), math.Inf(1)
	for decade := decadeOf(least); decade <= most*10; decade *= 10 {
		for _, s := range steps {
			if v := s * decade; v <= least {
				low = v
			} else if v >= most {
				high = min(high, v)
			}
		}
	}
	return low, high
}

func decadeOf(v float64) float64 { return math.Pow(10, math.Floor(math.Log10(v))) }

// logTicks returns the ticks of an axis with decimal logarithms. It labels
// decades, and also the steps between them if there are fewer than two decades.
// (With gonum's own logarithmic scale, a plot leaves room for the axis's label
// at a wrong place.)
func logTicks(format func(float64) string) plot.TickerFunc {
	return func(low, high float64) []plot.Tick {
		var ticks []plot.Tick
		for decade := math.Floor(low); decade <= high; decade++ {
			for i := 1.0; i < 10; i++ {
				v := i * math.Pow(10, decade)
				t := plot.Tick{Value: math.Log10(v)}
				if i == 1 || high-low < 2 && slices.Contains(steps, i) {
					t.Label = format(v)
				}
				const slack = 1e-9
				if t.Value > low-slack && t.Value < high+slack {
					ticks = append(ticks, t)
				}
			}
		}
		return ticks
	}
}

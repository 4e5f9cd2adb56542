//! One chart as SVG.
//!
//! Colours are placeholders that the page's style sheet replaces (`stroke="#000001"` and so on), so that one
//! picture does for light and dark. It holds numbers and times only: nothing that a sender wrote.

use plotters::{
    chart::ChartBuilder,
    coord::Shift,
    drawing::DrawingArea,
    prelude::{DrawingBackend, IntoDrawingArea, SVGBackend},
    series::{AreaSeries, LineSeries},
    style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle},
};

use super::text::{self, Unit};

/// Of the drawing, in its own units; the page scales it.
const SIZE: (u32, u32) = (400, 170);
/// Room for what stands beside the axes.
const LEFT: u32 = 68;
const BELOW: u32 = 24;
/// Half a label of the time axis stands to the right of its end.
const BESIDE: u32 = 34;
const FONT: i32 = 16;
const STROKE: u32 = 2;

/// Beyond this a value is not drawn, and below it two values are one: the search for round labels has no end
/// where floating-point numbers have no room for them.
const LARGEST: f64 = 1e15;
const SMALLEST: f64 = 1e-6;

/// Placeholders; the style sheet names the same ones.
const AXIS: RGBColor = RGBColor(0, 0, 0xA0);
const GRID: RGBColor = RGBColor(0, 0, 0xA1);
const LABEL: RGBColor = RGBColor(0, 0, 0xA2);

/// How many colours there are for curves.
pub(super) const COLOURS: usize = 6;

fn colour(curve: usize) -> RGBColor {
    // Below 16, so that it is always one of the style sheet's.
    RGBColor(0, 0, (curve % COLOURS) as u8 + 1)
}

/// One curve, in pieces that are not joined; times in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Curve {
    /// Its place among the colours.
    pub(super) colour: usize,
    /// Filled below.
    pub(super) filled: bool,
    pub(super) pieces: Vec<Vec<(i64, f64)>>,
}

impl Curve {
    /// The newest value.
    pub(super) fn last(&self) -> Option<f64> {
        self.pieces.last().and_then(|piece| piece.last()).map(|(_, value)| *value)
    }
}

/// A chart of `curves` over the times `from..=to`; none where there is nothing to draw.
pub(super) fn svg(curves: &[Curve], (from, to): (i64, i64), unit: Unit) -> Option<String> {
    let points = || curves.iter().flat_map(|curve| curve.pieces.iter().flatten());
    let values = || points().map(|(_, value)| *value).filter(|value| is_drawn(*value));
    if values().next().is_none() || from >= to {
        return None;
    }
    let highest = values().fold(0.0, f64::max);
    let lowest = values().fold(0.0, f64::min);
    let room = (highest - lowest) * 0.08;
    let top = if highest - lowest < SMALLEST { highest + 1.0 } else { highest + room };
    let top = if unit == Unit::Share { top.clamp(0.05, 1.0_f64.max(highest)) } else { top };
    let bottom = if lowest < 0.0 { lowest - room } else { 0.0 };
    // Drawn in the unit that the labels have, so that they stand at round numbers.
    let (scale, suffix) = unit.scale(top);
    let frame = Frame { from, to, bottom: bottom / scale, top: top / scale, scale, suffix };
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, SIZE).into_drawing_area();
        // A backend that writes to memory has no way to fail.
        draw(&area, curves, &frame).ok()?;
        area.present().ok()?;
    }
    // Its size is the page's to say, by the view box.
    Some(out.replacen(&format!(r#"width="{}" height="{}" "#, SIZE.0, SIZE.1), "", 1))
}

/// What the axes span, in the unit of the labels.
struct Frame {
    from: i64,
    to: i64,
    bottom: f64,
    top: f64,
    scale: f64,
    suffix: &'static str,
}

fn is_drawn(value: f64) -> bool {
    value.is_finite() && value.abs() <= LARGEST
}

fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    curves: &[Curve],
    frame: &Frame,
) -> Result<(), plotters::drawing::DrawingAreaErrorKind<B::ErrorType>> {
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(BESIDE)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(frame.from..frame.to, frame.bottom..frame.top)?;
    let label = TextStyle::from(("sans-serif", FONT).into_font()).color(&LABEL);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(ShapeStyle::from(&GRID.mix(0.0)).stroke_width(0))
        .bold_line_style(ShapeStyle::from(&GRID).stroke_width(1))
        .axis_style(ShapeStyle::from(&AXIS).stroke_width(1))
        .x_labels(5)
        .y_labels(4)
        .x_label_formatter(&|time| text::clock(*time))
        .y_label_formatter(&|value| format!("{}{}", text::decimals(*value), frame.suffix))
        .label_style(label)
        .draw()?;
    for curve in curves {
        let line = ShapeStyle::from(&colour(curve.colour)).stroke_width(STROKE);
        for piece in &curve.pieces {
            let points = piece.iter().filter(|(_, value)| is_drawn(*value));
            let points = points.map(|(time, value)| (*time, value / frame.scale));
            if curve.filled {
                let below = colour(curve.colour).mix(0.18);
                chart.draw_series(AreaSeries::new(points.clone(), frame.bottom.max(0.0), below))?;
            }
            chart.draw_series(LineSeries::new(points, line))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pieces: Vec<Vec<(i64, f64)>>) -> Vec<Curve> {
        vec![Curve { colour: 0, filled: true, pieces }]
    }

    #[test]
    fn nothing_gives_no_picture_and_odd_numbers_give_one() {
        assert_eq!(svg(&[], (0, 10), Unit::Plain), None);
        assert_eq!(svg(&one(vec![]), (0, 10), Unit::Plain), None);
        assert_eq!(svg(&one(vec![vec![(1, f64::NAN)]]), (0, 10), Unit::Plain), None);
        assert_eq!(svg(&one(vec![vec![(1, 1.0)]]), (10, 10), Unit::Plain), None);
        assert_eq!(svg(&one(vec![vec![(1, f64::MAX), (5, -1e300)]]), (0, 10), Unit::Plain), None);
        for odd in [0.0, -5.0, 1e-300, SMALLEST, LARGEST, -LARGEST, f64::MIN_POSITIVE] {
            let drawn = svg(
                &one(vec![vec![(1, odd), (5, odd), (9, f64::INFINITY), (9, f64::MAX)]]),
                (0, 10),
                Unit::Bytes,
            );
            assert!(drawn.is_some_and(|svg| svg.starts_with("<svg viewBox=")), "{odd}");
        }
    }

    #[test]
    fn colours_are_those_of_the_style_sheet() {
        let style = include_str!("assets/page.css");
        for curve in 0..COLOURS {
            let RGBColor(_, _, b) = colour(curve);
            assert!(style.contains(&format!("[stroke=\"#0000{b:02X}\"]")), "{curve}");
        }
        for RGBColor(_, _, b) in [AXIS, GRID, LABEL] {
            assert!(style.contains(&format!("#0000{b:02X}")));
        }
    }
}

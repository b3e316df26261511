//! Times as bars on a common scale, drawn as SVG.

use anyhow::anyhow;
use plotters::prelude::{
    ChartBuilder, Color, IntoDrawingArea, IntoFont, RGBColor, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figure;
use crate::site::Host;

/// The plot's width, in pixels; it is scaled to the page.
const WIDTH: u32 = 640;

/// The height of a bar with the space around it, in pixels.
const STEP: u32 = 22;

/// The height of the scale, in pixels.
const SCALE: u32 = 22;

/// What is left for names and for figures, in pixels.
const NAMES: u32 = 140;
const FIGURES: u32 = 80;

const TEXT_SIZE: u32 = 16;
const INK: RGBColor = RGBColor(29, 35, 38);
const QUIET: RGBColor = RGBColor(92, 102, 107);

/// One bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) seconds: f64,
    /// The server whose colour it has; without one, the notebook's.
    pub(super) host: Option<Host>,
}

impl Bar {
    fn color(&self) -> RGBColor {
        match self.host {
            None => RGBColor(118, 127, 132),
            Some(Host::Before) => RGBColor(179, 67, 31),
            Some(Host::Threads) => RGBColor(176, 128, 20),
            Some(Host::After) => RGBColor(23, 101, 110),
        }
    }
}

/// Draws the bars, from the top down.
pub(super) fn plot(bars: &[Bar]) -> anyhow::Result<String> {
    let mut svg = String::new();
    let height = STEP * bars.len() as u32 + SCALE;
    let drawn = draw(bars, SVGBackend::with_string(&mut svg, (WIDTH, height)));
    drawn.map_err(|error| anyhow!("a plot cannot be drawn: {error}"))?;
    Ok(svg)
}

fn draw(bars: &[Bar], svg: SVGBackend<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let area = svg.into_drawing_area();
    let longest = bars.iter().map(|bar| bar.seconds).fold(f64::MIN_POSITIVE, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(SCALE)
        .y_label_area_size(NAMES)
        .margin_right(FIGURES)
        .build_cartesian_2d(0.0..longest, 0.0..bars.len() as f64)?;
    let text = ("sans-serif", TEXT_SIZE).into_font();
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .x_labels(4)
        .x_max_light_lines(0)
        .axis_style(QUIET.mix(0.4))
        .bold_line_style(QUIET.mix(0.2))
        .label_style(text.clone().color(&QUIET))
        .x_label_formatter(&|seconds| match *seconds {
            0.0 => "0".to_owned(),
            seconds => figure::time(seconds),
        })
        .draw()?;

    let place = |row: usize, from: f64| bars.len() as f64 - row as f64 - from;
    chart.draw_series(bars.iter().enumerate().map(|(row, bar)| {
        let corners = [(0.0, place(row, 0.15)), (bar.seconds, place(row, 0.85))];
        Rectangle::new(corners, bar.color().filled())
    }))?;
    for (row, bar) in bars.iter().enumerate() {
        let write = |words: String, at: f64, gap: i32, side| {
            let (x, y) = chart.backend_coord(&(at, place(row, 0.5)));
            let style = text.clone().color(&INK).pos(Pos::new(side, VPos::Center));
            area.draw(&Text::new(words, (x + gap, y), style))
        };
        write(bar.label.clone(), 0.0, -8, HPos::Right)?;
        write(figure::time(bar.seconds), bar.seconds, 6, HPos::Left)?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Bar, plot};
    use crate::site::Host;

    #[test]
    fn a_bar_twice_as_long_is_drawn_twice_as_wide() {
        let bar = |label: &str, seconds, host| Bar { label: label.to_owned(), seconds, host };
        let bars = [bar("a <b>", 2.0, None), bar("after", 1.0, Some(Host::After))];
        let svg = plot(&bars).expect("it can be drawn");
        let widths: Vec<f64> = svg
            .split("<rect ")
            .skip(1)
            .filter_map(|rect| rect.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        let [two, one] = widths[..] else { panic!("no two bars in {svg}") };
        assert!((two / one - 2.0).abs() < 0.02, "{two} and {one} in {svg}");
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("2.00 s"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_no_trouble() {
        assert!(plot(&[]).is_ok_and(|svg| svg.starts_with("<svg")));
    }
}

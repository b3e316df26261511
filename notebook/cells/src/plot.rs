//! Times as bars, for a cell to show.

use std::error::Error;
use std::time::Duration;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figure::time;

/// In pixels: the width of all, the height of a bar and its gap, and the room for title and axis.
const WIDTH: u32 = 760;
const ROW: u32 = 40;
const AROUND: u32 = 104;

/// The part of the longest bar's length that is left for its figure.
const FIGURE: f64 = 0.2;

/// Opaque, so that the dark letters are readable in a dark notebook.
const PAPER: RGBColor = RGBColor(250, 250, 248);
const INK: RGBColor = RGBColor(38, 38, 38);
const LINE: RGBColor = RGBColor(214, 214, 208);

/// The colour of a bar, by the first word of its label.
const COLOURS: [(&str, RGBColor); 3] = [
    ("before", RGBColor(190, 75, 35)),
    ("threads", RGBColor(150, 115, 20)),
    ("after", RGBColor(15, 118, 110)),
];

/// Times side by side. A cell that ends with one shows it.
#[derive(Clone, Debug)]
pub struct Plot {
    title: String,
    bars: Vec<(String, Duration)>,
}

impl Plot {
    /// A plot without bars.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), bars: Vec::new() }
    }

    /// Adds a bar below the others.
    pub fn bar(mut self, label: impl Into<String>, took: Duration) -> Self {
        self.bars.push((label.into(), took));
        self
    }

    /// The plot as an SVG image.
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("a string takes all that is drawn");
        svg
    }

    /// What evcxr calls for the value of a cell: the image, and the figures as text.
    pub fn evcxr_display(&self) {
        let figures =
            self.bars.iter().map(|(label, took)| format!("{label:20} {:>8}", time(*took)));
        let text = [self.title.clone()].into_iter().chain(figures).collect::<Vec<_>>().join("\n");
        let svg = self.svg();
        println!("EVCXR_BEGIN_CONTENT image/svg+xml\n{svg}\nEVCXR_END_CONTENT");
        println!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT");
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn Error>> {
        let rows = self.bars.len();
        let height = AROUND + ROW * u32::try_from(rows)?;
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        root.fill(&PAPER)?;
        let seconds = |row: usize| self.bars[row].1.as_secs_f64();
        let longest = (0..rows).map(seconds).fold(f64::MIN_POSITIVE, f64::max);
        let mut chart = ChartBuilder::on(&root)
            .margin(14)
            .margin_right(24)
            .caption(&self.title, ("sans-serif", 19, FontStyle::Bold, &INK))
            .x_label_area_size(42)
            .y_label_area_size(170)
            .build_cartesian_2d(0.0..longest * (1.0 + FIGURE), 0.0..rows as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .bold_line_style(LINE)
            .light_line_style(TRANSPARENT)
            .axis_style(LINE)
            .x_labels(5)
            .x_label_formatter(&|seconds| time(Duration::from_secs_f64(*seconds)))
            .x_desc("shorter is better")
            .label_style(("sans-serif", 14, &INK))
            .axis_desc_style(("sans-serif", 14, &INK))
            .draw()?;
        let plane = chart.plotting_area();
        let right = Pos::new(HPos::Right, VPos::Center);
        let left = Pos::new(HPos::Left, VPos::Center);
        let letters = ("sans-serif", 15, &INK).into_text_style(&root);
        for (row, (label, took)) in self.bars.iter().enumerate() {
            let (from, middle) = ((rows - row) as f64, (rows - row) as f64 - 0.5);
            let bar = [(0.0, from - 0.2), (seconds(row), from - 0.8)];
            plane.draw(&Rectangle::new(bar, colour(label).filled()))?;
            // Labels are outside of the plane, which would refuse them.
            let (x, y) = plane.map_coordinate(&(0.0, middle));
            root.draw(&Text::new(label.clone(), (x - 10, y), letters.pos(right)))?;
            let (x, y) = plane.map_coordinate(&(seconds(row), middle));
            root.draw(&Text::new(time(*took), (x + 8, y), letters.pos(left)))?;
        }
        root.present()?;
        Ok(())
    }
}

fn colour(label: &str) -> RGBColor {
    let word = label.split([' ', ',']).next().unwrap_or_default();
    COLOURS.iter().find(|(name, _)| *name == word).map_or(INK, |(_, colour)| *colour)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Plot;

    #[test]
    fn the_longest_bar_is_as_many_times_as_wide() {
        let plot = Plot::new("Two")
            .bar("before", Duration::from_secs(4))
            .bar("after", Duration::from_secs(1));
        let svg = plot.svg();
        let bars = svg.lines().filter(|line| line.contains("#BE4B23") || line.contains("#0F766E"));
        let widths: Vec<f64> = bars
            .map(|line| {
                let width = line.split(" width=\"").nth(1).expect("a rectangle has a width");
                width.split('"').next().unwrap_or_default().parse().expect("it is a number")
            })
            .collect();
        assert_eq!(widths.len(), 2, "{svg}");
        assert!((widths[0] / widths[1] - 4.0).abs() < 0.1, "{widths:?}");
        assert!(svg.contains("4.00 s") && svg.contains("shorter is better"), "{svg}");
    }
}

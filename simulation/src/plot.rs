//! One plot for each question: requests, and devices served, over time.

use std::path::Path;

use plotters::{coord::Shift, drawing::DrawingAreaErrorKind, prelude::*};

use crate::tally::Tally;

/// Why a plot could not be written.
pub type Failure = DrawingAreaErrorKind<std::io::Error>;

const SIZE: (u32, u32) = (860, 620);
const FONT: &str = "sans-serif";
/// Told apart by people who see red and green alike, too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Writes the plot. `quota` is what is served in one bin of the tallies at most, `floor` when the
/// last device could be served at the earliest, in milliseconds.
pub fn write(path: &Path, tallies: &[Tally], quota: f64, floor: u64) -> Result<(), Failure> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = draw(&root, tallies, quota, floor);
    // An area that is not presented is presented when it is dropped, and panics there.
    root.present().and(drawn)
}

fn draw(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    tallies: &[Tally],
    quota: f64,
    floor: u64,
) -> Result<(), Failure> {
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 * 6 / 10);
    let end = tallies.iter().map(|tally| tally.milestones[3]).max().unwrap_or_default().max(floor);
    let end = minutes(end) * 1.02;
    let most = tallies.iter().flat_map(|tally| &tally.bins).map(|bin| bin.0).max();
    let most = most.unwrap_or_default().max(10) as f64;

    let mut chart = ChartBuilder::on(&upper)
        .margin(12)
        .x_label_area_size(24)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..end, (1.0..most * 2.0).log_scale())?;
    let each = tallies.first().map_or(60_000, |tally| tally.bin) / 1000;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style((FONT, 13))
        .y_desc(format!("requests in {each} s"))
        .y_label_formatter(&|count| format!("{count:.0e}").replace("1e", "10^"))
        .draw()?;
    chart
        .draw_series(LineSeries::new([(0.0, quota), (end, quota)], BLACK.stroke_width(1)))?
        .label("the quota")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK));
    // dps-core last, so that no other line hides it.
    for (tally, colour) in tallies.iter().zip(COLOURS).rev() {
        let line = tally
            .bins
            .iter()
            .zip(0_u64..)
            .map(|(bin, index)| (minutes(index * tally.bin), (bin.0 as f64).max(1.0)));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(tally.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .label_font((FONT, 13))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;

    let mut chart = ChartBuilder::on(&lower)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..end, 0.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style((FONT, 13))
        .x_desc("minutes")
        .y_desc("devices served, %")
        .draw()?;
    let floor = minutes(floor);
    chart.draw_series(LineSeries::new([(floor, 0.0), (floor, 100.0)], BLACK.stroke_width(1)))?;
    for (tally, colour) in tallies.iter().zip(COLOURS).rev() {
        let mut served = 0;
        let line = tally.bins.iter().zip(1_u64..).map(|(bin, index)| {
            served += bin.1;
            (minutes(index * tally.bin), 100.0 * served as f64 / tally.fleet as f64)
        });
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
    }
    Ok(())
}

fn minutes(millis: u64) -> f64 {
    millis as f64 / 60_000.0
}

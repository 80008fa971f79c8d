//! A table as a picture: one bar a row, one panel a column, each bar with its spread and its
//! budget.

use dps_benches::Outcome;
use plotters::prelude::{
    BLACK, Color as _, DrawingArea, IntoDrawingArea as _, IntoFont as _, PathElement, RGBColor,
    Rectangle, SVGBackend, Text, WHITE,
};

use crate::{
    spread::grouped,
    table::{Row, Table, Who},
};

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// In pixels.
const ROW: i32 = 22;
const BAR: i32 = 14;
const TOP: i32 = 44;
const LETTER: i32 = 7;
const PANEL: i32 = 330;
/// Of a panel, what the longest bar takes; behind it stands its number.
const LONGEST: i32 = 240;

/// Beyond this ratio of the longest to the shortest bar, lengths are logarithms.
const LINEAR: f64 = 60.0;

const BUDGET: RGBColor = RGBColor(207, 34, 46);

/// Draws the columns that are to be plotted, as SVG.
pub(crate) fn draw(table: &Table) -> Outcome<String> {
    let columns: Vec<usize> =
        (0..table.columns.len()).filter(|column| table.columns[*column].plotted).collect();
    let longest = table.rows.iter().map(|row| plain(&row.label).chars().count()).max();
    let labels = 16 + LETTER * longest.unwrap_or_default() as i32;
    let width = labels + PANEL * columns.len() as i32;
    let height = TOP + ROW * table.rows.len() as i32 + 34;

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width as u32, height as u32));
        let area = area.into_drawing_area();
        area.fill(&WHITE)?;
        text(&area, table.title, (8, 4), 15)?;
        for (index, row) in table.rows.iter().enumerate() {
            text(&area, &plain(&row.label), (8, TOP + ROW * index as i32 + 5), 12)?;
        }
        for (panel, column) in columns.into_iter().enumerate() {
            draw_column(&area, table, column, labels + PANEL * panel as i32)?;
        }
        let legend = "blue: dps-core; grey: Microsoft's SDK; light: the floor, without an SDK; \
                      thin line: least to most; red: budget";
        text(&area, legend, (8, height - 22), 11)?;
        area.present()?;
    }
    Ok(svg)
}

fn draw_column(area: &Area<'_>, table: &Table, column: usize, left: i32) -> Outcome<()> {
    let shown = &table.columns[column];
    let scale = Scale::of(&table.rows, column);
    let head = if scale.logarithmic { " (logarithmic)" } else { "" };
    text(area, &format!("{}{head}", shown.head), (left, TOP - 18), 12)?;
    for (index, row) in table.rows.iter().enumerate() {
        let Some(spread) = &row.cells[column] else { continue };
        let top = TOP + ROW * index as i32 + (ROW - BAR) / 2;
        let middle = top + BAR / 2;
        let end = left + scale.length(spread.median());
        let bar = Rectangle::new([(left, top), (end, top + BAR)], color(row.who).filled());
        area.draw(&bar)?;
        let (least, most) =
            (left + scale.length(spread.least()), left + scale.length(spread.most()));
        area.draw(&PathElement::new([(least, middle), (most, middle)], BLACK.stroke_width(1)))?;
        let mut behind = end.max(most);
        if let Some(bound) = row.bound(column) {
            let at = left + scale.length(bound);
            let ends = [(at, top - 2), (at, top + BAR + 2)];
            area.draw(&PathElement::new(ends, BUDGET.stroke_width(2)))?;
            behind = if at > end { behind.max(at) } else { behind };
        }
        let number = grouped(spread.median(), shown.digits);
        text(area, &number, (behind + 6, top + 2), 12)?;
    }
    Ok(())
}

/// From values to pixels.
struct Scale {
    logarithmic: bool,
    least: f64,
    most: f64,
}

impl Scale {
    fn of(rows: &[Row], column: usize) -> Self {
        let cells = || rows.iter().filter_map(|row| row.cells[column].as_ref());
        let bounds = rows.iter().filter_map(|row| row.bound(column));
        let most = cells().map(|spread| spread.most()).chain(bounds).fold(0.0, f64::max);
        let positive = cells().map(|spread| spread.least()).filter(|value| *value > 0.0);
        let least = positive.fold(most, f64::min);
        Self { logarithmic: most / least > LINEAR, least, most }
    }

    fn length(&self, value: f64) -> i32 {
        let share = match self.logarithmic {
            // Half of the least would have no length.
            true => (value * 2.0 / self.least).ln() / (self.most * 2.0 / self.least).ln(),
            false => value / self.most,
        };
        (share.clamp(0.0, 1.0) * f64::from(LONGEST)).round() as i32
    }
}

fn color(who: Who) -> RGBColor {
    match who {
        Who::Ours => RGBColor(9, 105, 218),
        Who::Theirs => RGBColor(140, 149, 159),
        Who::Bare => RGBColor(208, 215, 222),
    }
}

fn text(area: &Area<'_>, words: &str, at: (i32, i32), size: i32) -> Outcome<()> {
    Ok(area.draw(&Text::new(words.to_owned(), at, ("sans-serif", size).into_font()))?)
}

/// A label without its Markdown.
fn plain(label: &str) -> String {
    label.replace('`', "")
}

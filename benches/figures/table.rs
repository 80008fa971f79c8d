//! A table of figures with the budgets beside them.

use std::fmt;

use crate::spread::{Spread, grouped};

/// Whose figures a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// dps-core's.
    Ours,
    /// Those of Microsoft's SDK.
    Theirs,
    /// The floor: the same without an SDK.
    Bare,
}

/// Figures that were measured taking turns.
pub(crate) struct Table {
    /// Names the plot's file.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    /// What was done, in a paragraph.
    pub(crate) text: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Column {
    pub(crate) head: &'static str,
    /// Behind the point.
    pub(crate) digits: usize,
    pub(crate) plotted: bool,
}

/// A column that the plot shows.
pub(crate) fn plotted(head: &'static str, digits: usize) -> Column {
    Column { head, digits, plotted: true }
}

/// A column of the table alone.
pub(crate) fn column(head: &'static str, digits: usize) -> Column {
    Column { head, digits, plotted: false }
}

pub(crate) struct Row {
    pub(crate) who: Who,
    pub(crate) label: String,
    /// One for each column.
    pub(crate) cells: Vec<Option<Spread>>,
    budgets: Vec<Budget>,
    limit: Option<String>,
}

struct Budget {
    said: String,
    met: bool,
    column: usize,
    bound: f64,
}

impl Row {
    pub(crate) fn new<const N: usize>(
        who: Who,
        label: impl Into<String>,
        cells: [Option<Spread>; N],
    ) -> Self {
        Self { who, label: label.into(), cells: cells.into(), budgets: Vec::new(), limit: None }
    }

    /// The median of this column is not to be above the bound.
    pub(crate) fn at_most(&mut self, column: usize, bound: f64, unit: &str) -> &mut Self {
        let said = format!("≤ {}{unit}", short(bound));
        self.budget(column, bound, said, |median| median <= bound)
    }

    /// The median of this column is not to be further above the floor's than this; `words` are the
    /// unit and what the floor is.
    pub(crate) fn at_most_above(
        &mut self,
        floor: &Spread,
        column: usize,
        more: f64,
        words: &str,
    ) -> &mut Self {
        let bound = floor.median() + more;
        let said = format!("≤ {}{words}", short(more));
        self.budget(column, bound, said, |median| median <= bound)
    }

    /// The median of this column is not to be below the bound.
    pub(crate) fn at_least(&mut self, column: usize, bound: f64, unit: &str) -> &mut Self {
        let said = format!("≥ {}{unit}", short(bound));
        self.budget(column, bound, said, |median| median >= bound)
    }

    fn budget(
        &mut self,
        column: usize,
        bound: f64,
        said: String,
        meets: impl Fn(f64) -> bool,
    ) -> &mut Self {
        if let Some(spread) = &self.cells[column] {
            let met = meets(spread.median());
            self.budgets.push(Budget { said, met, column, bound });
        }
        self
    }

    /// What keeps it from meeting its budgets, said where one is missed.
    pub(crate) fn limited_by(&mut self, reason: impl Into<String>) -> &mut Self {
        self.limit = Some(reason.into());
        self
    }

    /// Where the plot marks the budget of a column.
    pub(crate) fn bound(&self, column: usize) -> Option<f64> {
        self.budgets.iter().find(|budget| budget.column == column).map(|budget| budget.bound)
    }

    fn misses(&self) -> bool {
        self.budgets.iter().any(|budget| !budget.met)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}\n", self.title, self.text)?;
        f.write_str("| |")?;
        for column in &self.columns {
            write!(f, " {} |", column.head)?;
        }
        writeln!(f, " budget |\n|---|{}---|", "---:|".repeat(self.columns.len()))?;
        for row in &self.rows {
            write!(f, "| {} |", row.label)?;
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                match cell {
                    Some(spread) => write!(f, " {spread:.*} |", column.digits)?,
                    None => f.write_str(" |")?,
                }
            }
            let said = |budget: &Budget| {
                let verdict = if budget.met { "met" } else { "**missed**" };
                format!("{}: {verdict}", budget.said)
            };
            let budgets: Vec<_> = row.budgets.iter().map(said).collect();
            writeln!(f, " {} |", budgets.join("; "))?;
        }
        writeln!(f, "\n![{}]({})\n", self.title, self.plot_name())?;
        for row in self.rows.iter().filter(|row| row.misses()) {
            if let Some(reason) = &row.limit {
                writeln!(f, "What limits \"{}\": {reason}\n", row.label)?;
            }
        }
        Ok(())
    }
}

impl Table {
    /// The file of its plot, beside the page.
    pub(crate) fn plot_name(&self) -> String {
        format!("figures-{}.svg", self.slug)
    }
}

/// A bound has no more digits than it was given.
fn short(bound: f64) -> String {
    let digits = (0..3).find(|digits| (bound * 10_f64.powi(*digits)).fract() == 0.0).unwrap_or(2);
    grouped(bound, digits as usize)
}

//! The median of several runs, with the least and the most.

use std::fmt;

use dps_benches::Reading;

/// Shown as `median [least .. most]`, with the digits of the format's precision.
#[derive(Clone)]
pub(crate) struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { sorted: values }
    }

    pub(crate) fn of(readings: &[Reading], value: impl FnMut(&Reading) -> f64) -> Self {
        Self::new(readings.iter().map(value).collect())
    }

    pub(crate) fn least(&self) -> f64 {
        self.sorted[0]
    }

    pub(crate) fn median(&self) -> f64 {
        self.sorted[self.sorted.len() / 2]
    }

    pub(crate) fn most(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }
}

/// The ratio of the runs that were neighbours.
pub(crate) fn ratio(
    above: &[Reading],
    below: &[Reading],
    value: impl Fn(&Reading) -> f64,
) -> Spread {
    Spread::new(above.iter().zip(below).map(|(a, b)| value(a) / value(b)).collect())
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let [least, median, most] =
            [self.least(), self.median(), self.most()].map(|value| grouped(value, digits));
        if least == most {
            return f.write_str(&median);
        }
        write!(f, "{median} [{least} .. {most}]")
    }
}

/// With a comma between thousands.
pub(crate) fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut shown = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && digit.is_ascii_digit() && (whole.len() - index) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    if let Some(fraction) = fraction {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}

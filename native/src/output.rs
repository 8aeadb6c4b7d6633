//! Standard output: text or JSON; a closed pipe ends the program quietly. Errors and warnings on standard error.

use std::{fmt, io::Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::{Failure, Kind, Outcome};

/// Bold.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what matters less.
pub(crate) const DIM: Style = Style::new().dimmed();

/// Where results go.
pub(crate) struct Output {
    out: anstream::Stdout,
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { out: anstream::stdout(), json }
    }

    /// Whether the caller wants JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line of text.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Outcome {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Text without a line's end, at once.
    pub(crate) fn part(&mut self, text: &str) -> Outcome {
        write!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// The result as JSON, for people as well.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(value);
        self.line(text.map_err(|error| Failure::new(Kind::Defect, error))?)
    }

    /// One of several results, as JSON on one line, at once.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Outcome {
        let text = serde_json::to_string(value);
        self.line(text.map_err(|error| Failure::new(Kind::Defect, error))?)?;
        self.flush()
    }

    /// Columns under their headings, numbers to the right.
    pub(crate) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) -> Outcome {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let heading = headings.get(column).map_or(0, |heading| heading.chars().count());
            cells.max().unwrap_or(0).max(heading)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (column, cell) in cells.enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                line += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            line.trim_end().to_owned()
        };
        let head = line(&mut headings.iter().copied());
        self.line(format_args!("{BOLD}{head}{BOLD:#}"))?;
        for row in rows {
            let row = line(&mut row.iter().map(String::as_str));
            self.line(row)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        Ok(self.out.flush()?)
    }
}

/// Prints an error.
pub(crate) fn error(message: impl fmt::Display) {
    message_in(AnsiColor::Red, "error", message);
}

/// Prints a warning: the program goes on.
pub(crate) fn warning(message: impl fmt::Display) {
    message_in(AnsiColor::Yellow, "warning", message);
}

fn message_in(colour: AnsiColor, name: &str, message: impl fmt::Display) {
    let style = Style::new().bold().fg_color(Some(colour.into()));
    // Nothing can be done where standard error is closed as well.
    let _ = writeln!(anstream::stderr(), "{style}{name}:{style:#} {message}");
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(["7", "1 234", "12 345 678"], [7, 1234, 12_345_678].map(thousands).each_ref().map(String::as_str));
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}

//! What people and machines are shown. The only place that prints.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstream::{eprintln, println};
use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::error::CliError;

/// A line under the head, and nothing else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
/// The widest table.
const WIDTH: u16 = 100;

/// What is done sooner shows no progress.
const MOMENT: Duration = Duration::from_secs(2);

/// Where a command's results go.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
}

impl Report {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// One JSON document, or what people are shown instead.
    pub(super) fn show(
        &self,
        value: &impl Serialize,
        people: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        if self.json {
            println!(
                "{}",
                serde_json::to_string_pretty(value).map_err(CliError::failed)?
            );
        } else {
            println!("{}", people().trim_end());
        }
        std::io::stdout().flush().map_err(CliError::failed)
    }

    /// One line of a stream: JSON, or what people are shown instead.
    pub(super) fn line(
        &self,
        value: &impl Serialize,
        people: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        if self.json {
            println!(
                "{}",
                serde_json::to_string(value).map_err(CliError::failed)?
            );
        } else {
            println!("{}", people().trim_end());
        }
        std::io::stdout().flush().map_err(CliError::failed)
    }

    /// Something on the way, for people only.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// A progress bar, where a person watches, of what takes longer than a moment.
    pub(super) fn progress(&self, what: &str, length: u64) -> Progress {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message(what.to_owned());
        Progress {
            bar,
            watched: !self.json && std::io::stderr().is_terminal(),
            shown: Cell::new(false),
        }
    }

    /// Says why a command failed; returns its exit code.
    pub(super) fn failure(&self, error: &CliError) -> ExitCode {
        if self.json {
            let value =
                serde_json::json!({"error": {"code": error.code(), "message": error.to_string()}});
            eprintln!("{value}");
        } else {
            eprintln!("error: {error}");
        }
        ExitCode::from(error.exit_code())
    }
}

/// How far something has come.
pub(super) struct Progress {
    bar: ProgressBar,
    watched: bool,
    shown: Cell<bool>,
}

impl Progress {
    /// So many more are done.
    pub(super) fn inc(&self, more: u64) {
        self.bar.inc(more);
        self.look();
    }

    /// So many are done.
    pub(super) fn set_position(&self, done: u64) {
        self.bar.set_position(done);
        self.look();
    }

    /// So many it will be.
    pub(super) fn set_length(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// Leaves nothing on the terminal.
    pub(super) fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }

    fn look(&self) {
        if self.watched && !self.shown.get() && self.bar.elapsed() >= MOMENT {
            self.shown.set(true);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// A table for people.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(head);
    for row in rows {
        table.add_row(row);
    }
    format!("{}\n", table.trim_fmt())
}

/// A table whose first columns have widths of their own.
pub(super) fn titled_table<const N: usize>(
    widths: &[u16],
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for (column, width) in table.column_iter_mut().zip(widths) {
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(*width)));
    }
    format!("{}\n", table.trim_fmt())
}

/// Names joined for a table.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Or a dash, where there is nothing.
pub(super) fn dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

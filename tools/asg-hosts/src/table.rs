//! The list as a person reads it.

use crate::listing::Row;
use crate::terminal::Screen;
use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, Width};
use failure::Failure;
use records::Host;
use std::collections::BTreeMap;
use std::fmt;

/// The columns, unless others are asked for.
pub(crate) const COLUMNS: [&str; 9] =
    ["asg", "instance_id", "name", "lifecycle_state", "health", "instance_state", "lifecycle", "az", "private_ip"];

/// Rows in memory at a time: the cells of a large fleet take more than the fleet.
const CHUNK: usize = 256;

/// The space on both sides of a column.
const PADDING: u16 = 2;

/// Prints aligned columns and a line that sums up.
///
/// # Errors
/// stdout can't take it.
pub(crate) fn print(rows: &[Row<'_>], columns: &[&str], screen: &mut Screen) -> Result<(), Failure> {
    let colour = screen.has_colour();
    let mut widths = head(columns).column_max_content_widths();
    let mut summary = Summary::default();
    for chunk in rows.chunks(CHUNK) {
        let hosts: Vec<Host> = chunk.iter().map(Row::host).collect();
        hosts.iter().for_each(|host| summary.add(host));
        let mut table = Table::new();
        table.add_rows(hosts.iter().map(|host| cells(host, columns, false)));
        for (width, wider) in widths.iter_mut().zip(table.column_max_content_widths()) {
            *width = wider.max(*width);
        }
    }
    screen.write_coloured(&lines(head(columns), &widths, colour))?;
    for chunk in rows.chunks(CHUNK) {
        let mut table = Table::new();
        table.add_rows(chunk.iter().map(|row| cells(&row.host(), columns, colour)));
        screen.write_coloured(&lines(table, &widths, colour))?;
    }
    screen.write_coloured(&format!("\n{}\n", failure::printable(&summary.to_string())))
}

fn head(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.add_row(columns.iter().map(|column| failure::printable(&column.to_uppercase())));
    table
}

/// A table whose columns are as wide as those of all the others.
fn lines(mut table: Table, widths: &[u16], colour: bool) -> String {
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let fixed = |width: &u16| ColumnConstraint::Absolute(Width::Fixed(width.saturating_add(PADDING)));
    table.set_constraints(widths.iter().map(fixed));
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn cells(host: &Host, columns: &[&str], colour: bool) -> Vec<Cell> {
    columns.iter().map(|column| cell(host, column, colour)).collect()
}

fn cell(host: &Host, column: &str, colour: bool) -> Cell {
    let text = failure::printable(&host.column(column).unwrap_or_default());
    let state = matches!(column, "lifecycle_state" | "health" | "instance_state");
    let cell = Cell::new(if text.is_empty() { "-" } else { &text });
    if !colour || !state || text.is_empty() {
        return cell;
    }
    cell.fg(match text.as_str() {
        "InService" | "Healthy" | "running" => Color::Green,
        "Unhealthy" | "shutting-down" | "terminated" | "stopped" | "stopping" => Color::Red,
        _ => Color::Yellow,
    })
}

/// What the last line says.
#[derive(Default)]
struct Summary {
    all: usize,
    in_service: usize,
    spot: usize,
    on_demand: usize,
    zones: BTreeMap<String, usize>,
}

impl Summary {
    fn add(&mut self, host: &Host) {
        self.all += 1;
        self.in_service += usize::from(host.lifecycle_state == "InService");
        self.spot += usize::from(host.lifecycle == "spot");
        self.on_demand += usize::from(host.lifecycle == "on-demand");
        let zone = if host.az.is_empty() { "no zone" } else { &host.az };
        *self.zones.entry(zone.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.all == 1 { "" } else { "s" };
        let (in_service, spot, on_demand) = (self.in_service, self.spot, self.on_demand);
        write!(f, "{} instance{s}: {in_service} in service, {spot} spot, {on_demand} on demand", self.all)?;
        for (number, (zone, count)) in self.zones.iter().enumerate() {
            write!(f, "{} {zone} {count}", if number == 0 { ";" } else { "," })?;
        }
        Ok(())
    }
}

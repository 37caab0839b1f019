//! The list as a person reads it.

use crate::listing::Row;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use records::Host;
use std::collections::BTreeMap;

/// The columns, unless others are asked for.
pub(crate) const COLUMNS: [&str; 9] =
    ["asg", "instance_id", "name", "lifecycle_state", "health", "instance_state", "lifecycle", "az", "private_ip"];

/// Aligned columns and a line that sums up.
pub(crate) fn render(rows: &[Row<'_>], columns: &[&str], colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(columns.iter().map(|column| cli::printable(&column.to_uppercase())));
    let hosts: Vec<Host> = rows.iter().map(Row::host).collect();
    for host in &hosts {
        table.add_row(columns.iter().map(|column| cell(host, column, colour)));
    }
    let lines: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    format!("{lines}\n{}\n", cli::printable(&summary(&hosts)))
}

fn cell(host: &Host, column: &str, colour: bool) -> Cell {
    let text = cli::printable(&host.column(column).unwrap_or_default());
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

fn summary(hosts: &[Host]) -> String {
    let count = |is: &dyn Fn(&Host) -> bool| hosts.iter().filter(|host| is(host)).count();
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for host in hosts {
        *zones.entry(if host.az.is_empty() { "no zone" } else { &host.az }).or_default() += 1;
    }
    let zones: Vec<String> = zones.iter().map(|(zone, count)| format!("{zone} {count}")).collect();
    let s = if hosts.len() == 1 { "" } else { "s" };
    let mut line = format!(
        "{} instance{s}: {} in service, {} spot, {} on demand",
        hosts.len(),
        count(&|host| host.lifecycle_state == "InService"),
        count(&|host| host.lifecycle == "spot"),
        count(&|host| host.lifecycle == "on-demand"),
    );
    if !zones.is_empty() {
        line.push_str("; ");
        line.push_str(&zones.join(", "));
    }
    line
}

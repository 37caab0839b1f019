//! Rows as records: CSV, JSON, addresses.

use crate::address::{Addressing, Kind};
use crate::args::{Format, Shape};
use crate::listing::Row;
use crate::table;
use crate::terminal::Screen;
use failure::Failure;
use records::{COLUMNS, Host};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// Prints everything, in the shape asked for.
///
/// # Errors
/// stdout can't take it, or a value holds the NUL that was to end it.
pub(crate) fn print(rows: &[Row<'_>], shape: &Shape, mut screen: Screen) -> Result<(), Failure> {
    let columns: Vec<&str> = match (shape.format, shape.columns.is_empty()) {
        (Format::Table, true) => table::COLUMNS.to_vec(),
        (_, true) => COLUMNS.to_vec(),
        (_, false) => shape.columns.iter().map(String::as_str).collect(),
    };
    match shape.format {
        Format::Csv if shape.null => {
            screen.write(&ended(rows.iter().map(|row| cell(&row.host(), columns[0])), '\0')?)?;
        }
        Format::Csv => screen.write(&csv(rows, &columns)?)?,
        Format::Json => json(rows, &columns, &mut screen)?,
        Format::Jsonl => {
            for row in rows {
                screen.write(&format!("{}\n", object(row, &columns)))?;
            }
        }
        Format::Table => table::print(rows, &columns, &mut screen)?,
        Format::Ips => {
            let kind = shape.address.unwrap_or(Kind::Private);
            let addresses = rows.iter().filter_map(|row| Addressing::Ips(kind).of(row.instance?));
            screen.write(&ended(addresses.map(str::to_owned), if shape.null { '\0' } else { '\n' })?)?;
        }
    }
    screen.close()
}

fn cell(host: &Host, column: &str) -> String {
    host.column(column).unwrap_or_default()
}

fn csv(rows: &[Row<'_>], columns: &[&str]) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let written = records::write_hosts(&mut bytes, columns, rows.iter().map(Row::host));
    written.map_err(|error| Failure::io("unable to write hosts", error))?;
    String::from_utf8(bytes).map_err(|error| Failure::permanent(format!("unable to write hosts: {error}")))
}

fn ended(values: impl Iterator<Item = String>, end: char) -> Result<String, Failure> {
    let mut text = String::new();
    for value in values {
        if value.contains(end) {
            return Err(Failure::permanent("unable to print values ended by NUL: one of them holds a NUL"));
        }
        text.push_str(&value);
        text.push(end);
    }
    Ok(text)
}

fn json(rows: &[Row<'_>], columns: &[&str], screen: &mut Screen) -> Result<(), Failure> {
    if rows.is_empty() {
        return screen.write("[]\n");
    }
    for (number, row) in rows.iter().enumerate() {
        let before = if number == 0 { "[\n" } else { ",\n" };
        screen.write(&format!("{before}{}", object(row, columns)))?;
    }
    screen.write("\n]\n")
}

fn object(row: &Row<'_>, columns: &[&str]) -> String {
    serde_json::to_string(&Projected { host: &row.host(), columns }).expect("strings and a map of strings are JSON")
}

/// Some columns of a host, in the order asked for; `tags` is an object.
struct Projected<'a> {
    host: &'a Host,
    columns: &'a [&'a str],
}

impl Serialize for Projected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for column in self.columns {
            match *column {
                "tags" => map.serialize_entry(column, &self.host.tags)?,
                _ => map.serialize_entry(column, &cell(self.host, column))?,
            }
        }
        map.end()
    }
}

//! The line formats that pass between tools: parsed, printed, and the same after a round trip.

mod host;
mod log;

pub use host::{COLUMNS, Host, HostReader, ReadError, read_hosts, write_hosts};
pub use log::{FileId, ID_HEADER, LogId, LogIdError, PATH_HEADER};

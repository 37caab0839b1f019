//! What tools that speak to Kafka have in common: how options are typed, and what the broker complains of.

mod complaint;
mod hidden;
mod options;
mod pair;

pub use complaint::Complaint;
pub use hidden::Hidden;
pub use options::{Given, OptionsFile, all, check, file_of, option, option_name, refused, topic};
pub use pair::{Pair, pair};

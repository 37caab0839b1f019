//! What tools that speak to Kafka have in common: how options are typed, and what the broker complains of.

mod complaint;
mod options;

pub use complaint::Complaint;
pub use options::{OptionsFile, option, pair, refused, topic};

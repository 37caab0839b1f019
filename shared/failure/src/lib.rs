//! Why a run ends without being done: a message for people, and a class that decides the exit code. No command line and no
//! terminal is needed for that, so every library can say how it failed.

mod cause;
mod failure;
mod text;

pub use cause::innermost;
pub use failure::{Class, Failure, Reason};
pub use text::{is_obeyed, name_of_secret, presentable, printable};

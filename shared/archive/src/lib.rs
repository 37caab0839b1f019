//! Release archives: what may stand in one, its exact bytes, and unpacking one that nobody has to trust.

mod format;
mod ground;
mod links;
mod member;
mod unpack;

pub use format::Format;
pub use links::{LinkError, Links};
pub use member::{Kind, Member, NameError, TRAILER_LEN, member_name};
pub use unpack::{Limits, UnpackError, inspect, unpack};

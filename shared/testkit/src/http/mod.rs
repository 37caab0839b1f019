//! Just enough HTTP/1.1 for loopback tests: blocking, a thread per connection, and every byte in the open.
//! A framework would be shorter, but it normalises headers, hides resets and cannot discard a body inside the kernel,
//! which are the three things the servers here are for.

pub(crate) mod body;
pub mod client;
pub(crate) mod head;
pub(crate) mod server;
pub(crate) mod wire;

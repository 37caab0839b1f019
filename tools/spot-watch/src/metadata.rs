//! What the instance says of itself: which it is, whether it is taken back, and the time as AWS has it.

pub(crate) mod aws_clock;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod imds;
pub(crate) mod lifecycle;
pub(crate) mod notice;

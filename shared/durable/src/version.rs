//! The version of state on disk: a tool that meets a later one says so, and leaves the state as it is.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// Version `N` of a format, as a field of what is written. Without the field it was written before versions were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version<const N: u32>;

impl<const N: u32> Serialize for Version<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(N)
    }
}

impl<'de, const N: u32> Deserialize<'de> for Version<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u32::deserialize(from)? {
            found if found <= N => Ok(Self),
            later => {
                Err(D::Error::custom(format!("another version wrote it (format {later}, this one knows up to {N})")))
            }
        }
    }
}

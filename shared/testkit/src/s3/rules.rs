//! Where the model departs from AWS on purpose.

/// How a server may lie or forget. The default is AWS's behaviour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Every condition is ignored, except two that a client may send to find out whether conditions are honoured: a PutObject
    /// with `If-None-Match: *` of exactly the stored bytes, and a PutObject with an `If-Match` that no object of the
    /// bucket ever had. Both get their honest 412.
    pub ignore_conditions: bool,
    /// Every condition is ignored, those two included.
    pub ignore_all_conditions: bool,
    /// Conditions are kept on PutObject and ignored on CompleteMultipartUpload.
    pub complete_ignores_conditions: bool,
    /// PutObject and CompleteMultipartUpload are answered as successes and nothing is stored.
    pub ack_and_drop: bool,
    /// The encryption asked for is neither kept nor echoed.
    pub forget_encryption: bool,
    /// The storage class asked for is checked, then forgotten.
    pub forget_storage_class: bool,
    /// Checksums are verified, but never told.
    pub no_checksums: bool,
    /// ListMultipartUploads is not implemented (501).
    pub no_list_uploads: bool,
    /// ListMultipartUploads takes its prefix for a whole key, and lists the uploads of that key alone.
    pub uploads_by_exact_key: bool,
    /// ListParts answers 200 with a document that is none of its own.
    pub unreadable_parts: bool,
    /// GET answers with the whole object, whatever range was asked for.
    pub ignore_ranges: bool,
    /// GET of a range tells the checksum of the whole object.
    pub range_checksums: bool,
    /// Lists end with "there is more", and don't say where.
    pub endless_lists: bool,
}

/// What becomes of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All are kept, hashed and verified.
    All,
    /// Those up to this many bytes are; longer ones are counted and never looked at.
    UpTo(u64),
}

impl Keep {
    pub fn keeps(self, size: u64) -> bool {
        match self {
            Self::All => true,
            Self::UpTo(limit) => size <= limit,
        }
    }
}

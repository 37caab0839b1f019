//! What goes wrong, and when.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What can be done to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 409 ConditionalRequestConflict; the upstream is not asked.
    Conflict,
    /// 412 PreconditionFailed although nothing was checked; the upstream is not asked.
    SpuriousPrecondition,
    /// 503 SlowDown; the upstream is not asked.
    SlowDown,
    /// 200 with an InternalError in the body, as CompleteMultipartUpload may answer; the upstream is not asked.
    ErrorIn200,
    /// The same, after the upstream did what was asked.
    ErrorIn200AfterCommit,
    /// The upstream does what was asked and answers; the client's connection is closed without a word.
    LostReply,
    /// The client's connection is reset; the upstream is not asked.
    Reset,
    /// The upstream is not asked and the client is never answered.
    Stall,
    /// Bodies pass in both directions at this rate.
    Slow {
        /// Bytes in a second.
        bytes_per_second: u64,
    },
    /// One bit of the answer's body is flipped.
    CorruptBody {
        /// Which byte, from 0; a body that is shorter passes unharmed.
        offset: u64,
    },
    /// The answer's body ends here and the connection closes, whatever its Content-Length says.
    TruncateBody {
        /// How many bytes pass.
        at: u64,
    },
    /// An S3 error; the upstream is not asked.
    Status {
        /// The status, as 403.
        code: u16,
        /// The error's name, as `AccessDenied`.
        s3_code: String,
    },
}

impl Fault {
    /// An S3 error such as 403 `AccessDenied`, 400 `ExpiredToken`, 403 `RequestTimeTooSkewed` or 403 `InvalidAccessKeyId`.
    pub fn status(code: u16, s3_code: &str) -> Self {
        Self::Status { code, s3_code: s3_code.to_owned() }
    }
}

/// Says whether a request fails, and how.
pub type Judge = Box<dyn Fn(&RequestInfo) -> Option<Fault> + Send + Sync>;

/// Which requests fail, and how.
pub enum Plan {
    /// None do.
    None,
    /// Each one may, with one of the faults AWS itself may answer it with. The draw depends on the seed and the request's
    /// number alone.
    Random {
        /// The same seed gives the same draws.
        seed: u64,
        /// How many of a hundred requests fail.
        percent: u8,
    },
    /// Those with these numbers, from 1.
    At(Vec<(u64, Fault)>),
    /// Those that this says.
    Custom(Judge),
}

/// What is known of a request when its head has arrived.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// Its method.
    pub method: String,
    /// Its path as sent.
    pub path: String,
    /// Its query as sent, without the question mark.
    pub query: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl RequestInfo {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True for a query field of this name.
    pub fn has_field(&self, name: &str) -> bool {
        self.query.split('&').any(|field| field.split('=').next() == Some(name))
    }

    /// True if the request carries If-Match or If-None-Match.
    pub fn is_conditional(&self) -> bool {
        self.header("if-match").is_some() || self.header("if-none-match").is_some()
    }

    /// True for PutObject.
    pub fn is_put_object(&self) -> bool {
        self.method == "PUT" && !self.has_field("partNumber")
    }

    /// True for CreateMultipartUpload.
    pub fn is_create(&self) -> bool {
        self.method == "POST" && self.has_field("uploads")
    }

    /// True for UploadPart.
    pub fn is_upload_part(&self) -> bool {
        self.method == "PUT" && self.has_field("partNumber")
    }

    /// True for CompleteMultipartUpload.
    pub fn is_complete(&self) -> bool {
        self.method == "POST" && self.has_field("uploadId")
    }
}

/// Where in a request's life a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// The head has arrived. After the hook the connection is dropped: this request never reaches the upstream, even if the
    /// client, killed or not, had sent all of it.
    BeforeForward,
    /// The head has arrived. After the hook the request goes on: what the hook did at the upstream came first.
    Interleave,
    /// The upstream has answered; the client has not heard of it.
    AfterCommit,
    /// The client has been answered.
    AfterReply,
}

pub(crate) struct Hook {
    pub matches: Box<dyn Fn(&RequestInfo) -> bool + Send>,
    pub point: KillPoint,
    pub hook: Box<dyn FnOnce() + Send>,
}

impl Plan {
    pub(crate) fn fault(&self, info: &RequestInfo) -> Option<Fault> {
        match self {
            Self::None => None,
            Self::Random { seed, percent } => random(*seed, *percent, info),
            Self::At(faults) => {
                faults.iter().find(|(number, _)| *number == info.number).map(|(_, fault)| fault.clone())
            }
            Self::Custom(judge) => judge(info),
        }
    }
}

fn random(seed: u64, percent: u8, info: &RequestInfo) -> Option<Fault> {
    // From the number and not from a running generator: what one request meets does not depend on how others raced.
    let mut rng = StdRng::seed_from_u64(seed ^ info.number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    if rng.random_range(0..100) >= percent {
        return None;
    }
    let mut possible = vec![Fault::SlowDown, Fault::LostReply, Fault::Reset];
    if info.is_conditional() && (info.is_put_object() || info.is_complete()) {
        possible.extend([Fault::Conflict, Fault::SpuriousPrecondition]);
    }
    if info.is_complete() {
        possible.push(Fault::ErrorIn200);
    }
    Some(possible.swap_remove(rng.random_range(0..possible.len())))
}

//! Test support, never shipped: processes in a cleared environment, waiting on states, replayable randomness,
//! an S3, an Auto Scaling and an instance metadata service that follow AWS's rules, an S3 that throws bodies away, and a
//! proxy that fails on demand; a Kafka broker to kill, and a link to it that freezes, breaks and lies; a proxy in front of a
//! search server that fails on demand, a search server that throws documents away, and what stands in a real one; archives
//! that nobody honest packs.

pub mod bulk;
pub mod clock;
pub mod distance;
pub(crate) mod exchange;
pub mod fleet;
pub mod hostile;
pub mod http;
pub mod imds;
pub mod kafka;
pub mod process;
pub mod proxy;
pub mod s3;
pub mod scaling;
pub mod schema;
pub mod search;
pub mod seed;
pub mod side_by_side;
pub mod sink;
pub mod size;
pub mod spoilt;
pub mod tars;
pub mod wait;

pub use bulk::{BulkFault, BulkItem, BulkPlan, BulkProxy, BulkRequest, BulkSink, Dialect};
pub use clock::Clock;
pub use distance::Distance;
pub use fleet::{FleetCall, FleetFault, FleetGroup, FleetInstance, FleetJudge, FleetMember, FleetModel, saved_fleet};
pub use http::client::{Answer, request};
pub use imds::{ImdsCall, ImdsFault, ImdsInstance, ImdsJudge, ImdsModel, TokenSeen};
pub use kafka::{Broker, Link, LinkMode};
pub use process::{Finished, Running, Tool};
pub use proxy::{Fault, FaultProxy, KillPoint, Plan, RequestInfo, Seen};
pub use s3::{ObjectView, PartView, Rules, S3Model, UploadView};
pub use scaling::{ScalingCall, ScalingFault, ScalingGroup, ScalingJudge, ScalingModel, ScalingPolicy};
pub use schema::Schema;
pub use search::{Document, ask, documents};
pub use seed::Seed;
pub use side_by_side::side_by_side;
pub use sink::NullSink;
pub use size::figure;
pub use spoilt::comes_to_an_end;
pub use wait::{LIMIT, wait_until};

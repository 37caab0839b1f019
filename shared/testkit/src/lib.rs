//! Test support, never shipped: processes in a cleared environment, waiting on states, replayable randomness,
//! an S3 and an Auto Scaling that follow AWS's rules, an S3 that throws bodies away, and a proxy that fails on demand.

pub mod fleet;
pub mod http;
pub mod process;
pub mod proxy;
pub mod s3;
pub mod seed;
pub mod sink;
pub mod wait;

pub use fleet::{FleetCall, FleetFault, FleetGroup, FleetInstance, FleetJudge, FleetMember, FleetModel};
pub use http::client::{Answer, request};
pub use process::{Finished, Running, Tool};
pub use proxy::{Fault, FaultProxy, KillPoint, Plan, RequestInfo, Seen};
pub use s3::{ObjectView, PartView, Rules, S3Model, UploadView};
pub use seed::Seed;
pub use sink::NullSink;
pub use wait::wait_until;

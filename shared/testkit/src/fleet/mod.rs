//! EC2 and Auto Scaling as far as a list of instances needs them: pages, filters, regions, and failures on demand.
//!
//! The query protocol with its XML answers, as AWS documents it. Requests are neither authenticated nor authorised; their
//! signature names the region they are for.

mod answer;
mod query;
mod xml;

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::http::body::{Body, Framing};
use crate::http::head::RequestHead;
use crate::http::server::Server;
use crate::http::wire::Wire;
use crate::s3::reply::Reply;

use self::query::Query;

/// A running model; dropping it stops it.
pub struct FleetModel {
    shared: Arc<Shared>,
    server: Server,
}

/// An instance, as EC2 tells of it.
#[derive(Debug, Clone)]
pub struct FleetInstance {
    /// `i-…`
    pub id: String,
    /// `running`, `stopped`, …
    pub state: String,
    /// Bought on the spot market.
    pub spot: bool,
    /// Availability zone.
    pub zone: String,
    /// Empty while it has none.
    pub private_ip: String,
    /// Empty while it has none.
    pub public_ip: String,
    /// Tags, in the order in which they are told.
    pub tags: Vec<(String, String)>,
}

/// An Auto Scaling group. It may have members that EC2 does not know.
#[derive(Debug, Clone, Default)]
pub struct FleetGroup {
    /// Its name.
    pub name: String,
    /// Its members.
    pub members: Vec<FleetMember>,
    /// Tags that its instances get when they are launched.
    pub tags: Vec<(String, String)>,
}

/// An instance, as its group tells of it.
#[derive(Debug, Clone)]
pub struct FleetMember {
    /// `i-…`
    pub id: String,
    /// `InService`, `Pending`, …
    pub lifecycle_state: String,
    /// `Healthy` or `Unhealthy`
    pub health: String,
    /// Availability zone.
    pub zone: String,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetCall {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// The region it was signed for.
    pub region: String,
    /// `DescribeInstances`, …
    pub action: String,
    /// How many items it asked for at most.
    pub limit: usize,
    /// How many items come before those it asked for: 0 for the first page.
    pub skipped: usize,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetFault {
    /// An error of the service, such as 503 `RequestLimitExceeded`.
    Error {
        /// The status.
        status: u16,
        /// The error's name.
        code: String,
    },
    /// The connection is closed in the middle of the answer's body.
    Cut,
    /// The connection is closed instead of an answer.
    Close,
    /// The request is never answered.
    Hang,
    /// The page holds nothing, but more are said to follow.
    EmptyPage,
    /// The page ends with the token that it was asked with.
    SameToken,
}

impl FleetFault {
    /// An error of the service.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Error { status, code: code.to_owned() }
    }
}

/// Says whether a request fails, and how. It may also wait: every request is judged on its own thread.
pub type FleetJudge = Box<dyn Fn(&FleetCall) -> Option<FleetFault> + Send + Sync>;

#[derive(Default)]
pub(crate) struct Region {
    pub instances: Vec<FleetInstance>,
    pub groups: Vec<FleetGroup>,
}

#[derive(Default)]
struct Shared {
    regions: Mutex<BTreeMap<String, Region>>,
    page: Mutex<Option<usize>>,
    judge: Mutex<Option<Arc<FleetJudge>>>,
    calls: Mutex<Vec<FleetCall>>,
}

impl FleetModel {
    /// Starts a model without instances on a free loopback port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let server = Server::start("fleet-model", move |stream| serving.serve(stream));
        Self { shared, server }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Adds an instance that EC2 knows.
    pub fn add_instance(&self, region: &str, instance: FleetInstance) {
        held(&self.shared.regions).entry(region.to_owned()).or_default().instances.push(instance);
    }

    /// Adds a group.
    pub fn add_group(&self, region: &str, group: FleetGroup) {
        held(&self.shared.regions).entry(region.to_owned()).or_default().groups.push(group);
    }

    /// Adds a plain fleet: running instances with the tags that services have, spread over groups, half of them spot.
    pub fn fill(&self, region: &str, instances: usize, groups: usize) {
        let mut filled: Vec<FleetGroup> = (0..groups)
            .map(|number| FleetGroup { name: format!("obelix_{number}_asg"), ..FleetGroup::default() })
            .collect();
        for number in 0..instances {
            let group = &mut filled[number % groups];
            let zone = format!("{region}{}", ["a", "b", "c"][number % 3]);
            let id = format!("i-{number:017x}");
            let tags = [
                ("Name", "ob-appengine"),
                ("service", "obelix-appengine"),
                ("lifecycle", if number % 2 == 0 { "spot" } else { "ondemand" }),
                ("aws:ec2launchtemplate:id", "lt-56d927fec34c37f49"),
                ("aws:ec2launchtemplate:version", "1"),
                ("aws:autoscaling:groupName", &group.name),
            ];
            self.add_instance(
                region,
                FleetInstance {
                    id: id.clone(),
                    state: "running".to_owned(),
                    spot: number % 2 == 0,
                    zone: zone.clone(),
                    private_ip: format!("10.{}.{}.{}", number / 62_500, number / 250 % 250, number % 250 + 1),
                    public_ip: String::new(),
                    tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                },
            );
            let (lifecycle_state, health) = ("InService".to_owned(), "Healthy".to_owned());
            group.members.push(FleetMember { id, lifecycle_state, health, zone });
        }
        filled.into_iter().for_each(|group| self.add_group(region, group));
    }

    /// Lets no page hold more than this, whatever is asked for: AWS promises no full pages.
    pub fn limit_pages(&self, items: usize) {
        *held(&self.shared.page) = Some(items);
    }

    /// From the next request on, lets those fail that `judge` says.
    pub fn fail(&self, judge: FleetJudge) {
        *held(&self.shared.judge) = Some(Arc::new(judge));
    }

    /// From the next request on, lets none fail.
    pub fn recover(&self) {
        *held(&self.shared.judge) = None;
    }

    /// Every request so far, in order of arrival.
    pub fn calls(&self) -> Vec<FleetCall> {
        held(&self.shared.calls).clone()
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut wire = Wire::new(stream);
        while let Ok(Some(raw)) = wire.head() {
            let Ok(head) = RequestHead::parse(raw) else { break };
            let mut body = Body::new(&mut wire, Framing::of_request(&head));
            let Ok(query) = Query::read(&head, &mut body) else { break };
            let (call, judge) = self.arrived(&query);
            let fault = judge.and_then(|judge| judge(&call));
            let reply = match &fault {
                Some(FleetFault::Close) => break,
                Some(FleetFault::Hang) => {
                    // Until the client gives up, or this model ends.
                    while matches!(wire.skip(u64::MAX), Ok(1..)) {}
                    break;
                }
                Some(FleetFault::Error { status, code }) => {
                    xml::error(*status, code, "This answer was asked for by a test.")
                }
                _ => self.answer(&query, &call, fault.as_ref()),
            };
            if fault == Some(FleetFault::Cut) {
                drop(send_half(reply, &mut wire.stream, call.number));
                break;
            }
            if reply.send(&mut wire.stream, call.number, false, false).is_err() {
                return;
            }
        }
        drop(wire.stream.shutdown(Shutdown::Both));
    }

    fn arrived(&self, query: &Query) -> (FleetCall, Option<Arc<FleetJudge>>) {
        let mut calls = held(&self.calls);
        let call = FleetCall {
            number: calls.len() as u64 + 1,
            region: query.region.clone(),
            action: query.get("Action").unwrap_or_default().to_owned(),
            limit: query.limit(),
            skipped: query.skipped().unwrap_or_default(),
        };
        calls.push(call.clone());
        (call, held(&self.judge).clone())
    }

    fn answer(&self, query: &Query, call: &FleetCall, fault: Option<&FleetFault>) -> Reply {
        let largest = held(&self.page).unwrap_or(usize::MAX);
        let regions = held(&self.regions);
        let nothing = Region::default();
        let region = regions.get(&query.region).unwrap_or(&nothing);
        answer::answer(region, query, call, largest, fault)
    }
}

/// Sends the head and one half of the body.
fn send_half(mut reply: Reply, to: &mut TcpStream, number: u64) -> std::io::Result<()> {
    let whole: usize = reply.body.iter().map(bytes::Bytes::len).sum();
    reply.length = Some(whole as u64);
    let mut left = whole / 2;
    for chunk in &mut reply.body {
        chunk.truncate(left.min(chunk.len()));
        left -= chunk.len();
    }
    reply.send(to, number, false, false)
}

/// A judge that panics fails its own test, and must not take the model's other connections with it.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

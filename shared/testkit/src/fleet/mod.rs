//! EC2 and Auto Scaling as far as a list of instances needs them: pages, filters, regions, and failures on demand.
//!
//! The query protocol with its XML answers, as AWS documents it. Requests are neither authenticated nor authorised; their
//! signature names the region they are for.

mod answer;
pub(crate) mod query;
mod saved;
pub(crate) mod xml;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::exchange::{self, Asked, Outcome, Service, held};
use crate::http::body::Body;
use crate::http::head::RequestHead;
use crate::http::server::Server;
use crate::s3::reply::Reply;

pub use self::saved::saved_fleet;

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
    /// By instance.
    pub ipv6: BTreeMap<String, String>,
}

#[derive(Default)]
struct Shared {
    regions: Mutex<BTreeMap<String, Region>>,
    largest: Mutex<Option<usize>>,
    judge: Asked<FleetCall, Option<FleetFault>>,
    calls: Mutex<Vec<FleetCall>>,
}

impl FleetModel {
    /// Starts a model without instances on a free loopback port.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let server = exchange::start("fleet-model", &shared);
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

    /// Gives an instance an IPv6 address.
    pub fn add_ipv6(&self, region: &str, id: &str, address: &str) {
        let mut regions = held(&self.shared.regions);
        regions.entry(region.to_owned()).or_default().ipv6.insert(id.to_owned(), address.to_owned());
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
        *held(&self.shared.largest) = Some(items);
    }

    /// From the next request on, lets those fail that `judge` says.
    pub fn fail(&self, judge: FleetJudge) {
        self.shared.judge.set(judge);
    }

    /// From the next request on, lets none fail.
    pub fn recover(&self) {
        self.shared.judge.clear();
    }

    /// Every request so far, in order of arrival.
    pub fn calls(&self) -> Vec<FleetCall> {
        held(&self.shared.calls).clone()
    }
}

impl Service for Shared {
    fn answer(&self, head: &RequestHead, body: &mut Body<'_>) -> io::Result<(u64, Outcome)> {
        let query = Query::read(head, body)?;
        let call = self.arrived(&query);
        let fault = self.judge.ask(&call).flatten();
        let outcome = match &fault {
            Some(FleetFault::Close) => Outcome::Close,
            Some(FleetFault::Hang) => Outcome::Hang,
            Some(FleetFault::Error { status, code }) => Outcome::Reply(xml::asked_for(*status, code)),
            Some(FleetFault::Cut) => Outcome::Cut(self.page(&query, &call, None)),
            _ => Outcome::Reply(self.page(&query, &call, fault.as_ref())),
        };
        Ok((call.number, outcome))
    }
}

impl Shared {
    fn arrived(&self, query: &Query) -> FleetCall {
        let mut calls = held(&self.calls);
        let call = FleetCall {
            number: calls.len() as u64 + 1,
            region: query.region.clone(),
            action: query.action().to_owned(),
            limit: query.limit(),
            skipped: query.skipped().unwrap_or_default(),
        };
        calls.push(call.clone());
        call
    }

    fn page(&self, query: &Query, call: &FleetCall, fault: Option<&FleetFault>) -> Reply {
        let largest = held(&self.largest).unwrap_or(usize::MAX);
        let regions = held(&self.regions);
        let nothing = Region::default();
        let region = regions.get(&query.region).unwrap_or(&nothing);
        answer::answer(region, query, call, largest, fault)
    }
}

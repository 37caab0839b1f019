//! The hosts on stdin that Nagios is to watch, and those that are left out.

use crate::address::AddressKind;
use crate::args::ObjectArgs;
use crate::safe;
use cli::{Bounded, Console};
use failure::Failure;
use records::{Host, HostReader, ReadError};
use std::collections::{BTreeMap, HashSet};

/// Bytes of the longest list.
const LONGEST: u64 = 256 << 20;

/// Why a host is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    NotRunning,
    /// In service, and EC2 did not know it when the list was made.
    Unknown,
    Unaddressed(Standing),
}

/// Whether Auto Scaling sends a host work: then nobody would miss it in Nagios, and it must not be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    InService,
    Other,
}

/// One host, as Nagios is told of it.
pub(crate) struct Object {
    pub(crate) host_name: String,
    pub(crate) alias: String,
    pub(crate) address: String,
    pub(crate) hostgroup: Option<String>,
    asg: String,
    instance_id: String,
    /// All that is known of the host; kept only for a template, since it is most of the memory.
    pub(crate) host: Option<Box<Host>>,
}

/// The objects of all running hosts on stdin, sorted by group and instance.
///
/// # Errors
/// stdin holds no list of hosts, or names an instance twice: Nagios would refuse the whole configuration.
pub(crate) fn read(args: &ObjectArgs, console: Console) -> Result<Vec<Object>, Failure> {
    // Without these columns no host could be watched: such a list is a mistake, and no fleet without hosts.
    let needed = ["instance_id", "instance_state", args.address.column()];
    let hosts = HostReader::new(Bounded::new(std::io::stdin().lock(), LONGEST), &needed).map_err(unreadable)?;
    let mut objects = Vec::new();
    let mut seen = HashSet::new();
    let mut left_out: BTreeMap<LeftOut, Vec<String>> = BTreeMap::new();
    for host in hosts {
        let host = host.map_err(unreadable)?;
        let id = host.instance_id.clone();
        if !is_instance_id(&id) {
            return Err(Failure::permanent(format!("unable to read hosts from stdin: {id:?} is no instance id")));
        }
        if !seen.insert(id.clone()) {
            return Err(Failure::permanent(format!("unable to write hosts: {id} stands twice in the list")));
        }
        match object(host, args) {
            Ok(object) => objects.push(object),
            Err(why) => left_out.entry(why).or_default().push(id),
        }
    }
    if !args.skip_unaddressed {
        refuse(&left_out, args.address)?;
    }
    objects.sort_unstable_by(|a, b| (&a.asg, &a.instance_id).cmp(&(&b.asg, &b.instance_id)));
    console.step(format!("{} of {} hosts taken", objects.len(), seen.len()));
    for (why, ids) in left_out {
        let (count, why, ids) = (ids.len(), why.told(args.address), some(&ids));
        console.warn(format!("{count} of {} hosts left out: {why}: {ids}", seen.len()));
    }
    Ok(objects)
}

/// # Errors
/// Hosts in service would not be watched, and nobody would miss them.
fn refuse(left_out: &BTreeMap<LeftOut, Vec<String>>, kind: AddressKind) -> Result<(), Failure> {
    let of = |why: LeftOut| left_out.get(&why).map(|ids| format!("in service, but {}: {}", why.told(kind), some(ids)));
    if let Some(what) = of(LeftOut::Unaddressed(Standing::InService)) {
        let hint = "choose another address by --address, or leave them out by --skip-unaddressed";
        return Err(Failure::permanent(format!("unable to write hosts: {what}: {hint}")));
    }
    if let Some(what) = of(LeftOut::Unknown) {
        let hint = "list them again, or leave them out by --skip-unaddressed";
        return Err(Failure::temporary(format!("unable to write hosts: {what}: {hint}")));
    }
    Ok(())
}

/// Some of them, and how many more there are.
fn some(ids: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = ids.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", ids[..ids.len().min(SHOWN)].join(", "))
}

fn unreadable(error: ReadError) -> Failure {
    let what = format!("unable to read hosts from stdin: {error}");
    match error {
        // The stage before failed: this is not a fleet without hosts.
        ReadError::Empty | ReadError::Cut => {
            Failure::temporary(format!("{what}: the command before this one failed, nothing is changed"))
        }
        ReadError::Io(_) => Failure::temporary(what),
        _ => Failure::permanent(what),
    }
}

/// `i-` and letters and digits: no dash in it, so that the end of a host's name is one instance id and no other.
pub(crate) fn is_instance_id(text: &str) -> bool {
    let rest = text.strip_prefix("i-").unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl LeftOut {
    fn told(self, kind: AddressKind) -> &'static str {
        match (self, kind) {
            (Self::NotRunning, _) => "not running",
            (Self::Unknown, _) => "not known to EC2",
            (Self::Unaddressed(_), AddressKind::Private) => "no private IP address",
            (Self::Unaddressed(_), AddressKind::Public) => "no public IP address",
            (Self::Unaddressed(_), AddressKind::Ipv6) => "no IPv6 address",
            (Self::Unaddressed(_), AddressKind::PrivateDns) => "no private DNS name",
        }
    }
}

fn object(host: Host, args: &ObjectArgs) -> Result<Object, LeftOut> {
    let standing = if host.lifecycle_state == "InService" { Standing::InService } else { Standing::Other };
    match (host.instance_state.as_str(), standing) {
        ("running", _) => {}
        ("", Standing::InService) => return Err(LeftOut::Unknown),
        _ => return Err(LeftOut::NotRunning),
    }
    let address = args.address.of(&host).ok_or(LeftOut::Unaddressed(standing))?;
    // Members of a group share one Name tag; the instance id behind it tells them apart, and leads back from a host
    // to its instance.
    let shown = if host.name.trim().is_empty() { &host.asg } else { &host.name };
    let id = &host.instance_id;
    Ok(Object {
        host_name: if shown.is_empty() { id.clone() } else { format!("{}-{id}", safe::name(shown)) },
        alias: format!("{},{address},{id}", safe::words(shown)),
        address,
        hostgroup: hostgroup(&host),
        asg: host.asg.clone(),
        instance_id: id.clone(),
        host: args.template.is_some().then(|| Box::new(host)),
    })
}

/// `<service>-servers`, or `<service>-<scope>-servers`, from the tags `service` and `scope`.
fn hostgroup(host: &Host) -> Option<String> {
    let tag = |key: &str| host.tags.get(key).filter(|value| !value.is_empty()).map(|value| safe::name(value));
    let service = tag("service")?;
    Some(tag("scope").map_or_else(|| format!("{service}-servers"), |scope| format!("{service}-{scope}-servers")))
}

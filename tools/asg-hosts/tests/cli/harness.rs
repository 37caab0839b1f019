//! A small fleet in two regions, and the tool in front of it.

use testkit::{FleetGroup, FleetInstance, FleetMember, FleetModel, Tool};

/// Home of the fleet.
pub const HERE: &str = "eu-west-1";
/// Another region with a group of its own.
pub const THERE: &str = "us-east-1";

pub fn asg_hosts() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_asg-hosts"))
}

/// The tool, pointed at a model.
pub fn at(model: &FleetModel) -> Tool {
    asg_hosts().aws(model.endpoint()).env("AWS_REGION", HERE)
}

/// A running instance in a group.
pub fn instance(id: &str, asg: &str) -> FleetInstance {
    let number: u32 = id.trim_start_matches("i-").bytes().fold(0, |sum, byte| sum * 31 % 65_000 + u32::from(byte));
    FleetInstance {
        id: id.to_owned(),
        state: "running".to_owned(),
        spot: asg.contains("spot"),
        zone: format!("{HERE}a"),
        private_ip: format!("172.31.{}.{}", number / 250, number % 250 + 1),
        public_ip: String::new(),
        tags: vec![
            ("Name".to_owned(), "ob-appengine".to_owned()),
            ("service".to_owned(), "obelix".to_owned()),
            ("aws:autoscaling:groupName".to_owned(), asg.to_owned()),
        ],
    }
}

/// An instance in no group.
pub fn loner(id: &str) -> FleetInstance {
    FleetInstance { tags: Vec::new(), ..instance(id, "") }
}

pub fn member(id: &str, lifecycle_state: &str, health: &str) -> FleetMember {
    FleetMember {
        id: id.to_owned(),
        lifecycle_state: lifecycle_state.to_owned(),
        health: health.to_owned(),
        zone: format!("{HERE}a"),
    }
}

pub fn group(name: &str, members: &[FleetMember]) -> FleetGroup {
    FleetGroup { name: name.to_owned(), members: members.to_vec(), tags: Vec::new() }
}

/// Three groups in two regions: an instance that has stopped, one that EC2 does not know yet, and one in no group.
pub fn fleet() -> FleetModel {
    let model = FleetModel::start();
    let spot = [
        member("i-01", "InService", "Healthy"),
        member("i-02", "InService", "Unhealthy"),
        member("i-03", "Pending", "Healthy"),
    ];
    model.add_group(
        HERE,
        FleetGroup { tags: vec![("service".to_owned(), "obelix".to_owned())], ..group("obelix_spot", &spot) },
    );
    model.add_group(HERE, group("obelix_ondemand", &[member("i-11", "Standby", "Healthy")]));
    model.add_group(THERE, group("twilix_spot", &[member("i-21", "InService", "Healthy")]));
    // EC2 has its own order.
    model.add_instance(HERE, FleetInstance { state: "stopped".to_owned(), ..instance("i-11", "obelix_ondemand") });
    model.add_instance(HERE, instance("i-02", "obelix_spot"));
    model.add_instance(HERE, loner("i-90"));
    model.add_instance(HERE, FleetInstance { public_ip: "54.214.22.1".to_owned(), ..instance("i-01", "obelix_spot") });
    model.add_instance(THERE, FleetInstance { zone: format!("{THERE}b"), ..instance("i-21", "twilix_spot") });
    model
}

//! What AWS says, in the words of its CLI: the same types are read from saved output and kept in the cache.

use serde::{Deserialize, Serialize};

/// Everything that was asked for.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Fleet {
    /// `None`: Auto Scaling was not asked, and an instance's tag tells its group.
    pub(crate) groups: Option<Vec<Group>>,
    /// In the order of AWS's answers, each instance once.
    pub(crate) instances: Vec<Instance>,
}

/// An Auto Scaling group.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Group {
    #[serde(rename = "AutoScalingGroupName")]
    pub(crate) name: String,
    #[serde(rename = "Instances")]
    pub(crate) members: Vec<Member>,
    pub(crate) tags: Vec<GroupTag>,
}

/// An instance, as its group knows it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Member {
    pub(crate) instance_id: String,
    pub(crate) instance_type: String,
    pub(crate) availability_zone: String,
    pub(crate) lifecycle_state: String,
    pub(crate) health_status: String,
}

/// A tag of a group.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GroupTag {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Whether its instances get it too.
    pub(crate) propagate_at_launch: bool,
}

/// An instance, as EC2 knows it. What EC2 does not say is empty.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Instance {
    /// Not in AWS's answer: where it was asked for.
    pub(crate) region: String,
    pub(crate) instance_id: String,
    pub(crate) image_id: String,
    pub(crate) instance_type: String,
    pub(crate) instance_lifecycle: String,
    pub(crate) state: State,
    pub(crate) placement: Placement,
    pub(crate) private_ip_address: String,
    pub(crate) public_ip_address: String,
    pub(crate) ipv6_address: String,
    pub(crate) private_dns_name: String,
    pub(crate) public_dns_name: String,
    pub(crate) launch_time: String,
    pub(crate) subnet_id: String,
    pub(crate) vpc_id: String,
    pub(crate) key_name: String,
    pub(crate) security_groups: Vec<SecurityGroup>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) ami_launch_index: i32,
    pub(crate) architecture: String,
    pub(crate) client_token: String,
    pub(crate) ebs_optimized: bool,
    pub(crate) hibernation_options: Option<Present>,
    pub(crate) hypervisor: String,
    pub(crate) iam_instance_profile: Option<Present>,
    pub(crate) kernel_id: String,
    pub(crate) metadata_options: Option<MetadataOptions>,
    pub(crate) monitoring: Monitoring,
    /// Read only where EC2 does not give the instance's own IPv6 address.
    #[serde(skip_serializing)]
    pub(crate) network_interfaces: Vec<NetworkInterface>,
    pub(crate) platform: String,
    pub(crate) ramdisk_id: String,
    pub(crate) root_device_name: String,
    pub(crate) root_device_type: String,
    pub(crate) source_dest_check: Option<bool>,
    pub(crate) spot_instance_request_id: String,
    pub(crate) sriov_net_support: String,
    pub(crate) state_transition_reason: String,
    pub(crate) virtualization_type: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct State {
    pub(crate) code: i32,
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Placement {
    pub(crate) availability_zone: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkInterface {
    pub(crate) attachment: Attachment,
    pub(crate) ipv6_addresses: Vec<Ipv6Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Attachment {
    pub(crate) device_index: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ipv6Address {
    pub(crate) ipv6_address: String,
    pub(crate) is_primary_ipv6: bool,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SecurityGroup {
    pub(crate) group_id: String,
    pub(crate) group_name: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Monitoring {
    pub(crate) state: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MetadataOptions {
    pub(crate) http_endpoint: String,
    pub(crate) http_protocol_ipv6: String,
    pub(crate) http_put_response_hop_limit: i32,
    pub(crate) http_tokens: String,
    pub(crate) instance_metadata_tags: String,
}

/// A part of an answer of which only matters that it is there.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Present {}

impl Member {
    pub(crate) fn is_in_service(&self) -> bool {
        self.lifecycle_state == "InService"
    }
}

impl Instance {
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }

    /// `spot`, or `on-demand` where EC2 says nothing.
    pub(crate) fn lifecycle(&self) -> &str {
        if self.instance_lifecycle.is_empty() { "on-demand" } else { &self.instance_lifecycle }
    }

    /// Gives the instance the IPv6 address of its interfaces, unless EC2 has named its own: a primary one, else the first
    /// of the first interface. Of the interfaces nothing else is of use.
    pub(crate) fn take_ipv6_address(&mut self) {
        let mut interfaces = std::mem::take(&mut self.network_interfaces);
        if !self.ipv6_address.is_empty() {
            return;
        }
        interfaces.sort_by_key(|interface| interface.attachment.device_index);
        let mut addresses: Vec<Ipv6Address> =
            interfaces.into_iter().flat_map(|interface| interface.ipv6_addresses).collect();
        addresses.sort_by_key(|address| !address.is_primary_ipv6);
        self.ipv6_address = addresses.into_iter().next().map(|address| address.ipv6_address).unwrap_or_default();
    }
}

/// How much of an instance is kept: a fleet of thousands should not fill the memory with what nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// What a record shows.
    Record,
    /// What makes ec2.py's groups as well.
    Inventory,
    /// What any later question may ask for.
    Everything,
}

/// The tag by which EC2 knows an instance's Auto Scaling group.
pub(crate) const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// A time as EC2's API writes it, from any way of writing it; what is no time stays.
pub(crate) fn time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Leaves each instance once: of an instance that moved from page to page while they were read, the later word counts.
pub(crate) fn each_once(instances: &mut Vec<Instance>) {
    let mut seen = std::collections::HashSet::with_capacity(instances.len());
    let kept: Vec<bool> = instances.iter().rev().map(|instance| seen.insert(instance.instance_id.as_str())).collect();
    if kept.iter().all(|kept| *kept) {
        return;
    }
    let mut kept = kept.into_iter().rev();
    instances.retain(|_| kept.next().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_one_way() {
        for text in ["2026-11-22T20:35:14.000Z", "2026-11-22T20:35:14+00:00", "2026-11-23T02:05:14+05:30"] {
            assert_eq!(time(text), "2026-11-22T20:35:14.000Z");
        }
        assert_eq!(time("yesterday"), "yesterday");
    }

    #[test]
    fn an_ipv6_address_is_the_instances_own_or_that_of_an_interface() {
        let ipv6 = |own: &str, third: &str| {
            let interface = |index: u8, addresses: &str| {
                format!(r#"{{"Attachment":{{"DeviceIndex":{index}}},"Ipv6Addresses":[{addresses}]}}"#)
            };
            let (one, two) = (r#"{"Ipv6Address":"::1"}"#, r#"{"Ipv6Address":"::2"},{"Ipv6Address":"::3"}"#);
            let interfaces = [interface(1, one), interface(0, two), interface(2, third)].join(",");
            let text = format!(r#"{{"NetworkInterfaces":[{interfaces}],"Ipv6Address":"{own}"}}"#);
            let mut instance: Instance = serde_json::from_str(&text).unwrap();
            instance.take_ipv6_address();
            instance.ipv6_address
        };
        let primary = r#"{"Ipv6Address":"::4","IsPrimaryIpv6":true}"#;
        assert_eq!([ipv6("", ""), ipv6("", primary), ipv6("::5", primary)], ["::2", "::4", "::5"]);
    }

    #[test]
    fn the_later_word_counts() {
        let named = |id: &str, image: &str| Instance {
            instance_id: id.to_owned(),
            image_id: image.to_owned(),
            ..Instance::default()
        };
        let mut instances = vec![named("i-1", "old"), named("i-2", "a"), named("i-1", "new")];
        each_once(&mut instances);
        let left: Vec<&str> = instances.iter().map(|instance| instance.image_id.as_str()).collect();
        assert_eq!(left, ["a", "new"]);
    }
}

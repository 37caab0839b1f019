//! A host's variables, by the names and with the values that ec2.py gave them.

use crate::fleet::Instance;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::BTreeMap;

/// The variables of one host.
pub(crate) type HostVars = BTreeMap<String, Value>;

/// A variable's value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i32),
    Flag(bool),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Ansible takes what an inventory says for templates, and would run them. This tells it not to.
            Self::Text(text) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("__ansible_unsafe", text)?;
                map.end()
            }
            Self::Number(number) => serializer.serialize_i32(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

/// Everything outside ASCII letters, digits and the underscore becomes an underscore, one for one.
pub(crate) fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// The variables in common use. Ansible's time grows with every one of them.
pub(crate) fn lean(one: &Instance) -> HostVars {
    let mut vars = HostVars::new();
    let mut put = |name: &str, text: &str| vars.insert(name.to_owned(), Value::Text(text.trim().to_owned()));
    put("ec2_id", &one.instance_id);
    put("ec2_instance_type", &one.instance_type);
    put("ec2_ip_address", &one.public_ip_address);
    put("ec2_placement", &one.placement.availability_zone);
    put("ec2_private_dns_name", &one.private_dns_name);
    put("ec2_private_ip_address", &one.private_ip_address);
    put("ec2_public_dns_name", &one.public_dns_name);
    put("ec2_region", &one.region);
    put("ec2_state", &one.state.name);
    for tag in &one.tags {
        vars.insert(format!("ec2_tag_{}", safe(&tag.key)), Value::Text(tag.value.clone()));
    }
    vars
}

/// All of ec2.py's variables. Many are there only because its library flattened EC2's XML; some are always empty.
pub(crate) fn full(one: &Instance) -> HostVars {
    let mut vars = lean(one);
    let mut put = |name: &str, text: &str| vars.insert(format!("ec2_{name}"), Value::Text(text.trim().to_owned()));
    for always_empty in
        ["eventsSet", "group_name", "item", "metadataOptions", "monitoring", "previous_state", "requester_id"]
    {
        put(always_empty, "");
    }
    put("ami_launch_index", &one.ami_launch_index.to_string());
    put("architecture", &one.architecture);
    put("client_token", &one.client_token);
    put("dns_name", &one.public_dns_name);
    put("hypervisor", &one.hypervisor);
    put("image_id", &one.image_id);
    put("kernel", &one.kernel_id);
    put("key_name", &one.key_name);
    put("launch_time", &one.launch_time);
    put("monitoring_state", &one.monitoring.state);
    put("platform", &one.platform);
    put("ramdisk", &one.ramdisk_id);
    put("reason", &one.state_transition_reason);
    put("root_device_name", &one.root_device_name);
    put("root_device_type", &one.root_device_type);
    put("spot_instance_request_id", &one.spot_instance_request_id);
    put("subnet_id", &one.subnet_id);
    put("virtualization_type", &one.virtualization_type);
    put("vpc_id", &one.vpc_id);
    let of_groups = |text: fn(&crate::fleet::SecurityGroup) -> &str| {
        one.security_groups.iter().map(text).collect::<Vec<_>>().join(",")
    };
    put("security_group_ids", &of_groups(|group| &group.group_id));
    put("security_group_names", &of_groups(|group| &group.group_name));
    // There only where EC2 says something.
    if one.hibernation_options.is_some() {
        put("hibernationOptions", "");
    }
    if one.iam_instance_profile.is_none() {
        put("instance_profile", "");
    }
    if !one.instance_lifecycle.is_empty() {
        put("instanceLifecycle", &one.instance_lifecycle);
    }
    if let Some(options) = &one.metadata_options {
        put("httpEndpoint", &options.http_endpoint);
        put("httpProtocolIpv6", &options.http_protocol_ipv6);
        put("httpPutResponseHopLimit", &options.http_put_response_hop_limit.to_string());
        put("httpTokens", &options.http_tokens);
        put("instanceMetadataTags", &options.instance_metadata_tags);
    }
    if let Some(check) = one.source_dest_check {
        put("sourceDestCheck", if check { "true" } else { "false" });
    }
    if !one.sriov_net_support.is_empty() {
        put("sriovNetSupport", &one.sriov_net_support);
    }
    let flags = [
        ("ec2__in_monitoring_element", false),
        ("ec2_ebs_optimized", one.ebs_optimized),
        ("ec2_monitored", one.monitoring.state == "enabled"),
        ("ec2_persistent", false),
    ];
    vars.extend(flags.map(|(name, flag)| (name.to_owned(), Value::Flag(flag))));
    let numbers = [("ec2_previous_state_code", 0), ("ec2_state_code", one.state.code)];
    vars.extend(numbers.map(|(name, number)| (name.to_owned(), Value::Number(number))));
    vars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_by_ec2_py() {
        assert_eq!(safe("Zürich – db #1 (主)"), "Z_rich___db__1____");
        assert_eq!(safe("🚀 go"), "__go");
    }
}

//! EC2's instances, page by page.

use crate::fleet::{
    Attachment, Detail, Instance, Ipv6Address, MetadataOptions, Monitoring, NetworkInterface, Placement, Present,
    SecurityGroup, State, Tag, time,
};
use aws_sdk_ec2::{Client, types};
use cli::Console;
use failure::Failure;

/// Most instances on a page.
const PAGE: i32 = 1000;

/// The instances of a region, or those that pass the filter.
///
/// # Errors
/// A request fails.
pub(super) async fn describe(
    client: &Client,
    region: &str,
    filter: Option<types::Filter>,
    detail: Detail,
    console: Console,
) -> Result<Vec<Instance>, Failure> {
    let what = || format!("unable to list the instances of {region}");
    let filters = filter.map(|filter| vec![filter]);
    let (mut instances, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let request = client.describe_instances().max_results(PAGE);
        let request = request.set_filters(filters.clone()).set_next_token(token.clone());
        let answer = request.send().await.map_err(|error| aws::failure(what(), error))?;
        pages += 1;
        for reservation in answer.reservations.unwrap_or_default() {
            instances
                .extend(reservation.instances.unwrap_or_default().into_iter().map(|one| convert(one, region, detail)));
        }
        token = super::next(answer.next_token, token.as_deref(), what)?;
        if token.is_none() {
            break;
        }
    }
    console.step(format!("{region}: {} instances, {pages} requests", instances.len()));
    Ok(instances)
}

fn convert(one: types::Instance, region: &str, detail: Detail) -> Instance {
    let tags = one.tags.unwrap_or_default().into_iter();
    let tags = tags.map(|tag| Tag { key: tag.key.unwrap_or_default(), value: tag.value.unwrap_or_default() });
    let mut instance = Instance {
        region: region.to_owned(),
        instance_id: one.instance_id.unwrap_or_default(),
        image_id: one.image_id.unwrap_or_default(),
        instance_type: text(one.instance_type, |value| value.as_str()),
        instance_lifecycle: text(one.instance_lifecycle, |value| value.as_str()),
        state: one.state.map_or_else(State::default, |state| State {
            code: state.code.unwrap_or_default(),
            name: text(state.name, |value| value.as_str()),
        }),
        placement: Placement {
            availability_zone: one.placement.and_then(|place| place.availability_zone).unwrap_or_default(),
        },
        private_ip_address: one.private_ip_address.unwrap_or_default(),
        public_ip_address: one.public_ip_address.unwrap_or_default(),
        ipv6_address: one.ipv6_address.unwrap_or_default(),
        network_interfaces: one.network_interfaces.unwrap_or_default().into_iter().map(network_interface).collect(),
        private_dns_name: one.private_dns_name.unwrap_or_default(),
        launch_time: one.launch_time.map_or_else(String::new, |at| time(&at.to_string())),
        tags: tags.collect(),
        ..Instance::default()
    };
    instance.take_ipv6_address();
    if detail >= Detail::Inventory {
        let security_groups = one.security_groups.unwrap_or_default().into_iter().map(|group| SecurityGroup {
            group_id: group.group_id.unwrap_or_default(),
            group_name: group.group_name.unwrap_or_default(),
        });
        instance = Instance {
            public_dns_name: one.public_dns_name.unwrap_or_default(),
            subnet_id: one.subnet_id.unwrap_or_default(),
            vpc_id: one.vpc_id.unwrap_or_default(),
            key_name: one.key_name.unwrap_or_default(),
            security_groups: security_groups.collect(),
            ..instance
        };
    }
    if detail >= Detail::Everything {
        instance = Instance {
            ami_launch_index: one.ami_launch_index.unwrap_or_default(),
            architecture: text(one.architecture, |value| value.as_str()),
            client_token: one.client_token.unwrap_or_default(),
            ebs_optimized: one.ebs_optimized.unwrap_or_default(),
            hibernation_options: one.hibernation_options.map(|_| Present {}),
            hypervisor: text(one.hypervisor, |value| value.as_str()),
            iam_instance_profile: one.iam_instance_profile.map(|_| Present {}),
            kernel_id: one.kernel_id.unwrap_or_default(),
            metadata_options: one.metadata_options.map(metadata_options),
            monitoring: Monitoring {
                state: text(one.monitoring.and_then(|monitoring| monitoring.state), |value| value.as_str()),
            },
            platform: text(one.platform, |value| value.as_str()),
            ramdisk_id: one.ramdisk_id.unwrap_or_default(),
            root_device_name: one.root_device_name.unwrap_or_default(),
            root_device_type: text(one.root_device_type, |value| value.as_str()),
            source_dest_check: one.source_dest_check,
            spot_instance_request_id: one.spot_instance_request_id.unwrap_or_default(),
            sriov_net_support: one.sriov_net_support.unwrap_or_default(),
            state_transition_reason: one.state_transition_reason.unwrap_or_default(),
            virtualization_type: text(one.virtualization_type, |value| value.as_str()),
            ..instance
        };
    }
    instance
}

fn network_interface(interface: types::InstanceNetworkInterface) -> NetworkInterface {
    let addresses = interface.ipv6_addresses.unwrap_or_default().into_iter().map(|address| Ipv6Address {
        ipv6_address: address.ipv6_address.unwrap_or_default(),
        is_primary_ipv6: address.is_primary_ipv6.unwrap_or_default(),
    });
    NetworkInterface {
        attachment: Attachment {
            device_index: interface.attachment.and_then(|attachment| attachment.device_index).unwrap_or_default(),
        },
        ipv6_addresses: addresses.collect(),
    }
}

fn metadata_options(options: types::InstanceMetadataOptionsResponse) -> MetadataOptions {
    MetadataOptions {
        http_endpoint: text(options.http_endpoint, |value| value.as_str()),
        http_protocol_ipv6: text(options.http_protocol_ipv6, |value| value.as_str()),
        http_put_response_hop_limit: options.http_put_response_hop_limit.unwrap_or_default(),
        http_tokens: text(options.http_tokens, |value| value.as_str()),
        instance_metadata_tags: text(options.instance_metadata_tags, |value| value.as_str()),
    }
}

fn text<T>(value: Option<T>, word: impl Fn(&T) -> &str) -> String {
    value.map_or_else(String::new, |value| word(&value).to_owned())
}

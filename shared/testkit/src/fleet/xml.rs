//! The answers' XML. An instance has all the parts that make real answers long.

use std::collections::BTreeMap;

use quick_xml::escape::escape;

use super::{FleetGroup, FleetInstance};
use crate::s3::reply::Reply;

/// An error; its parts have the same names in both services.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    let (code, message) = (text(code), text(message));
    Reply::new(status).xml(&format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
         <Error><Code>{code}</Code><Message>{message}</Message></Error><RequestID>testkit</RequestID></Response>"
    ))
}

/// An error that nothing but a test is the cause of.
pub(crate) fn asked_for(status: u16, code: &str) -> Reply {
    error(status, code, "This answer was asked for by a test.")
}

/// What Auto Scaling says when an action is done.
pub(crate) fn scaling(action: &str, result: &str) -> Reply {
    Reply::new(200).xml(&format!(
        "<{action}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><{action}Result>{result}\
         </{action}Result><ResponseMetadata><RequestId>testkit</RequestId></ResponseMetadata></{action}Response>"
    ))
}

pub(crate) fn instances(page: &[&FleetInstance], ipv6: &BTreeMap<String, String>, token: Option<&str>) -> Reply {
    let mut xml = "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                   <requestId>testkit</requestId><reservationSet>"
        .to_owned();
    page.iter().for_each(|one| instance(&mut xml, one, ipv6.get(&one.id)));
    xml.push_str("</reservationSet>");
    if let Some(token) = token {
        xml.push_str(&format!("<nextToken>{}</nextToken>", text(token)));
    }
    xml.push_str("</DescribeInstancesResponse>");
    Reply::new(200).xml(&xml)
}

fn instance(xml: &mut String, one: &FleetInstance, ipv6: Option<&String>) {
    let code = match one.state.as_str() {
        "pending" => 0,
        "running" => 16,
        "shutting-down" => 32,
        "terminated" => 48,
        "stopping" => 64,
        _ => 80,
    };
    let (id, state, zone, ip) = (text(&one.id), text(&one.state), text(&one.zone), text(&one.private_ip));
    let digits = one.id.trim_start_matches("i-");
    let dns = format!("ip-{}.ec2.internal", ip.replace('.', "-"));
    xml.push_str(&format!(
        "<item><reservationId>r-{digits}</reservationId><ownerId>123456789012</ownerId><groupSet/><instancesSet><item>\
         <instanceId>{id}</instanceId><imageId>ami-0009ed347ddbe2509</imageId>\
         <instanceState><code>{code}</code><name>{state}</name></instanceState>\
         <privateDnsName>{dns}</privateDnsName><dnsName/><reason/><keyName>obelix-deploy</keyName>\
         <amiLaunchIndex>0</amiLaunchIndex><productCodes/><instanceType>m4.large</instanceType>\
         <launchTime>2026-11-22T20:35:14.000Z</launchTime>\
         <placement><availabilityZone>{zone}</availabilityZone><groupName/><tenancy>default</tenancy></placement>\
         <monitoring><state>disabled</state></monitoring><subnetId>subnet-24dae700f3105360d</subnetId>\
         <vpcId>vpc-f32b5478c05e0796b</vpcId>"
    ));
    if !one.private_ip.is_empty() {
        xml.push_str(&format!("<privateIpAddress>{ip}</privateIpAddress>"));
    }
    if !one.public_ip.is_empty() {
        xml.push_str(&format!("<ipAddress>{}</ipAddress>", text(&one.public_ip)));
    }
    let ipv6 = ipv6.map(|address| text(address));
    if let Some(address) = &ipv6 {
        xml.push_str(&format!("<ipv6Address>{address}</ipv6Address>"));
    }
    let ipv6 = ipv6.map_or_else(String::new, |address| {
        format!("<item><ipv6Address>{address}</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item>")
    });
    let security =
        "<groupSet><item><groupId>sg-a684f1b86676cb79f</groupId><groupName>obelix-sg</groupName></item></groupSet>";
    xml.push_str(&format!(
        "<sourceDestCheck>true</sourceDestCheck>{security}<architecture>x86_64</architecture>\
         <rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping><item>\
         <deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-{digits}</volumeId><status>attached</status>\
         <attachTime>2026-11-22T20:35:15.000Z</attachTime><deleteOnTermination>true</deleteOnTermination></ebs></item>\
         </blockDeviceMapping><virtualizationType>hvm</virtualizationType><clientToken>{digits}</clientToken><tagSet>"
    ));
    for (key, value) in &one.tags {
        xml.push_str(&format!("<item><key>{}</key><value>{}</value></item>", text(key), text(value)));
    }
    xml.push_str(&format!(
        "</tagSet><hypervisor>xen</hypervisor><networkInterfaceSet><item><networkInterfaceId>eni-{digits}\
         </networkInterfaceId><subnetId>subnet-24dae700f3105360d</subnetId><vpcId>vpc-f32b5478c05e0796b</vpcId>\
         <description/><ownerId>123456789012</ownerId><status>in-use</status><macAddress>02:00:00:c1:fb:0f</macAddress>\
         <privateIpAddress>{ip}</privateIpAddress><privateDnsName>{dns}</privateDnsName>\
         <sourceDestCheck>true</sourceDestCheck>{security}<attachment><attachmentId>eni-attach-{digits}</attachmentId>\
         <deviceIndex>0</deviceIndex><status>attached</status><attachTime>2026-11-22T20:35:14.000Z</attachTime>\
         <deleteOnTermination>true</deleteOnTermination><networkCardIndex>0</networkCardIndex></attachment>\
         <privateIpAddressesSet><item><privateIpAddress>{ip}</privateIpAddress><privateDnsName>{dns}</privateDnsName>\
         <primary>true</primary></item></privateIpAddressesSet><ipv6AddressesSet>{ipv6}</ipv6AddressesSet><interfaceType>interface\
         </interfaceType></item></networkInterfaceSet><ebsOptimized>false</ebsOptimized><enaSupport>true</enaSupport>\
         <cpuOptions><coreCount>1</coreCount><threadsPerCore>2</threadsPerCore></cpuOptions>\
         <capacityReservationSpecification><capacityReservationPreference>open</capacityReservationPreference>\
         </capacityReservationSpecification><hibernationOptions><configured>false</configured></hibernationOptions>\
         <enclaveOptions><enabled>false</enabled></enclaveOptions><metadataOptions><state>applied</state>\
         <httpTokens>required</httpTokens><httpPutResponseHopLimit>1</httpPutResponseHopLimit><httpEndpoint>enabled\
         </httpEndpoint><httpProtocolIpv6>disabled</httpProtocolIpv6><instanceMetadataTags>disabled\
         </instanceMetadataTags></metadataOptions>"
    ));
    if one.spot {
        xml.push_str("<instanceLifecycle>spot</instanceLifecycle>");
        xml.push_str(&format!("<spotInstanceRequestId>sir-{digits}</spotInstanceRequestId>"));
    }
    xml.push_str("</item></instancesSet></item>");
}

pub(crate) fn groups(page: &[&FleetGroup], token: Option<&str>) -> Reply {
    scaling("DescribeAutoScalingGroups", &list("AutoScalingGroups", page, token, |xml, one| group(xml, one)))
}

/// One page of Auto Scaling's list of this name.
pub(crate) fn list<T>(name: &str, page: &[T], token: Option<&str>, show: impl Fn(&mut String, &T)) -> String {
    let mut xml = format!("<{name}>");
    page.iter().for_each(|one| show(&mut xml, one));
    xml.push_str(&format!("</{name}>"));
    if let Some(token) = token {
        xml.push_str(&format!("<NextToken>{}</NextToken>", text(token)));
    }
    xml
}

fn group(xml: &mut String, one: &FleetGroup) {
    let (name, size) = (text(&one.name), one.members.len());
    xml.push_str(&format!(
        "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>{size}</MaxSize>\
         <DesiredCapacity>{size}</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>\
         <HealthCheckType>EC2</HealthCheckType><CreatedTime>2026-11-22T20:35:14.000Z</CreatedTime><Instances>"
    ));
    for member in &one.members {
        xml.push_str("<member>");
        group_instance(xml, &member.id, &member.zone, &member.lifecycle_state, &member.health);
        xml.push_str("</member>");
    }
    xml.push_str("</Instances>");
    group_tags(xml, &one.name, &one.tags);
    xml.push_str("</member>");
}

/// An instance, as its group tells of it.
pub(crate) fn group_instance(xml: &mut String, id: &str, zone: &str, state: &str, health: &str) {
    xml.push_str(&format!(
        "<InstanceId>{}</InstanceId><InstanceType>m4.large</InstanceType><AvailabilityZone>{}</AvailabilityZone>\
         <LifecycleState>{}</LifecycleState><HealthStatus>{}</HealthStatus>\
         <ProtectedFromScaleIn>false</ProtectedFromScaleIn>",
        text(id),
        text(zone),
        text(state),
        text(health)
    ));
}

/// The tags of a group.
pub(crate) fn group_tags(xml: &mut String, group: &str, tags: &[(String, String)]) {
    xml.push_str("<Tags>");
    for (key, value) in tags {
        xml.push_str(&format!(
            "<member><ResourceId>{}</ResourceId><ResourceType>auto-scaling-group</ResourceType><Key>{}</Key>\
             <Value>{}</Value><PropagateAtLaunch>true</PropagateAtLaunch></member>",
            text(group),
            text(key),
            text(value)
        ));
    }
    xml.push_str("</Tags>");
}

/// A bare carriage return would reach the reader as a newline.
pub(crate) fn text(text: &str) -> String {
    escape(text).replace('\r', "&#xD;")
}

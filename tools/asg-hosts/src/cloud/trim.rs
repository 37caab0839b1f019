//! EC2's answers without the parts that no list shows. Most of an answer is network interfaces, disks and options, and most
//! of a run's time would go into parsing them.

use crate::fleet::Detail;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use memchr::{memchr, memmem};

/// The way to EC2 on which answers lose what `detail` has no use for.
pub(super) fn trimmed(inner: SharedHttpClient, detail: Detail) -> SharedHttpClient {
    SharedHttpClient::new(Trimmed { inner, detail })
}

#[derive(Debug)]
struct Trimmed<C> {
    inner: C,
    detail: Detail,
}

impl HttpClient for Trimmed<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Trimmed { inner, detail: self.detail })
    }
}

impl HttpConnector for Trimmed<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, detail) = (self.inner.call(request), self.detail);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let body = ByteStream::new(answer.take_body()).collect().await;
            let body = body.map_err(|error| ConnectorError::io(error.into()))?.into_bytes();
            answer.headers_mut().remove("content-length");
            *answer.body_mut() = SdkBody::from(trim(&body, detail));
            Ok(answer)
        })
    }
}

/// Most of all bytes, and of use only where they hold an IPv6 address.
const INTERFACES: &[u8] = b"networkInterfaceSet";

/// Leaves out elements by their names. In text `<` is always escaped, so a tag is what looks like one.
fn trim(xml: &[u8], detail: Detail) -> Vec<u8> {
    let mut kept = Vec::with_capacity(xml.len());
    let (mut from, mut at) = (0, 0);
    while let Some(start) = memchr(b'<', &xml[at..]).map(|next| at + next) {
        let Some(end) = memchr(b'>', &xml[start..]).map(|next| start + next) else { break };
        let name = &xml[start + 1..end];
        at = end + 1;
        if is_wanted(name, detail) {
            continue;
        }
        let close = [b"</", name, b">"].concat();
        let Some(length) = memmem::find(&xml[at..], &close) else { break };
        if name == INTERFACES && memmem::find(&xml[at..at + length], b"<ipv6Address>").is_some() {
            at += length + close.len();
            continue;
        }
        kept.extend_from_slice(&xml[from..start]);
        at += length + close.len();
        from = at;
    }
    kept.extend_from_slice(&xml[from..]);
    kept
}

fn is_wanted(name: &[u8], detail: Detail) -> bool {
    match name {
        INTERFACES
        | b"blockDeviceMapping"
        | b"productCodes"
        | b"stateReason"
        | b"enaSupport"
        | b"cpuOptions"
        | b"capacityReservationSpecification"
        | b"enclaveOptions"
        | b"maintenanceOptions"
        | b"networkPerformanceOptions"
        | b"operator"
        | b"privateDnsNameOptions"
        | b"licenseSet"
        | b"platformDetails"
        | b"usageOperation"
        | b"usageOperationUpdateTime"
        | b"bootMode"
        | b"currentInstanceBootMode" => false,
        b"amiLaunchIndex"
        | b"architecture"
        | b"clientToken"
        | b"ebsOptimized"
        | b"hibernationOptions"
        | b"hypervisor"
        | b"iamInstanceProfile"
        | b"kernelId"
        | b"metadataOptions"
        | b"monitoring"
        | b"platform"
        | b"ramdiskId"
        | b"reason"
        | b"rootDeviceName"
        | b"rootDeviceType"
        | b"sourceDestCheck"
        | b"spotInstanceRequestId"
        | b"sriovNetSupport"
        | b"virtualizationType" => detail >= Detail::Everything,
        b"dnsName" | b"groupSet" | b"keyName" | b"subnetId" | b"vpcId" => detail >= Detail::Inventory,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "<a x=\"y\"><groupSet/><instanceId>i-1</instanceId><networkInterfaceSet>\n<item><groupSet>\
        <item/></groupSet><vpcId>v</vpcId></item></networkInterfaceSet><reason/><reason>User > initiated</reason>\
        <vpcId>v</vpcId><tagSet><item><value>&lt;vpcId&gt;</value></item></tagSet></a>";

    fn trimmed(detail: Detail) -> String {
        String::from_utf8(trim(ANSWER.as_bytes(), detail)).unwrap()
    }

    #[test]
    fn elements_go_by_their_names() {
        let everything = ANSWER.replace(
            "<networkInterfaceSet>\n<item><groupSet><item/></groupSet><vpcId>v</vpcId></item></networkInterfaceSet>",
            "",
        );
        assert_eq!(trimmed(Detail::Everything), everything);
        let inventory = everything.replace("<reason>User > initiated</reason>", "");
        assert_eq!(trimmed(Detail::Inventory), inventory);
        assert_eq!(trimmed(Detail::Record), inventory.replace("<vpcId>v</vpcId>", ""));
    }

    #[test]
    fn interfaces_with_an_ipv6_address_stay_as_they_are() {
        let interfaces = "<networkInterfaceSet><item><vpcId>v</vpcId><ipv6AddressesSet><item><ipv6Address>::1</ipv6Address>\
            </item></ipv6AddressesSet></item></networkInterfaceSet>";
        let answer = format!("{interfaces}<vpcId>v</vpcId>{interfaces}");
        let kept = String::from_utf8(trim(answer.as_bytes(), Detail::Record)).unwrap();
        assert_eq!(kept, [interfaces, interfaces].concat());
    }

    #[test]
    fn what_is_cut_off_or_no_xml_stays() {
        for text in ["", "<", "no xml", "<vpcId>v", "<vpcId>v</vpcI", "<vpcId"] {
            assert_eq!(trim(text.as_bytes(), Detail::Record), text.as_bytes());
        }
    }
}

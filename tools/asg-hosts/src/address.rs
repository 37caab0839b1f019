//! The address by which a host is reached.

use crate::fleet::Instance;
use clap::ValueEnum;
use std::net::IpAddr;

/// Which of an instance's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Private IPv4 address; in an inventory, the public DNS name of an instance outside of a VPC
    Private,
    /// Public IPv4 address
    Public,
    /// IPv6 address
    Ipv6,
    /// DNS name inside the VPC
    PrivateDns,
}

/// What is printed of hosts, when nothing is but addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    Ips(Kind),
    Inventory(Kind),
}

impl Kind {
    /// For messages: `without …`.
    pub(crate) fn lacking(self) -> &'static str {
        match self {
            Self::Private => "without a private address",
            Self::Public => "without a public address",
            Self::Ipv6 => "without an IPv6 address",
            Self::PrivateDns => "without a private DNS name",
        }
    }

    fn of(self, instance: &Instance) -> &str {
        match self {
            Self::Private => &instance.private_ip_address,
            Self::Public => &instance.public_ip_address,
            Self::Ipv6 => &instance.ipv6_address,
            Self::PrivateDns => &instance.private_dns_name,
        }
    }
}

impl Addressing {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Ips(kind) | Self::Inventory(kind) => kind,
        }
    }

    /// The address of an instance; `None` if it has none.
    pub(crate) fn of(self, instance: &Instance) -> Option<&str> {
        let address = match self {
            // As ec2.py: nothing leads to a private address outside of a VPC.
            Self::Inventory(Kind::Private) if instance.subnet_id.is_empty() => &instance.public_dns_name,
            Self::Inventory(kind) | Self::Ips(kind) => kind.of(instance),
        };
        match self {
            // Read by programs that have nothing but the text.
            Self::Ips(Kind::PrivateDns) => is_address(address).then_some(address),
            Self::Ips(_) => address.parse::<IpAddr>().is_ok().then_some(address),
            Self::Inventory(_) => (!address.is_empty()).then_some(address),
        }
    }
}

/// Whether this is an IP address or a host name, and nothing that Ansible, ssh or a shell takes for something else.
pub(crate) fn is_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let is_name = || text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain);
    text.parse::<IpAddr>().is_ok() || is_name()
}

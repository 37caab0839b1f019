//! The address that Nagios is told of a host: which of them, and whether it is one.

use crate::safe;
use clap::ValueEnum;
use records::Host;
use std::net::IpAddr;

/// Where Nagios reaches a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AddressKind {
    /// `private_ip`
    Private,
    /// `public_ip`
    Public,
    /// `ipv6`
    Ipv6,
    /// `private_dns`
    PrivateDns,
}

impl AddressKind {
    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Private => "private_ip",
            Self::Public => "public_ip",
            Self::Ipv6 => "ipv6",
            Self::PrivateDns => "private_dns",
        }
    }

    /// The address of a host, if it is one: it reaches the command lines of checks.
    pub(crate) fn of(self, host: &Host) -> Option<String> {
        let text = match self {
            Self::Private => &host.private_ip,
            Self::Public => &host.public_ip,
            Self::Ipv6 => &host.ipv6,
            Self::PrivateDns => {
                let name = &host.private_dns;
                let plain = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && safe::name(name) == *name;
                return plain.then(|| name.clone());
            }
        };
        text.parse::<IpAddr>().ok().map(|address| address.to_string())
    }
}

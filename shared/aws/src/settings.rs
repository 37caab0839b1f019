//! Settings that no retry fixes, checked before anything is asked: the AWS configuration files, the profile, certificates
//! and endpoints. Each is an error that names the setting, where it stands, and what to do.

use aws_config::profile::{Profile, ProfileSet};
use aws_types::os_shim_internal::{Env, Fs};
use failure::{Failure, innermost};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;

/// Bytes of the largest bundle of certificates that is read.
const LONGEST: u64 = 16 << 20;
/// What the environment says about the endpoints of services that are asked.
const ENDPOINTS: [&str; 7] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_AUTO_SCALING",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
];

/// What is set in the environment and in the AWS configuration files, as far as the SDK does not look at it itself.
pub(crate) struct Settings {
    set: ProfileSet,
    profile: String,
}

impl Settings {
    /// Reads them; `named` is the profile of the command line.
    ///
    /// # Errors
    /// The files can't be read, or have no such profile, or an endpoint is no URL.
    pub(crate) async fn read(named: Option<&str>) -> Result<Self, Failure> {
        for name in ENDPOINTS {
            if let Some(value) = std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
                && !is_url(&value)
            {
                return Err(wrong_endpoint(name, &value));
            }
        }
        let chosen = named.map(|name| name.to_owned().into());
        let set = aws_config::profile::load(&Fs::real(), &Env::real(), &Default::default(), chosen).await;
        let set = set.map_err(|error| {
            // It names the file, the line and what is wrong there.
            Failure::permanent(format!("unable to read the AWS configuration: {}", innermost(&error)))
        })?;
        let profile = named.map_or_else(|| set.selected_profile().to_owned(), str::to_owned);
        let settings = Self { set, profile };
        if let (None, None, Ok(asked)) = (named, settings.own(), std::env::var("AWS_PROFILE"))
            && !asked.is_empty()
        {
            return Err(Failure::permanent(format!(
                "AWS_PROFILE names the profile {asked}, which is in none of the AWS configuration files: unset it, or run aws configure --profile {asked}"
            )));
        }
        if let Some(url) = settings.get("endpoint_url").filter(|url| !is_url(url)) {
            let of = format!("endpoint_url of the profile {}", settings.profile);
            return Err(wrong_endpoint(&of, url));
        }
        Ok(settings)
    }

    fn own(&self) -> Option<&Profile> {
        self.set.get_profile(&self.profile)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.own()?.get(name)
    }

    /// The certificates that are trusted instead of the system's.
    ///
    /// # Errors
    /// The file can't be read, or has no certificate.
    pub(crate) fn bundle(&self) -> Result<Option<Vec<u8>>, Failure> {
        let (path, set_by) = match (std::env::var("AWS_CA_BUNDLE"), self.get("ca_bundle")) {
            (Ok(path), _) if !path.is_empty() => (path, "AWS_CA_BUNDLE".to_owned()),
            (_, Some(path)) => (path.to_owned(), format!("ca_bundle of the profile {}", self.profile)),
            _ => return Ok(None),
        };
        let unable = || format!("unable to read {path}, which {set_by} names");
        let mut pem = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut pem));
        read.map_err(|error| Failure::io(unable(), error))?;
        // One that is no certificate must not be left out in silence.
        let (mut trusted, mut number) = (RootCertStore::empty(), 0);
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            number += 1;
            let wrong =
                |error: &dyn Display| Failure::permanent(format!("{}: certificate {number}: {error}", unable()));
            let certificate = certificate.map_err(|error| wrong(&error))?;
            trusted.add(certificate).map_err(|error| wrong(&error))?;
        }
        match number {
            0 => Err(Failure::permanent(format!("{}: no certificate in it, in PEM", unable()))),
            _ => Ok(Some(pem)),
        }
    }

    /// Whether buckets are part of the path, where the profile says so: `addressing_style` below `s3`.
    pub(crate) fn path_style(&self) -> Option<bool> {
        let lines = self.get("s3")?.lines();
        let mut settings = lines.filter_map(|line| line.split_once('='));
        match settings.find(|(name, _)| name.trim() == "addressing_style")?.1.trim() {
            "path" => Some(true),
            "virtual" => Some(false),
            _ => None,
        }
    }
}

/// Whether requests can be sent there: a path follows.
pub(crate) fn is_url(text: &str) -> bool {
    let whole = |url: url::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    url::Url::parse(text).is_ok_and(|url| url.query().is_none() && url.fragment().is_none() && whole(url))
}

pub(crate) fn wrong_endpoint(setting: &str, value: &str) -> Failure {
    // Without a scheme, too, there may be a password before the host.
    let value = value.rsplit_once('@').map_or(value, |(_, host)| host);
    let value = failure::printable(value);
    Failure::permanent(format!(
        "{setting} is {value:?}: expected a URL such as http://127.0.0.1:8333; unset it for AWS itself"
    ))
}

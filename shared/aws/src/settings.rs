//! Settings that no retry fixes, checked before anything is asked: the AWS configuration files, the profile, certificates
//! and endpoints. Each is an error that names the setting, where it stands, and what to do.

use aws_config::profile::{Profile, ProfileSet};
use aws_types::os_shim_internal::{Env, Fs};
use failure::{Failure, innermost};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

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

/// What says which proxy requests go through.
const PROXIES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// What names a file that is read before anything is asked, or while credentials are looked for.
const FILES: [&str; 4] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
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
        for name in FILES {
            if let Some(path) = std::env::var_os(name) {
                is_file(&path, name)?;
            }
        }
        for name in ENDPOINTS {
            if std::env::var_os(name).is_some_and(|value| !is_url(&value.to_string_lossy())) {
                return Err(wrong_endpoint(name));
            }
        }
        for name in PROXIES {
            if std::env::var(name).is_ok_and(|value| !value.is_empty() && !is_proxy(&value)) {
                return Err(Failure::permanent(format!(
                    "{name} is no URL of a proxy such as http://proxy.example:3128: correct or unset it"
                )));
            }
        }
        let chosen = named.map(|name| name.to_owned().into());
        let set = aws_config::profile::load(&Fs::real(), &Env::real(), &Default::default(), chosen).await;
        let set = set.map_err(|error| {
            // It names the file, the line and what is wrong there.
            let words = innermost(&error).to_string();
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            Failure::permanent(format!("unable to read the AWS configuration: {words}"))
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
        if settings.get("endpoint_url").is_some_and(|url| !is_url(url)) {
            return Err(wrong_endpoint(&format!("endpoint_url of the profile {}", settings.profile)));
        }
        Ok(settings)
    }

    fn own(&self) -> Option<&Profile> {
        self.set.get_profile(&self.profile)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.own()?.get(name)
    }

    /// The program that the profile's credentials come from, where nothing else in it comes first.
    pub(crate) fn credential_process(&self) -> Option<(&str, &str)> {
        let first = [
            "role_arn",
            "credential_source",
            "web_identity_token_file",
            "sso_session",
            "sso_start_url",
            "login_session",
        ];
        if first.iter().any(|name| self.get(name).is_some()) {
            return None;
        }
        Some((&self.profile, self.get("credential_process")?))
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
        is_file(path.as_ref(), &set_by)?;
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

/// Whether requests can go through it: what can't be read as a proxy would be passed by in silence.
fn is_proxy(text: &str) -> bool {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    url::Url::parse(&whole).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Without the value: there may be a password in it.
pub(crate) fn wrong_endpoint(setting: &str) -> Failure {
    Failure::permanent(format!(
        "{setting} is no URL such as http://127.0.0.1:8333, without ? and #; unset it for AWS itself"
    ))
}

/// The SDK waits without end for a pipe that nobody writes, and reads a device into memory.
///
/// # Errors
/// Something else has that name.
fn is_file(path: &OsStr, setting: &str) -> Result<(), Failure> {
    /// The device 1:3, which is empty.
    const NULL: u64 = 0x103;
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) };
    if found.is_file() || (found.file_type().is_char_device() && found.rdev() == NULL) {
        return Ok(());
    }
    let path = failure::name_of_secret(path.as_ref());
    Err(Failure::permanent(format!("unable to read {path}, which {setting} names: it is no file")))
}

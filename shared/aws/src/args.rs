//! The options that every tool on AWS takes, and the SDK configuration they make.

use crate::credential_process::CredentialProcess;
use crate::keys::Checked;
use crate::profile::Profile;
use crate::settings::Settings;
use crate::{is_of_aws, reach, settings};
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::service_config::ServiceConfigKey;
use failure::Failure;
use std::time::Duration;

/// Where `--help` lists these options. Said of each, since a heading of the group would hold for the tool's own too.
const HEADING: &str = "AWS";

/// Where AWS is, for a tool that works in one region.
#[derive(clap::Args, Clone, Debug)]
pub struct AwsArgs {
    /// Region, instead of the one the environment or profile names
    #[arg(long, value_name = "REGION", value_parser = region_name, help_heading = HEADING)]
    pub region: Option<String>,
    /// How AWS is reached.
    #[command(flatten)]
    pub access: AccessArgs,
}

impl AwsArgs {
    /// The SDK's configuration. Reads the environment and the AWS files; asks nobody yet.
    ///
    /// # Errors
    /// A setting is wrong in itself.
    pub async fn access(&self) -> Result<Access, Failure> {
        self.access.read(self.region.as_deref()).await
    }
}

/// Where AWS is, for a tool that works in several regions at once.
#[derive(clap::Args, Clone, Debug)]
pub struct RegionsArgs {
    /// Regions, instead of the one the environment or profile names
    #[arg(long = "region", value_name = "REGION[,REGION]", value_delimiter = ',', value_parser = region_name, help_heading = HEADING)]
    pub regions: Vec<String>,
    /// How AWS is reached.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// How AWS is reached, and how long to wait for it. Everything else is the SDK's standard chain: environment, profile,
/// instance role.
#[derive(clap::Args, Clone, Debug)]
pub struct AccessArgs {
    /// Profile in the AWS configuration files, whose credentials and region win over those of the environment
    #[arg(long, value_name = "PROFILE", help_heading = HEADING)]
    pub profile: Option<String>,
    /// Endpoint of a compatible service, instead of AWS's own
    #[arg(long, value_name = "URL", value_parser = endpoint, help_heading = HEADING)]
    pub endpoint_url: Option<String>,
    /// Longest wait for one answer; transfers that still move are not ended
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = retry::duration, help_heading = HEADING)]
    pub timeout: Duration,
}

/// Services that the tools ask, by the names that the configuration files know.
const SERVICES: [&str; 3] = ["S3", "EC2", "Auto Scaling"];

/// A way to AWS.
#[derive(Clone, Debug)]
pub struct Access {
    /// What the SDK's clients are made of.
    pub sdk: SdkConfig,
    path_style: Option<bool>,
}

impl Access {
    /// Where a service is, if a setting says so.
    fn endpoint(&self, service: &str) -> Option<String> {
        let key =
            ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        let own = self.sdk.service_config().zip(key.ok()).and_then(|(settings, key)| settings.load_config(key));
        own.or_else(|| self.sdk.endpoint_url().map(str::to_owned))
    }

    /// Whether buckets are part of the path: as the profile says, and else where S3 is not AWS's own, since buckets of
    /// other servers have no host name of their own.
    #[must_use]
    pub fn is_path_style(&self) -> bool {
        let is_another = || {
            let host = self.endpoint("S3").and_then(|url| Some(url::Url::parse(&url).ok()?.host_str()?.to_owned()));
            host.is_some_and(|host| !is_of_aws(&host))
        };
        self.path_style.unwrap_or_else(is_another)
    }
}

impl AccessArgs {
    /// Tries of one request, the first one included.
    const ATTEMPTS: u32 = 6;
    const FIRST_BACKOFF: Duration = Duration::from_millis(100);
    const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
    const CONNECT: Duration = Duration::from_secs(5);

    /// The SDK's configuration, for `region` or the one that the environment or profile names. Reads the environment and
    /// the AWS files; asks nobody yet.
    ///
    /// # Errors
    /// A setting is wrong in itself.
    pub async fn read(&self, region: Option<&str>) -> Result<Access, Failure> {
        let settings = Settings::read(self.profile.as_deref()).await?;
        let http = reach::client(settings.bundle()?);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Self::CONNECT.min(self.timeout))
            .operation_timeout(self.timeout)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(Self::ATTEMPTS)
            .with_initial_backoff(Self::FIRST_BACKOFF)
            .with_max_backoff(Self::LONGEST_BACKOFF);
        let stalled = StalledStreamProtectionConfig::enabled().grace_period(self.timeout).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.clone())
            .timeout_config(timeouts)
            .retry_config(retries)
            .stalled_stream_protection(stalled);
        let mut region = region.map(|name| Region::new(name.to_owned()));
        if let Some(profile) = &self.profile {
            let own = ProfileFileRegionProvider::builder().profile_name(profile).build();
            region = RegionProviderChain::first_try(region).or_else(own).region().await;
            // The SDK's own chain would ask the environment first, and a name that was typed must win over that.
            let config = ProviderConfig::without_region().with_http_client(http).with_region(region.clone());
            loader = loader.profile_name(profile).credentials_provider(Profile::new(profile, config));
        }
        if let Some((profile, command)) = settings.credential_process() {
            let own = CredentialProcess {
                profile: profile.to_owned(),
                command: command.to_owned(),
                // It ends, and says so, before the request that waits for it.
                patience: self.timeout.mul_f64(0.9),
            };
            // The SDK's own bound is shorter than some such programs take.
            loader = loader.identity_cache(IdentityCache::lazy().load_timeout(self.timeout).build());
            // A profile that was typed wins over the environment, as above.
            let keys = EnvironmentVariableCredentialsProvider::new();
            loader = match self.profile {
                Some(_) => loader.credentials_provider(own),
                None => loader.credentials_provider(
                    CredentialsProviderChain::first_try("Environment", keys).or_else("Profile", own),
                ),
            };
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let mut sdk = loader.load().await;
        if sdk.region().is_some_and(|region| region.as_ref().is_empty()) {
            // A variable that is set to nothing.
            sdk = sdk.to_builder().region(None).build();
        }
        if let Some(name) = sdk.region().map(AsRef::as_ref).filter(|name| region_name(name).is_err()) {
            let name = failure::printable(name);
            return Err(Failure::permanent(format!(
                "the region is {name:?}, by AWS_REGION, AWS_DEFAULT_REGION, the profile or the metadata: expected a name such as eu-west-1"
            )));
        }
        if let Some(found) = sdk.credentials_provider() {
            let checked = SharedCredentialsProvider::new(Checked(found));
            sdk = sdk.to_builder().credentials_provider(checked).build();
        }
        let access = Access { sdk, path_style: settings.path_style() };
        // Only other servers have regions that are no part of a host's name.
        let has_own = SERVICES.iter().any(|service| access.endpoint(service).is_some());
        if let Some(name) = access.sdk.region().map(AsRef::as_ref).filter(|name| name.contains('_') && !has_own) {
            return Err(Failure::permanent(format!("the region is {name}, which no region of AWS is called")));
        }
        for service in SERVICES {
            if access.endpoint(service).is_some_and(|url| !settings::is_url(&url)) {
                return Err(settings::wrong_endpoint(&format!("the endpoint_url of {service}")));
            }
        }
        Ok(access)
    }
}

/// What the SDK would only find out at the first request.
fn endpoint(text: &str) -> Result<String, String> {
    if settings::is_url(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a URL such as http://127.0.0.1:8333".to_owned())
    }
}

/// A region's name becomes part of a host name, or of what is signed: other servers have names of their own.
fn region_name(text: &str) -> Result<String, String> {
    let named = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if named { Ok(text.to_owned()) } else { Err("expected the name of a region, such as eu-west-1".to_owned()) }
}

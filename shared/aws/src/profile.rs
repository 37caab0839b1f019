//! The credentials of a profile that was asked for by name: its own, whatever else the environment offers.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

/// The profile is in none of the files, or nothing in it leads to credentials.
#[derive(Debug, thiserror::Error)]
#[error(
    "the AWS configuration files have no profile {0} with credentials, or none of the name that its source_profile gives"
)]
pub(crate) struct NoProfile(String);

/// A profile of the AWS configuration files.
#[derive(Debug)]
pub(crate) struct Profile {
    name: String,
    /// For profiles that ask AWS for their credentials.
    config: ProviderConfig,
}

impl Profile {
    pub(crate) fn new(name: &str, config: ProviderConfig) -> Self {
        Self { name: name.to_owned(), config }
    }

    async fn credentials(&self) -> provider::Result {
        // Made anew: it tells why it failed once, and requests may be under way at the same time.
        let files = ProfileFileCredentialsProvider::builder().configure(&self.config).profile_name(&self.name).build();
        files.provide_credentials().await.map_err(|error| match error {
            CredentialsError::CredentialsNotLoaded(_) => {
                CredentialsError::invalid_configuration(NoProfile(self.name.clone()))
            }
            other => other,
        })
    }
}

impl ProvideCredentials for Profile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

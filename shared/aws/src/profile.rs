//! The credentials of a profile that was asked for by name: its own, whatever else the environment offers.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

/// The profile is in none of the files, or nothing in it leads to credentials.
#[derive(Debug, thiserror::Error)]
#[error("the AWS configuration files have no profile {0} with credentials")]
pub(crate) struct NoProfile(String);

/// A profile of the AWS configuration files.
#[derive(Debug)]
pub(crate) struct Profile {
    name: String,
    files: ProfileFileCredentialsProvider,
}

impl Profile {
    /// The profile of that name; `config` is for those that ask AWS for their credentials.
    pub(crate) fn new(name: &str, config: &ProviderConfig) -> Self {
        let files = ProfileFileCredentialsProvider::builder().configure(config).profile_name(name).build();
        Self { name: name.to_owned(), files }
    }

    async fn credentials(&self) -> provider::Result {
        let found = self.files.provide_credentials().await;
        found.map_err(|error| match error {
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

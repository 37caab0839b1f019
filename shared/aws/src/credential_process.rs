//! Credentials from a program that a profile names. The SDK would run it itself, without a bound: one that never ends would
//! outlive the tool, and what it writes would all stand in memory.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use process::{End, Output, Program};
use serde::Deserialize;
use std::time::{Duration, SystemTime};
use tokio::process::Command;

/// Bytes of the longest answer: a session token has a few thousand.
const LONGEST: usize = 64 << 10;

/// A program's credentials can't be had. What it wrote is never part of it: that may be a password.
#[derive(Debug, thiserror::Error)]
#[error("the credential_process of the profile {profile} {why}")]
struct Failed {
    profile: String,
    why: String,
}

/// `credential_process` of a profile.
#[derive(Clone, Debug)]
pub(crate) struct CredentialProcess {
    pub(crate) profile: String,
    /// A command line for the shell.
    pub(crate) command: String,
    /// How long it may run. It is ended then, with all that it started.
    pub(crate) patience: Duration,
}

/// What it writes, by AWS's documentation of the setting.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    version: u64,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
    account_id: Option<String>,
}

impl CredentialProcess {
    async fn credentials(&self) -> provider::Result {
        let failed = |why: String| Failed { profile: self.profile.clone(), why };
        let mut command = Command::new("sh");
        command.args(["-c", &self.command]);
        let unable = |error| CredentialsError::provider_error(failed(format!("can't be run: {error}")));
        let mut program = Program::start(command, None, Output::TailOfStdout(LONGEST)).map_err(unable)?;
        let late = tokio::time::sleep(self.patience);
        match program.wait(late, Duration::ZERO).await.map_err(unable)? {
            End::Itself(status) if status.success() => {}
            End::Itself(status) => {
                return Err(CredentialsError::provider_error(failed(format!("failed: {status}"))));
            }
            End::Cut(..) => {
                let why = format!("did not end within {:?}", self.patience);
                return Err(CredentialsError::provider_error(failed(why)));
            }
        }
        let none = || CredentialsError::provider_error(failed("wrote no credentials of version 1".to_owned()));
        let written: Written = serde_json::from_slice(&program.output().await).map_err(|_| none())?;
        let expires = written.expiration.as_deref().map(|text| DateTime::from_str(text, Format::DateTimeWithOffset));
        let expires = expires.transpose().map_err(|_| none())?.map(SystemTime::try_from);
        let expires = expires.transpose().map_err(|_| none())?;
        if written.version != 1 {
            return Err(none());
        }
        let mut made = Credentials::builder()
            .access_key_id(written.access_key_id)
            .secret_access_key(written.secret_access_key)
            .provider_name("credential_process");
        made.set_session_token(written.session_token);
        made.set_expiry(expires);
        made.set_account_id(written.account_id.map(Into::into));
        Ok(made.build())
    }
}

impl ProvideCredentials for CredentialProcess {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

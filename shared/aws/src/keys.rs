//! Credentials that no request can carry, refused before the SDK meets them: it would end the process, or send what AWS can
//! only call a wrong signature.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};

/// A part of the credentials holds what no header can hold; which one.
#[derive(Debug, thiserror::Error)]
#[error("the {0} holds a blank, a line break or another character that no key has")]
pub(crate) struct NoKey(&'static str);

/// Credentials from wherever the SDK finds them.
#[derive(Debug)]
pub(crate) struct Checked(pub(crate) SharedCredentialsProvider);

impl Checked {
    async fn credentials(&self) -> provider::Result {
        let credentials = self.0.provide_credentials().await?;
        check(&credentials).map_err(CredentialsError::invalid_configuration)?;
        Ok(credentials)
    }
}

impl ProvideCredentials for Checked {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

fn check(credentials: &Credentials) -> Result<(), NoKey> {
    let parts = [
        ("access key ID", credentials.access_key_id()),
        ("secret access key", credentials.secret_access_key()),
        ("session token", credentials.session_token().unwrap_or_default()),
    ];
    let wrong = parts.into_iter().find(|(_, value)| !value.bytes().all(|byte| byte.is_ascii_graphic()));
    wrong.map_or(Ok(()), |(name, _)| Err(NoKey(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_header_can_hold_is_named() {
        let told = |id: &str, secret: &str, token: Option<&str>| {
            let credentials = Credentials::new(id, secret, token.map(str::to_owned), None, "test");
            check(&credentials).err().map(|error| error.to_string())
        };
        assert_eq!(told("AKIA", "a/b+c=", Some("x==")), None);
        assert_eq!(told("AKIA", "s", None), None);
        let cases = [("AKIA\n", "s", None), ("AKIA", "s ", None), ("AKIA", "s", Some("t\u{e9}"))];
        for ((id, secret, token), part) in
            cases.into_iter().zip(["access key ID", "secret access key", "session token"])
        {
            assert!(told(id, secret, token).is_some_and(|words| words.starts_with(&format!("the {part} holds"))));
        }
    }
}

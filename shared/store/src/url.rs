//! Where a store is, as people write it.

use std::path::PathBuf;
use std::str::FromStr;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// Objects of a bucket under a prefix, which is empty or ends with a slash.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
    /// Files of a directory.
    Files {
        /// Its absolute path.
        dir: PathBuf,
    },
}

/// The text is no store URL.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("write s3://bucket/prefix or file:///absolute/directory")]
pub struct NotAStore;

impl FromStr for StoreUrl {
    type Err = NotAStore;

    fn from_str(text: &str) -> Result<Self, NotAStore> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            let doubled = prefix.split('/').any(|part| part.is_empty() || part == "." || part == "..");
            // Keys of AWS, or parameters as other tools take them: neither a bucket's name nor a prefix.
            let named = bucket.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            let more = text.contains(['?', '#']);
            if !named
                || more
                || bucket.is_empty()
                || (!prefix.is_empty() && doubled)
                || text.chars().any(char::is_control)
            {
                return Err(NotAStore);
            }
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix });
        }
        // The standard reads file:x and file: as paths from the root, which nobody means who writes them.
        if !text.starts_with("file:///") {
            return Err(NotAStore);
        }
        let url = url::Url::parse(text).map_err(|_| NotAStore)?;
        let local = url.query().is_none() && url.fragment().is_none();
        let dir = url.to_file_path().map_err(|()| NotAStore)?;
        if local { Ok(Self::Files { dir }) } else { Err(NotAStore) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let s3 = |bucket: &str, prefix: &str| StoreUrl::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!("s3://build/obelix/prod".parse::<StoreUrl>().ok(), Some(s3("build", "obelix/prod/")));
        assert_eq!("s3://build/".parse::<StoreUrl>().ok(), Some(s3("build", "")));
        assert_eq!("s3://build".parse::<StoreUrl>().ok(), Some(s3("build", "")));
        assert_eq!(
            "file:///srv/my%20store".parse::<StoreUrl>().ok(),
            Some(StoreUrl::Files { dir: "/srv/my store".into() })
        );
        for wrong in [
            "s3://",
            "build/x",
            "file://srv/x",
            "file:/srv/x",
            "file:srv",
            "file://",
            "http://x/y",
            "s3://b/a//c",
            "s3://b/../c",
            "s3://key:secret@b/c",
            "s3://key:secret",
            "s3://key:secret%40b/c",
            "s3://b/c?region=eu-west-1",
            "s3://b#c",
        ] {
            assert!(wrong.parse::<StoreUrl>().is_err(), "{wrong}");
        }
    }
}

//! How an object is kept: storage class and encryption.

use std::fmt;

/// Storage class and encryption, as asked for at writing and as read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// S3's name of the class; `None` is the store's default.
    pub storage_class: Option<String>,
    /// Server-side encryption; `None` is the bucket's default.
    pub encryption: Option<Encryption>,
}

impl Attributes {
    /// Whether anything particular was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an object with attributes `found` has what these ask for. A KMS key may be given by alias and come
    /// back as an ARN, so the key itself is not compared.
    #[must_use]
    pub fn are_met_by(&self, found: &Self) -> bool {
        let class_of = |a: &Self| a.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned());
        let class_met = self.storage_class.is_none() || class_of(self) == class_of(found);
        let kind = |e: &Encryption| matches!(e, Encryption::Kms { .. });
        let encryption_met = match (&self.encryption, &found.encryption) {
            (None, _) => true,
            (Some(asked), Some(found)) => kind(asked) == kind(found),
            (Some(_), None) => false,
        };
        class_met && encryption_met
    }
}

/// Server-side encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// `AES256`: the store's own keys.
    Aes256,
    /// `aws:kms`, with a key or the account's default one.
    Kms {
        /// Key id, ARN or alias.
        key: Option<String>,
    },
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aes256 => f.write_str("AES256"),
            Self::Kms { key: None } => f.write_str("aws:kms"),
            Self::Kms { key: Some(key) } => write!(f, "aws:kms:{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_compared_as_asked() {
        let asked = Attributes { storage_class: Some("STANDARD".into()), encryption: Some(Encryption::Aes256) };
        let plain = Attributes::default();
        assert!(plain.are_met_by(&asked));
        assert!(!asked.are_met_by(&plain));
        assert!(asked.are_met_by(&Attributes { storage_class: None, encryption: Some(Encryption::Aes256) }));
    }
}

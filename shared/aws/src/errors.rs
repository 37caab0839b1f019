//! What an SDK error means: whether a retry can help, in one line a person can act on.

use crate::is_of_aws;
use crate::reach::Unreachable;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use failure::{Class, Failure};
use std::error::Error;
use std::fmt::Display;

/// Codes that say "not now" although their HTTP status says "wrong request".
const TEMPORARY_CODES: [&str; 16] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
    "RequestTimeout",
    "RequestTimeoutException",
    // These two also come in the body of a 200, where the status tells nothing.
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequestsException",
    "OperationAborted",
    "ConditionalRequestConflict",
    "ScalingActivityInProgress",
];

/// Whether trying again can help, by the service's error code and the HTTP status of its answer.
#[must_use]
pub fn classify(code: Option<&str>, status: u16) -> Class {
    if code.is_some_and(|code| TEMPORARY_CODES.contains(&code)) {
        return Class::Temporary;
    }
    match status {
        // A good status with a body that makes no sense comes from something in between.
        ..400 if code.is_none() => Class::Temporary,
        // 501: the store does not have what was asked for.
        408 | 409 | 425 | 429 | 500 | 502.. => Class::Temporary,
        _ => Class::Permanent,
    }
}

/// The failure of a call that no region is known for.
pub fn without_region(what: impl Display) -> Failure {
    Failure::permanent(format!("{what}: no region: give --region or set AWS_REGION"))
}

/// The failure of one request; `what` says verb and object.
pub fn failure<E>(what: impl Display, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(missing) = cause::<CredentialsError>(&error) {
        return without_credentials(what, missing);
    }
    let told = causes(&error);
    if ["region must be set", "Missing Region"].iter().any(|words| told.contains(words)) {
        return without_region(what);
    }
    match &error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code();
            let words = match (code, service.err().message()) {
                (Some(code), Some(message)) => format!("{code}: {}", message.trim_end_matches('.')),
                (Some(code), None) => code.to_owned(),
                (None, _) => by_status(status),
            };
            let hint = hint(code, status, service.raw().headers().get("x-amz-bucket-region"));
            Failure::new(classify(code, status), format!("{what}: {words}{hint}"))
        }
        SdkError::TimeoutError(_) => Failure::temporary(format!("{what}: no answer in time")),
        SdkError::DispatchFailure(failed) if failed.is_timeout() => {
            Failure::temporary(format!("{what}: no answer in time"))
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let class = if status >= 400 { classify(None, status) } else { Class::Temporary };
            Failure::new(class, format!("{what}: unreadable answer: {told}"))
        }
        // A request that can't be built is wrong in itself.
        SdkError::ConstructionFailure(_) => Failure::permanent(format!("{what}: {told}")),
        _ => match settled(&error, &told) {
            Some(hint) => Failure::permanent(format!("{what}: {told}: {hint}")),
            None => Failure::temporary(format!("{what}: {told}")),
        },
    }
}

/// What helps against an answer that does not say so itself.
fn hint(code: Option<&str>, status: u16, bucket_region: Option<&str>) -> String {
    match (code, status, bucket_region) {
        (_, 501, _) => ": the server does not have what was asked for; without --sse it may, or with \
                        AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
            .to_owned(),
        (_, 301 | 307 | 400, Some(region)) => format!(": the bucket is in {region}: give --region {region}"),
        (Some("InvalidClientTokenId" | "UnrecognizedClientException" | "AuthFailure"), ..) => {
            ": wrong credentials, or a region that the account has not been opted in to".to_owned()
        }
        _ => String::new(),
    }
}

/// What to do about a connection that no later try brings about; `None` where one may.
fn settled<E: Error + 'static>(error: &E, told: &str) -> Option<String> {
    // Words of glibc and of musl: the resolver has answered, and not only failed to ask.
    const NO_HOST: [&str; 3] =
        ["Name or service not known", "Name does not resolve", "No address associated with hostname"];
    if told.contains("UnknownIssuer") {
        return Some(
            "who signed its certificate is not trusted: AWS_CA_BUNDLE names a file of those who are".to_owned(),
        );
    }
    // Not one whose time is over, or has not come: the clock may not be set yet.
    if told.contains("not valid for name") || told.contains("NotValidForName") {
        return Some("the server is not who it should be".to_owned());
    }
    let at = cause::<Unreachable>(error)?;
    let host = at.address().rsplit_once(':').map_or(at.address(), |(host, _)| host);
    let has_none = !at.is_through_a_proxy() && is_of_aws(host) && NO_HOST.iter().any(|words| told.contains(words));
    has_none.then(|| "there is no such host: is it the right region?".to_owned())
}

/// Credentials may come, at boot for instance; a setting that is wrong does not get right by itself.
fn without_credentials(what: impl Display, error: &CredentialsError) -> Failure {
    let settled = matches!(error, CredentialsError::InvalidConfiguration(_));
    let class = if settled { Class::Permanent } else { Class::Temporary };
    let words = match error {
        // The SDK lists every place it looked in, on lines of their own.
        CredentialsError::CredentialsNotLoaded(_) => {
            let half =
                half_a_pair().map_or_else(String::new, |(there, missing)| format!(" ({there} is set, {missing} not)"));
            format!("neither the environment, nor a profile, nor a role of this host gives any{half}")
        }
        other => causes(other).split_whitespace().collect::<Vec<_>>().join(" "),
    };
    // It may be the token, given in place of the address.
    let words = match words.split_once("invalid full URI") {
        Some(_) => "AWS_CONTAINER_CREDENTIALS_FULL_URI names no place that credentials may come from".to_owned(),
        None => words,
    };
    // What a program of `credential_process` wrote.
    let words = match words.split_once(" Stderr: ") {
        Some((before, _)) => format!("{before} What it wrote is not shown: it may be a password"),
        None => words,
    };
    let words = match () {
        () if words.contains("SSO") || words.contains("sso") => format!("{words}: aws sso login gives new ones"),
        () if words.contains("login") => format!("{words}: aws login gives new ones"),
        () if words.contains("No such file or directory") => {
            format!(
                "{words}: a file that AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or a profile names is not there"
            )
        }
        () => words,
    };
    Failure::new(class, format!("{what}: no credentials: {words}"))
}

/// Of the two variables of a key, the one that is set without the other.
fn half_a_pair() -> Option<(&'static str, &'static str)> {
    let pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    match pair.map(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        [true, false] => Some((pair[0], pair[1])),
        [false, true] => Some((pair[1], pair[0])),
        _ => None,
    }
}

/// The outermost cause of that kind.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

fn by_status(status: u16) -> String {
    match status {
        403 => "access denied (HTTP 403)".to_owned(),
        404 => "not found (HTTP 404)".to_owned(),
        200..=299 => format!("an answer that makes no sense (HTTP {status}): is this the right endpoint?"),
        other => format!("HTTP {other}"),
    }
}

/// The causes below `error`, outermost first, without those that only repeat what stands before them.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !matches!(text.as_str(), "other" | "io error" | "dispatch failure")
            && !words.iter().any(|w| w.contains(&text))
        {
            words.push(text);
        }
        next = cause.source();
    }
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        assert!(hint(Some("NotImplemented"), 501, None).contains("AWS_REQUEST_CHECKSUM_CALCULATION=when_required"));
        assert!(hint(Some("PermanentRedirect"), 301, Some("eu-west-1")).contains("give --region eu-west-1"));
        assert!(hint(Some("InvalidClientTokenId"), 403, None).contains("opted in"));
        assert_eq!(hint(Some("AccessDenied"), 403, None), "");
    }

    #[test]
    fn classes() {
        assert_eq!(classify(Some("AccessDenied"), 403), Class::Permanent);
        assert_eq!(classify(Some("RequestTimeTooSkewed"), 403), Class::Permanent);
        assert_eq!(classify(Some("NoSuchBucket"), 404), Class::Permanent);
        assert_eq!(classify(Some("ExpiredToken"), 400), Class::Temporary);
        assert_eq!(classify(Some("SlowDown"), 503), Class::Temporary);
        assert_eq!(classify(None, 500), Class::Temporary);
        assert_eq!(classify(Some("NotImplemented"), 501), Class::Permanent);
    }

    #[test]
    fn a_host_that_is_not_there() {
        let hint = |url: &str, told: &str| {
            let error = Unreachable::for_test(url, told);
            settled(&error, told).is_some()
        };
        let there_is_none = "failed to lookup address information: Name or service not known";
        assert!(hint("https://s3.eu-wset-1.amazonaws.com", there_is_none));
        assert!(!hint("https://s3.eu-west-1.amazonaws.com", "failed to lookup address information: Temporary failure"));
        assert!(!hint("https://minio.example", there_is_none), "it may come: its name is no region's");
    }
}

//! What an error of Auto Scaling says about the request: not done, or nobody knows.

use super::Step;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use failure::Failure;
use std::error::Error;

/// Codes of refusals that come with a status of 5xx, which alone would leave it open whether the request was carried out.
const NOT_DONE: [&str; 6] = [
    "IdempotentCallInProgress",
    "IdempotentCallInProgressFault",
    "RequestLimitExceeded",
    "ResourceContention",
    "ResourceContentionFault",
    "Throttling",
];

/// The step that such an error is.
pub(super) fn step<E>(what: String, error: SdkError<E, HttpResponse>) -> Step
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let certain = match &error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::DispatchFailure(failed) => {
            let sent = failed.as_connector_error().is_none_or(|connector| !never_connected(connector));
            !sent || failed.is_user()
        }
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or_default();
            // A good status whose body makes no sense tells nothing.
            (400..500).contains(&service.raw().status().as_u16()) || NOT_DONE.contains(&code)
        }
        _ => false,
    };
    let failure: Failure = aws::failure(what, error);
    if certain { Step::Refused(failure) } else { Step::Lost(failure.with_class(failure::Class::Temporary)) }
}

/// Whether the connection was not even made, or there were no credentials to sign with.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(one) = error {
        if one
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
        {
            return true;
        }
        error = one.source();
    }
    false
}

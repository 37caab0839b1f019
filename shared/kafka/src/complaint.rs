//! What librdkafka last complained of.

use crate::hidden::Hidden;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::sync::{Mutex, PoisonError};

/// The last complaint, until something succeeds.
#[derive(Debug, Default)]
pub struct Complaint {
    last: Mutex<Option<(String, Option<Code>)>>,
    hidden: Hidden,
}

impl Complaint {
    /// Without the values that are to be kept out of it.
    #[must_use]
    pub fn hiding(hidden: Hidden) -> Self {
        Self { last: Mutex::default(), hidden }
    }

    /// Keeps what the client's error callback says.
    pub fn hear(&self, error: &KafkaError, reason: &str) {
        // That all brokers are down says less than why one is.
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            self.keep(reason, error.rdkafka_error_code());
        }
    }

    /// Keeps what the client's log says of a connection: one that the broker closes, as it does where TLS is spoken on one
    /// side alone, is no error to librdkafka.
    pub fn hear_log(&self, facility: &str, message: &str) {
        if facility == "FAIL" {
            // It begins with the name of a thread.
            let text =
                message.split_once("]: ").filter(|_| message.starts_with("[thrd:")).map_or(message, |(_, text)| text);
            // Nothing was understood yet: another protocol is spoken there, most likely.
            let hint = if text.contains("in state APIVERSION_QUERY") {
                "; is security.protocol that of this port?"
            } else {
                ""
            };
            self.keep(&format!("{}{hint}", plain(text)), None);
        }
    }

    fn keep(&self, text: &str, code: Option<Code>) {
        let text = self.hidden.hide(plain(text));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((text, code));
    }

    /// Something succeeded.
    pub fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The complaint.
    pub fn text(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(text, _)| text.clone())
    }

    /// Whether trying again won't help before a person does something: the broker does not know who this is.
    pub fn needs_a_person(&self) -> bool {
        let kept = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().is_some_and(|(_, code)| *code == Some(Code::Authentication))
    }
}

/// How long it took, and how often it was, is librdkafka's own matter.
fn plain(text: &str) -> &str {
    text.split_once(" (after ").map_or(text, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_options_are_left_out() {
        let options = [("sasl.oauthbearer.client.secret".to_owned(), "hunter2".to_owned())];
        let complaint = Complaint::hiding(Hidden::of(options.iter()));
        complaint.hear(&KafkaError::Global(Code::Authentication), "no token with hunter2: refused");
        assert_eq!(complaint.text().unwrap(), "no token with …: refused");
    }

    #[test]
    fn what_a_person_is_told() {
        let complaint = Complaint::default();
        complaint.hear_log("REQTMOUT", "[thrd:b:1/bootstrap]: b:1/bootstrap: timed out");
        assert_eq!(complaint.text(), None);
        complaint.hear_log("FAIL", "[thrd:b:1/bootstrap]: b:1/bootstrap: Disconnected (after 2ms in state UP)");
        assert_eq!(complaint.text().unwrap(), "b:1/bootstrap: Disconnected");
        complaint.hear_log("FAIL", "[thrd:b:1]: b:1: Disconnected (after 2ms in state APIVERSION_QUERY)");
        assert_eq!(complaint.text().unwrap(), "b:1: Disconnected; is security.protocol that of this port?");
        assert!(!complaint.needs_a_person());
        complaint.hear(&KafkaError::Global(Code::Authentication), "b:1: wrong (after 5ms in state AUTH_REQ, 3 more)");
        assert_eq!(complaint.text().unwrap(), "b:1: wrong");
        assert!(complaint.needs_a_person());
        complaint.hear(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert!(complaint.needs_a_person());
        complaint.forget();
        assert!(complaint.text().is_none() && !complaint.needs_a_person());
    }
}

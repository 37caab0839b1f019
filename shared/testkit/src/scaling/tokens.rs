//! Client tokens of launches: a repeated launch gets the first answer and launches nothing.

use std::collections::BTreeMap;

use super::Refused;
use crate::fleet::query::Query;

/// The client tokens that were used.
#[derive(Default)]
pub(crate) struct Tokens {
    /// A server that lies takes every token for a new one.
    pub ignored: bool,
    used: BTreeMap<String, Launch>,
}

struct Launch {
    fields: BTreeMap<String, String>,
    result: String,
    running: bool,
}

impl Tokens {
    /// Records a launch, which is in progress until it is [`finished`](Self::finished).
    pub fn launched(&mut self, token: &str, query: &Query, result: &str) {
        let launch = Launch { fields: query.fields.clone(), result: result.to_owned(), running: true };
        self.used.insert(token.to_owned(), launch);
    }

    /// The launch is done: a repeated one gets its answer.
    pub fn finished(&mut self, query: &Query) {
        if let Some(launch) = query.get("ClientToken").and_then(|token| self.used.get_mut(token)) {
            launch.running = false;
        }
    }

    /// The answer that this very request has already had.
    pub fn told(&self, token: &str, query: &Query) -> Result<Option<String>, Refused> {
        match self.used.get(token) {
            Some(_) if self.ignored => Ok(None),
            Some(launch) if launch.fields != query.fields => {
                let message = "The client token was used with other parameters";
                Err(Refused::new(400, "IdempotentParameterMismatch", message))
            }
            Some(launch) if launch.running => {
                let message = "A call with this client token is still in progress";
                Err(Refused::new(500, "IdempotentCallInProgress", message))
            }
            used => Ok(used.map(|launch| launch.result.clone())),
        }
    }
}

//! The first rung: LaunchInstances with a client token, which AWS takes for one request however often it comes.

use super::{Grant, Rise, Room, Step, refusal};
use crate::answer::progress::Progress;
use crate::args::Rung;
use crate::capacity::state::{Raise, Sight};
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_autoscaling::types::RetryStrategy;
use failure::{Class, Failure};

/// The token is known, with other words: an earlier request of this reclaim was taken, in another zone.
const MISMATCH: [&str; 2] = ["IdempotentParameterMismatch", "IdempotentParameterMismatchError"];

impl Rise<'_> {
    pub(super) async fn launch(&mut self, progress: &Progress) -> Step {
        // Once a herd is refused at the maximum, its requests leave little of what AWS lets through for the one that lifts it.
        if self.terms.ceiling.is_some_and(|ceiling| ceiling > self.target.now.size.max)
            && let Err(failure) = self.look_first().await
        {
            return Step::Refused(failure);
        }
        // Whatever the plan, made minutes ago, says: one unit of a weighted group may be no instance. A group that can't be
        // read holds nothing up.
        if !self.counted {
            match self.read().await {
                Err(failure) if !failure.is_temporary() => return Step::Refused(failure),
                _ => self.counted = true,
            }
        }
        if let Room::Unknown { refusal } = &self.room {
            // Asking for an instance again and again would only use up what AWS lets through.
            let refusal = refusal.clone();
            match self.look_for_room().await {
                Ok(()) => self.room = Room::Seen { refusal },
                Err(failure) => return Step::Refused(failure),
            }
        }
        let group = &self.target.group;
        // An earlier run's zone is asked for again, since it belongs to the token.
        let zone = match progress.raise() {
            Raise::Asked(request) if request.rung == Rung::Launch && request.group == *group => request.zone,
            _ => self.target.zone.clone(),
        };
        progress.asking(Rung::Launch, group, zone.as_deref(), None, self.before).await;
        self.attempts += 1;
        let request = self.client.launch_instances().auto_scaling_group_name(group).requested_capacity(1);
        let request = request.client_token(&self.terms.token).set_availability_zones(zone.map(|zone| vec![zone]));
        // Where the zone has no such instance left, Auto Scaling goes on trying elsewhere.
        let sent = request.retry_strategy(RetryStrategy::RetryWithGroupConfiguration).send().await;
        let error = match sent {
            Ok(answer) => {
                let ids: Vec<String> =
                    answer.instances().iter().flat_map(|some| some.instance_ids()).cloned().collect();
                let sight = if ids.is_empty() { Sight::Unseen } else { Sight::Seen };
                let note = answer.errors().first().map(|error| {
                    let (code, message) =
                        (error.error_code().unwrap_or_default(), error.error_message().unwrap_or_default());
                    format!("Auto Scaling goes on trying after {code}: {message}")
                });
                let unnamed = || ids.is_empty().then(|| "LaunchInstances named no instance".to_owned());
                let note = note.or_else(unnamed);
                return Step::Granted(Grant { instances: ids, note, sight });
            }
            Err(error) => error,
        };
        if error.code().is_some_and(|code| MISMATCH.contains(&code)) {
            return Step::Granted(Grant::unseen("AWS had taken this reclaim's token before, with other parameters"));
        }
        match refusal::step(format!("unable to launch an instance in {group}"), error) {
            Step::Refused(failure) if !failure.is_temporary() => {
                let refusal = failure.to_string();
                if matches!(&self.room, Room::Seen { refusal: earlier } if *earlier == refusal) {
                    return Step::Refused(failure);
                }
                // AWS has no code of its own for a group at its maximum, so it is looked at.
                self.room = Room::Unknown { refusal };
                Step::Refused(failure.with_class(Class::Temporary))
            }
            other => other,
        }
    }

    /// Makes sure that the group is below its maximum, lifting that where it may be.
    async fn look_for_room(&mut self) -> Result<(), Failure> {
        let size = self.read().await?;
        if !size.is_full() || self.lift(size).await? { Ok(()) } else { Err(self.full(size)) }
    }
}

//! One request carried out: admitted, then done or refused.

use std::time::Instant;

use super::books::{Books, Done};
use super::launch::launch_instances;
use super::{Refused, changes, describe};
use crate::fleet::query::Query;

pub(crate) fn carry_out(books: &mut Books, number: u64, query: &Query) -> Result<Done, Refused> {
    let now = Instant::now();
    books.limits.admit(now)?;
    if let Some(told) = describe::describe(books.past.told(&books.state, now), query) {
        return Ok(Done { result: told?, committed: false });
    }
    let action = match query.action() {
        "LaunchInstances" => launch_instances,
        "ExecutePolicy" => changes::execute_policy,
        "SetDesiredCapacity" => changes::set_desired_capacity,
        "UpdateAutoScalingGroup" => changes::update_group,
        "PutScalingPolicy" => changes::put_policy,
        "CompleteLifecycleAction" => changes::complete_lifecycle_action,
        other => return Err(Refused::new(400, "InvalidAction", format!("The action {other} is not valid"))),
    };
    books.limits.admit_change(number, query.get("AutoScalingGroupName").unwrap_or_default(), now)?;
    let done = action(books, query, now)?;
    books.changed(now);
    Ok(done)
}

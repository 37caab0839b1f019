//! What a test says of a group, and reads back.

/// An Auto Scaling group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScalingGroup {
    /// Its name.
    pub name: String,
    /// Its smallest size.
    pub min: i64,
    /// Its largest size.
    pub max: i64,
    /// Its desired capacity.
    pub desired: i64,
    /// Its availability zones. Each has one subnet, `subnet-ZONE`.
    pub zones: Vec<String>,
    /// It launches from a launch template; else from a launch configuration.
    pub launch_template: bool,
    /// Suspended processes: `Launch`, `AZRebalance`, …
    pub suspended: Vec<String>,
    /// Capacity Rebalancing is on.
    pub capacity_rebalance: bool,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Its instances: id, availability zone, lifecycle state. LaunchInstances adds to them, and so does a rise of the
    /// desired capacity, at once, unless `Launch` is suspended.
    pub members: Vec<(String, String, String)>,
    /// Overrides of its mixed instances policy: instance type, weight. Capacity is in units then, and each instance that is
    /// started has the weight of the first.
    pub weights: Vec<(String, u32)>,
    /// `vcpu` or `memory-mib`, where its capacity counts those.
    pub capacity_type: Option<String>,
    /// Its scaling policies.
    pub policies: Vec<ScalingPolicy>,
    /// Its lifecycle hooks: name, transition.
    pub hooks: Vec<(String, String)>,
    /// The lifecycle actions that were completed: hook, instance, result.
    pub completed: Vec<(String, String, String)>,
    /// The lowest MaxSize that UpdateAutoScalingGroup was called with.
    pub lowest_max_written: Option<i64>,
}

impl ScalingGroup {
    /// A group in us-east-1a and us-east-1b that launches from a template, and has nothing else.
    pub fn new(name: &str, min: i64, desired: i64, max: i64) -> Self {
        Self {
            name: name.to_owned(),
            min,
            max,
            desired,
            zones: vec!["us-east-1a".to_owned(), "us-east-1b".to_owned()],
            launch_template: true,
            ..Self::default()
        }
    }

    /// So many units are an instance.
    pub(crate) fn weight(&self) -> i64 {
        self.weights.first().map_or(1, |(_, weight)| i64::from(*weight).max(1))
    }

    /// How many instances a rise from one capacity to another starts.
    pub(crate) fn starts(&self, before: i64, after: i64) -> u64 {
        if self.suspended.iter().any(|process| process == "Launch") {
            return 0;
        }
        let needed = |capacity: i64| (capacity + self.weight() - 1) / self.weight();
        u64::try_from(needed(after) - needed(before)).unwrap_or(0)
    }

    /// Moves the sizes, and returns the desired capacity before.
    pub(crate) fn resize(&mut self, min: i64, desired: i64, max: i64) -> i64 {
        (self.min, self.max) = (min, max);
        std::mem::replace(&mut self.desired, desired)
    }
}

/// A scaling policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// Its name.
    pub name: String,
    /// `SimpleScaling`, `StepScaling`, `TargetTrackingScaling`, …; only the first can be executed here.
    pub kind: String,
    /// `ChangeInCapacity`, `ExactCapacity`, `PercentChangeInCapacity`; only the first can be executed here.
    pub adjustment_type: String,
    /// By how much.
    pub adjustment: i64,
    /// Seconds that `HonorCooldown` would wait; only told, see [`ScalingModel::cooldown`](crate::ScalingModel::cooldown).
    pub cooldown: Option<i64>,
}

impl ScalingPolicy {
    /// A simple policy that adds one instance.
    pub fn plus_one(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: "SimpleScaling".to_owned(),
            adjustment_type: "ChangeInCapacity".to_owned(),
            adjustment: 1,
            cooldown: None,
        }
    }

    pub(crate) fn arn(&self, group: &str) -> String {
        format!(
            "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:\
             00000000-0000-0000-0000-000000000000:autoScalingGroupName/{group}:policyName/{}",
            self.name
        )
    }

    /// AWS takes either for the other.
    pub(crate) fn is_called(&self, group: &str, name_or_arn: &str) -> bool {
        self.name == name_or_arn || self.arn(group) == name_or_arn
    }
}

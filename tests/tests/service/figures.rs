//! Every figure of the set-up that the template describes, written down a second time, and a table that holds the template
//! to them.

use crate::template::Template;
use serde_json::{Value, json};

/// A value that must stand in the template.
pub struct Held {
    pub what: String,
    pub at: String,
    value: Value,
}

/// What differs, by the name of what it is.
pub fn differing(template: &Template, held: &[Held]) -> Vec<String> {
    held.iter().filter(|held| !same(template.value(&held.at), &held.value)).map(|held| held.what.clone()).collect()
}

/// 300, 300.0 and '300' are one figure: CloudFormation has some of its numbers as strings.
fn same(found: Option<&Value>, expected: &Value) -> bool {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    match (found, number(expected)) {
        (Some(found), Some(figure)) => number(found) == Some(figure),
        (found, _) => found == Some(expected),
    }
}

#[derive(Default)]
struct Table(Vec<Held>);

impl Table {
    /// Of properties of a resource. A key leads further down: `Steps/0/Value`.
    fn properties(&mut self, what: &str, resource: &str, values: Value) {
        self.values(what, &format!("/Resources/{resource}/Properties"), values);
    }

    fn values(&mut self, what: &str, at: &str, values: Value) {
        let Value::Object(values) = values else { unreachable!("a table of values") };
        for (key, value) in values {
            self.0.push(Held { what: format!("{what}: {key}"), at: format!("{at}/{key}"), value });
        }
    }
}

/// Scaling, health check and alarms.
pub fn figures() -> Vec<Held> {
    let mut table = Table::default();
    groups(&mut table);
    scaling(&mut table);
    balancing(&mut table);
    alarms(&mut table);
    table.0
}

fn groups(table: &mut Table) {
    let both = |of: &str, lifecycle: &str| {
        json!({
            "AutoScalingGroupName/Fn::Sub": format!("${{Service}}_{of}_asg"),
            "TargetGroupARNs/0/Ref": "Targets",
            "HealthCheckType": "EC2",
            "HealthCheckGracePeriod": 60,
            "VPCZoneIdentifier/Ref": "PrivateSubnets",
            "MetricsCollection/0/Granularity": "1Minute",
            "Tags/0/Key": "Name", "Tags/0/Value/Ref": "Service", "Tags/0/PropagateAtLaunch": true,
            "Tags/1/Key": "service", "Tags/1/Value/Ref": "Service", "Tags/1/PropagateAtLaunch": true,
            "Tags/2/Key": "lifecycle", "Tags/2/Value": lifecycle, "Tags/2/PropagateAtLaunch": true,
        })
    };
    table.properties("spot group", "SpotGroup", both("spot", "spot"));
    table.properties("on-demand group", "OnDemandGroup", both("ondemand", "ondemand"));
    table.properties("one or more spot instances", "SpotGroup", json!({ "MinSize": 1, "MaxSize": 100 }));
    table.properties("one on-demand instance", "OnDemandGroup", json!({ "MinSize": 1, "MaxSize": 100 }));
    let template = json!({ "LaunchTemplateData/InstanceType": "m4.large" });
    table.properties("instances are m4.large", "LaunchTemplate", template);
    let spot = "MixedInstancesPolicy/InstancesDistribution";
    table.properties(
        "nothing but spot instances, bid for above the on-demand price",
        "SpotGroup",
        json!({
            (format!("{spot}/OnDemandBaseCapacity")): 0,
            (format!("{spot}/OnDemandPercentageAboveBaseCapacity")): 0,
            (format!("{spot}/SpotMaxPrice")): 0.20,
            "MixedInstancesPolicy/LaunchTemplate/LaunchTemplateSpecification/LaunchTemplateId/Ref": "LaunchTemplate",
        }),
    );
    table.properties(
        "on-demand group without a mix",
        "OnDemandGroup",
        json!({ "LaunchTemplate/LaunchTemplateId/Ref": "LaunchTemplate" }),
    );
}

fn cpu(group: &str, action: &str, comparison: &str, threshold: u32, period: u32, periods: u32) -> Value {
    json!({
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions/0/Name": "AutoScalingGroupName",
        "Dimensions/0/Value/Ref": group,
        "Statistic": "Average",
        "ComparisonOperator": comparison,
        "Threshold": threshold,
        "Period": period,
        "EvaluationPeriods": periods,
        "AlarmActions/0/Ref": action,
    })
}

fn steps(group: &str, least: u32, steps: Value) -> Value {
    let mut values = json!({
        "AutoScalingGroupName/Ref": group,
        "PolicyType": "StepScaling",
        "AdjustmentType": "PercentChangeInCapacity",
        "MetricAggregationType": "Average",
        "EstimatedInstanceWarmup": 180,
        "MinAdjustmentMagnitude": least,
    });
    let Value::Object(steps) = steps else { unreachable!("a table of steps") };
    values.as_object_mut().expect("made above").extend(steps);
    values
}

fn scaling(table: &mut Table) {
    const AT_LEAST: &str = "GreaterThanOrEqualToThreshold";
    let what = "spot group, CPU >= 50 % over 5 min";
    table.properties(what, "SpotCpuHighAlarm", cpu("SpotGroup", "SpotGrows", AT_LEAST, 50, 300, 1));
    table.properties(
        "spot group: +10 % from 0 to 15 above, +40 % beyond, at least 1, warm-up 180 s",
        "SpotGrows",
        steps(
            "SpotGroup",
            1,
            json!({
                "StepAdjustments/0/MetricIntervalLowerBound": 0,
                "StepAdjustments/0/MetricIntervalUpperBound": 15,
                "StepAdjustments/0/ScalingAdjustment": 10,
                "StepAdjustments/1/MetricIntervalLowerBound": 15,
                "StepAdjustments/1/ScalingAdjustment": 40,
            }),
        ),
    );
    let double = json!({
        "StepAdjustments/0/MetricIntervalLowerBound": 0,
        "StepAdjustments/0/ScalingAdjustment": 100,
    });
    let what = "spot group, CPU >= 85 % over two 1-min periods";
    table.properties(what, "SpotCpuVeryHighAlarm", cpu("SpotGroup", "SpotDoubles", AT_LEAST, 85, 60, 2));
    let what = "spot group: +100 %, warm-up 180 s";
    table.properties(what, "SpotDoubles", steps("SpotGroup", 1, double.clone()));
    let what = "on-demand group, higher CPU threshold";
    table.properties(what, "OnDemandCpuHighAlarm", cpu("OnDemandGroup", "OnDemandGrows", AT_LEAST, 85, 300, 1));
    table.properties("on-demand group: +100 %, at least +3", "OnDemandGrows", steps("OnDemandGroup", 3, double));

    for (of, group, policy, alarm) in [
        ("spot group", "SpotGroup", "SpotShrinks", "SpotCpuLowAlarm"),
        ("on-demand group", "OnDemandGroup", "OnDemandShrinks", "OnDemandCpuLowAlarm"),
    ] {
        let what = format!("{of}, CPU < 30 % for 10 periods of 60 s");
        table.properties(&what, alarm, cpu(group, policy, "LessThanThreshold", 30, 60, 10));
        table.properties(
            &format!("{of}: simple, -10 %, at least 1, cooldown 300 s"),
            policy,
            json!({
                "AutoScalingGroupName/Ref": group,
                "PolicyType": "SimpleScaling",
                "AdjustmentType": "PercentChangeInCapacity",
                "ScalingAdjustment": -10,
                "MinAdjustmentMagnitude": 1,
                "Cooldown": 300,
            }),
        );
    }
    table.properties(
        "one more for a spot instance that is taken back",
        "OneMore",
        json!({
            "AutoScalingGroupName/Ref": "OnDemandGroup",
            "PolicyType": "SimpleScaling",
            "AdjustmentType": "ChangeInCapacity",
            "ScalingAdjustment": 1,
            "Cooldown": 0,
        }),
    );
}

fn balancing(table: &mut Table) {
    table.properties(
        "health check: every 6 s, timeout 5 s, 2 healthy, 4 unhealthy, 200",
        "Targets",
        json!({
            "HealthCheckIntervalSeconds": 6,
            "HealthCheckTimeoutSeconds": 5,
            "HealthyThresholdCount": 2,
            "UnhealthyThresholdCount": 4,
            "Matcher/HttpCode": 200,
        }),
    );
    table.properties("instances serve HTTP on port 80", "Targets", json!({ "Port": 80, "Protocol": "HTTP" }));
    let forward = |port: u32, protocol: &str| {
        json!({
            "Port": port, "Protocol": protocol,
            "DefaultActions/0/Type": "forward", "DefaultActions/0/TargetGroupArn/Ref": "Targets",
        })
    };
    table.properties("load balancer on 80", "Http", forward(80, "HTTP"));
    table.properties("load balancer on 443, where TLS ends", "Https", forward(443, "HTTPS"));
    let balancer = json!({ "Scheme": "internet-facing", "Subnets/Ref": "PublicSubnets" });
    table.properties("load balancer in public subnets", "LoadBalancer", balancer);
}

fn alarms(table: &mut Table) {
    for (what, alarm, metric, statistic, threshold) in [
        ("target 4xx > 2500/min", "Target4xxAlarm", "HTTPCode_Target_4XX_Count", "Sum", 2500.0),
        ("ELB 5xx > 50/min", "LoadBalancer5xxAlarm", "HTTPCode_ELB_5XX_Count", "Sum", 50.0),
        ("target 5xx > 50/min", "Target5xxAlarm", "HTTPCode_Target_5XX_Count", "Sum", 50.0),
        ("latency > 600 ms", "LatencyAlarm", "TargetResponseTime", "Average", 0.6),
    ] {
        table.properties(
            what,
            alarm,
            json!({
                "Namespace": "AWS/ApplicationELB",
                "MetricName": metric,
                "Dimensions/0/Name": "LoadBalancer",
                "Dimensions/0/Value/Fn::GetAtt/0": "LoadBalancer",
                "Dimensions/0/Value/Fn::GetAtt/1": "LoadBalancerFullName",
                "Statistic": statistic,
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": threshold,
                "Period": 60,
                "EvaluationPeriods": 1,
                "TreatMissingData": "notBreaching",
                "AlarmActions/0/Ref": "Alarms",
            }),
        );
    }
    let mail = json!({ "Subscription/0/Protocol": "email", "Subscription/0/Endpoint/Ref": "AlarmEmail" });
    table.properties("alarms are mailed", "Alarms", mail);
}

/// What keeps others out.
pub fn safeguards() -> Vec<Held> {
    let mut table = Table::default();
    table.properties(
        "instances: IMDSv2 alone, no public address, encrypted disk, metrics every minute",
        "LaunchTemplate",
        json!({
            "LaunchTemplateData/MetadataOptions/HttpTokens": "required",
            "LaunchTemplateData/MetadataOptions/HttpPutResponseHopLimit": 1,
            "LaunchTemplateData/NetworkInterfaces/0/AssociatePublicIpAddress": false,
            "LaunchTemplateData/NetworkInterfaces/0/Groups/0/Fn::GetAtt/0": "InstanceSecurityGroup",
            "LaunchTemplateData/BlockDeviceMappings/0/Ebs/Encrypted": true,
            "LaunchTemplateData/Monitoring/Enabled": true,
        }),
    );
    table.properties(
        "instances take port 80 from the load balancer",
        "FromLoadBalancer",
        json!({
            "GroupId/Fn::GetAtt/0": "InstanceSecurityGroup",
            "SourceSecurityGroupId/Fn::GetAtt/0": "LoadBalancerSecurityGroup",
            "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
        }),
    );
    table.properties(
        "the load balancer reaches port 80 of the instances, and nothing else",
        "LoadBalancerSecurityGroup",
        json!({
            "SecurityGroupEgress/0/DestinationSecurityGroupId/Fn::GetAtt/0": "InstanceSecurityGroup",
            "SecurityGroupEgress/0/FromPort": 80, "SecurityGroupEgress/0/ToPort": 80,
            "SecurityGroupIngress/0/FromPort": 80, "SecurityGroupIngress/0/ToPort": 80,
            "SecurityGroupIngress/1/FromPort": 443, "SecurityGroupIngress/1/ToPort": 443,
        }),
    );
    table.properties(
        "release store",
        "Releases",
        json!({
            "VersioningConfiguration/Status": "Enabled",
            "BucketEncryption/ServerSideEncryptionConfiguration/0/ServerSideEncryptionByDefault/SSEAlgorithm": "AES256",
            "OwnershipControls/Rules/0/ObjectOwnership": "BucketOwnerEnforced",
            "PublicAccessBlockConfiguration/BlockPublicAcls": true,
            "PublicAccessBlockConfiguration/BlockPublicPolicy": true,
            "PublicAccessBlockConfiguration/IgnorePublicAcls": true,
            "PublicAccessBlockConfiguration/RestrictPublicBuckets": true,
            "LifecycleConfiguration/Rules/0/Status": "Enabled",
            "LifecycleConfiguration/Rules/0/AbortIncompleteMultipartUpload/DaysAfterInitiation": 7,
        }),
    );
    for resource in ["Releases", "ReleasesPolicy"] {
        let stays = json!({ "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain" });
        table.values("releases outlive the stack", &format!("/Resources/{resource}"), stays);
    }
    table.0
}

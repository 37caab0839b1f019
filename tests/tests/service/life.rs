//! A stack's life on moto: created, changed, deleted. What moto's CloudFormation does not know is put through
//! the API, as CloudFormation would, and read back.

use crate::cloud::Cloud;
use crate::template::{Stack, Template};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;

/// Whether everything that was given came back. An answer may have more.
fn kept(given: &Value, back: &Value) -> bool {
    match (given, back) {
        (Value::Object(given), _) => given.iter().all(|(key, value)| kept(value, &back[key])),
        (Value::Array(given), Value::Array(back)) => {
            given.len() == back.len() && given.iter().zip(back).all(|(given, back)| kept(given, back))
        }
        (Value::Number(given), Value::Number(back)) => given.as_f64() == back.as_f64(),
        _ => given == back,
    }
}

#[track_caller]
fn is_kept(given: &Value, back: &Value) {
    assert!(kept(given, back), "given {given:#}\nback {back:#}");
}

/// The one among `all` that has the same name.
fn find<'a>(all: &'a Value, name: &str, one: &Value) -> &'a Value {
    let mut all = all.as_array().unwrap().iter();
    all.find(|other| other[name] == one[name]).unwrap_or_else(|| unreachable!("there is no {}", one[name]))
}

/// Properties without those that answers do not repeat.
fn without(mut properties: Value, left_out: &[&str]) -> Value {
    properties.as_object_mut().unwrap().retain(|key, _| !left_out.contains(&key.as_str()));
    properties
}

impl Cloud {
    pub fn properties(&self, stack: &Stack<'_>, resource: &str) -> Value {
        stack.resolve(stack.template.at(&format!("/Resources/{resource}/Properties")))
    }

    /// The template's policies.
    pub fn put_policies(&self, stack: &mut Stack<'_>) {
        let mut put = Vec::new();
        for (name, _) in stack.template.of_type("AWS::AutoScaling::ScalingPolicy") {
            if !stack.has(&name) {
                continue;
            }
            let mut policy = self.properties(stack, &name);
            policy["PolicyName"] = json!(format!("{}-{name}", self.service));
            if let Some(cooldown) = policy["Cooldown"].as_str() {
                policy["Cooldown"] = json!(cooldown.parse::<u32>().unwrap());
            } else {
                policy = without(policy, &["Cooldown"]);
            }
            self.aws(&["autoscaling", "put-scaling-policy", "--cli-input-json", &policy.to_string()]);
            put.push((name, policy));
        }
        let back = self.aws(&["autoscaling", "describe-policies"]);
        for (name, policy) in put {
            let back = find(&back["ScalingPolicies"], "PolicyName", &policy);
            is_kept(&policy, back);
            stack.ids.insert(name, back["PolicyARN"].as_str().unwrap().to_owned());
        }
    }

    /// The template's alarms, which lead to the policies and to the topic.
    fn put_alarms(&self, stack: &Stack<'_>) {
        let mut put = Vec::new();
        for (name, _) in stack.template.of_type("AWS::CloudWatch::Alarm") {
            let mut alarm = self.properties(stack, &name);
            alarm["AlarmName"] = json!(format!("{}-{name}", self.service));
            self.aws(&["cloudwatch", "put-metric-alarm", "--cli-input-json", &alarm.to_string()]);
            put.push(alarm);
        }
        let back = self.aws(&["cloudwatch", "describe-alarms"]);
        put.iter().for_each(|alarm| is_kept(alarm, find(&back["MetricAlarms"], "AlarmName", alarm)));
    }

    /// What moto knows of buckets, and its CloudFormation does not.
    fn put_bucket(&self, stack: &Stack<'_>) {
        let bucket = self.properties(stack, "Releases");
        let policy = self.properties(stack, "ReleasesPolicy")["PolicyDocument"].clone();
        let name = bucket["BucketName"].as_str().unwrap();
        let mut lifecycle = bucket["LifecycleConfiguration"].clone();
        for rule in lifecycle["Rules"].as_array_mut().unwrap() {
            // The API's names for the same.
            rule["ID"] = rule["Id"].clone();
            rule["Filter"] = json!({ "Prefix": "" });
            *rule = without(rule.clone(), &["Id"]);
        }
        let access = &bucket["PublicAccessBlockConfiguration"];
        for (item, option, given, back) in [
            ("bucket-versioning", "--versioning-configuration", &bucket["VersioningConfiguration"], ""),
            ("public-access-block", "--public-access-block-configuration", access, "/PublicAccessBlockConfiguration"),
            ("bucket-ownership-controls", "--ownership-controls", &bucket["OwnershipControls"], "/OwnershipControls"),
            ("bucket-lifecycle-configuration", "--lifecycle-configuration", &lifecycle, ""),
        ] {
            self.aws(&["s3api", &format!("put-{item}"), "--bucket", name, option, &given.to_string()]);
            let answer = self.aws(&["s3api", &format!("get-{item}"), "--bucket", name]);
            is_kept(given, answer.pointer(back).unwrap());
        }
        self.aws(&["s3api", "put-bucket-policy", "--bucket", name, "--policy", &policy.to_string()]);
        let back = self.aws(&["s3api", "get-bucket-policy", "--bucket", name]);
        assert_eq!(serde_json::from_str::<Value>(back["Policy"].as_str().unwrap()).unwrap(), policy);
    }

    /// What moto's CloudFormation made is what the template says.
    fn check(&self, stack: &Stack<'_>) {
        let balancer = &stack.ids["LoadBalancer"];
        let back = self.aws(&["elbv2", "describe-target-groups", "--load-balancer-arn", balancer]);
        let targets = without(self.properties(stack, "Targets"), &["Tags"]);
        is_kept(&targets, &back["TargetGroups"][0]);
        let back = self.aws(&["elbv2", "describe-listeners", "--load-balancer-arn", balancer]);
        let listeners = ["Http", "Https"].map(|name| self.properties(stack, name));
        is_kept(&json!(listeners), &back["Listeners"]);
        let role = &stack.ids["InstanceRole"];
        let back = self.aws(&["iam", "get-role-policy", "--role-name", role, "--policy-name", "spot-watch-launch"]);
        is_kept(&self.properties(stack, "SpotWatchLaunches")["PolicyDocument"], &back["PolicyDocument"]);
        let back = self.aws(&["s3api", "get-bucket-encryption", "--bucket", &stack.ids["Releases"]]);
        let by_default = "/ServerSideEncryptionConfiguration/Rules/0/ApplyServerSideEncryptionByDefault/SSEAlgorithm";
        assert_eq!(back.pointer(by_default).unwrap(), "AES256");
        let back = self.aws(&["sns", "list-subscriptions-by-topic", "--topic-arn", &stack.ids["Alarms"]]);
        is_kept(&json!([{ "Protocol": "email", "Endpoint": "ops@example.com" }]), &back["Subscriptions"]);
        self.check_security_groups(stack);
        self.check_instances(stack);
    }

    fn check_security_groups(&self, stack: &Stack<'_>) {
        let ways = |name: &str| {
            let back = self.aws(&["ec2", "describe-security-groups", "--group-ids", &stack.ids[name]]);
            back["SecurityGroups"][0]["IpPermissions"].clone()
        };
        let balancer = &stack.ids["LoadBalancerSecurityGroup"];
        let source = json!([{ "GroupId": balancer }]);
        let only =
            json!([{ "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": source, "IpRanges": [] }]);
        is_kept(&only, &ways("InstanceSecurityGroup"));
        let open = ways("LoadBalancerSecurityGroup");
        let ports: Vec<_> = open.as_array().unwrap().iter().map(|way| way["ToPort"].as_u64().unwrap()).collect();
        assert_eq!(ports, [80, 443]);
    }

    fn check_instances(&self, stack: &Stack<'_>) {
        let newest = self.launch_template(stack);
        let data = without(self.properties(stack, "LaunchTemplate")["LaunchTemplateData"].clone(), &["UserData"]);
        is_kept(&data, &newest["LaunchTemplateData"]);
        let version = newest["VersionNumber"].to_string();
        let (spot, ondemand) = (self.group("spot"), self.group("ondemand"));
        let of_spot = &spot["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"];
        for (group, of, template) in [(&spot, "Spot", of_spot), (&ondemand, "OnDemand", &ondemand["LaunchTemplate"])] {
            let size = |bound: &str| self.parameters[&format!("{of}{bound}")].parse::<u32>().unwrap();
            is_kept(&json!({ "MinSize": size("Min"), "MaxSize": size("Max") }), group);
            is_kept(&json!({ "TargetGroupARNs": [stack.ids["Targets"]], "HealthCheckType": "EC2" }), group);
            is_kept(&json!({ "LaunchTemplateId": stack.ids["LaunchTemplate"], "Version": version }), template);
            let tags =
                json!([{ "Key": "Name" }, { "Key": "service" }, { "Key": "lifecycle", "Value": of.to_lowercase() }]);
            is_kept(&tags, &json!(group["Tags"].as_array().unwrap()[..3]));
        }
        let distribution = json!({
            "OnDemandBaseCapacity": 0, "OnDemandPercentageAboveBaseCapacity": 0, "SpotMaxPrice": "0.20",
        });
        is_kept(&distribution, &spot["MixedInstancesPolicy"]["InstancesDistribution"]);
    }

    /// Its newest version.
    pub fn launch_template(&self, stack: &Stack<'_>) -> Value {
        let id = &stack.ids["LaunchTemplate"];
        let describe =
            ["ec2", "describe-launch-template-versions", "--versions", "$Latest", "--launch-template-id", id];
        self.aws(&describe)["LaunchTemplateVersions"][0].clone()
    }

    /// Everything of the kinds that the template makes, as text.
    fn everything(&self) -> String {
        let lists = [
            ["autoscaling", "describe-auto-scaling-groups"],
            ["ec2", "describe-launch-templates"],
            ["ec2", "describe-security-groups"],
            ["elbv2", "describe-load-balancers"],
            ["iam", "list-roles"],
            ["iam", "list-instance-profiles"],
            ["sns", "list-topics"],
            ["s3api", "list-buckets"],
        ];
        lists.iter().map(|list| self.aws(list).to_string()).collect()
    }
}

#[test]
fn created_changed_and_deleted() {
    let template = Template::read();
    let mut cloud = Cloud::on_the_stack(&template);
    // As the first time: no instance before there is a release.
    ["SpotMin", "OnDemandMin"].iter().for_each(|least| cloud.set(least, "0"));
    cloud.readme("Create and update");
    assert_eq!(cloud.group("spot")["Instances"], json!([]));

    let made = cloud.made();
    let kinds = cloud.kinds();
    let unknown: Vec<&str> = template.types().into_iter().filter(|kind| !kinds.contains(*kind)).collect();
    // Straight to stderr, so that it is seen also where all is well.
    writeln!(std::io::stderr(), "moto's CloudFormation knows no {}: put through the API", unknown.join(", ")).unwrap();
    let told = fs::read_to_string(end_to_end::root().join("scripts/service/README.md")).unwrap();
    assert_eq!(unknown, ["AWS::AutoScaling::ScalingPolicy", "AWS::CloudWatch::Alarm", "AWS::S3::BucketPolicy"]);
    assert!(unknown.iter().all(|kind| told.contains(kind)), "the README names what moto does not show");

    let mut stack = cloud.stack(&template);
    cloud.check(&stack);
    cloud.put_policies(&mut stack);
    cloud.put_alarms(&stack);

    cloud.release();
    cloud.put_bucket(&stack);
    cloud.readme("Dashboard");
    let dashboard = fs::read_to_string(cloud.dir.path().join(format!("{}-dashboard.json", cloud.service))).unwrap();
    for name in ["LoadBalancer", "Targets"] {
        let (_, after) = made[name].rsplit_once(':').unwrap();
        assert!(
            dashboard.contains(&format!("\"{}\"", after.trim_start_matches("loadbalancer/"))),
            "{after}: {dashboard}"
        );
    }

    for (name, value) in [
        ("InstanceType", "m5.large"),
        ("SpotMin", "1"),
        ("SpotMax", "40"),
        ("OnDemandMin", "2"),
        ("SpotCpuHigh", "60"),
        ("Target4xxPerMinute", "3000"),
        ("LatencySeconds", "0.25"),
    ] {
        assert_ne!(cloud.parameters[name], value);
        cloud.set(name, value);
    }
    cloud.readme("Create and update");
    assert_eq!(cloud.made(), made, "nothing was made anew");
    let mut stack = cloud.stack(&template);
    assert_eq!(cloud.launch_template(&stack)["VersionNumber"], 2);
    assert_eq!(cloud.group("ondemand")["Instances"].as_array().map(Vec::len), Some(2));
    cloud.check(&stack);
    cloud.put_policies(&mut stack);
    cloud.put_alarms(&stack);

    let before = cloud.everything();
    // The rule goes with its group; moto keeps the target group.
    let gone = made.iter().filter(|(name, _)| !["FromLoadBalancer", "Targets", "Releases"].contains(&name.as_str()));
    let gone: Vec<&String> = gone.map(|(_, id)| id).filter(|id| before.contains(*id)).collect();
    assert!(gone.len() >= 9, "{gone:?}");
    cloud.readme("Delete");
    let after = cloud.everything();
    assert!(gone.iter().all(|id| !after.contains(*id)), "{after}");
    let releases = cloud.aws(&["s3api", "list-objects-v2", "--bucket", &cloud.parameters["ReleaseBucket"]]);
    assert!(releases.to_string().contains("latest-stable.txt"), "releases outlive the stack");
}

/// What the reading back rests on.
#[test]
fn what_was_not_kept_is_found() {
    let given = json!({ "Threshold": 50, "Steps": [{ "Adjustment": 10 }], "Unit": "Count" });
    assert!(kept(
        &given,
        &json!({ "Threshold": 50.0, "Steps": [{ "Adjustment": 10, "Upper": 1 }], "Unit": "Count", "More": 1 })
    ));
    for (at, other) in [
        ("/Threshold", json!(51)),
        ("/Threshold", json!(null)),
        ("/Steps", json!([])),
        ("/Steps/0/Adjustment", json!(11)),
        ("/Unit", json!("Bytes")),
    ] {
        let mut back = given.clone();
        *back.pointer_mut(at).unwrap() = other;
        assert!(!kept(&given, &back), "{back}");
    }
}

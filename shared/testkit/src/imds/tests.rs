//! Every rule of the service, over its own wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Answer, request};

const TOKEN: &str = "X-aws-ec2-metadata-token";
const TTL_ASKED: (&str, &str) = ("X-aws-ec2-metadata-token-ttl-seconds", "21600");

fn put(model: &ImdsModel, headers: &[(&str, &str)]) -> Answer {
    request(&model.endpoint(), "PUT", "/latest/api/token", headers, b"").unwrap()
}

fn token(model: &ImdsModel) -> String {
    put(model, &[TTL_ASKED]).text()
}

fn get(model: &ImdsModel, token: &str, path: &str) -> Answer {
    request(&model.endpoint(), "GET", path, &[(TOKEN, token)], b"").unwrap()
}

/// What is answered for an item below `/latest/meta-data/`: nothing for 404.
fn item(model: &ImdsModel, path: &str) -> Option<String> {
    let answer = get(model, &token(model), &format!("/latest/meta-data/{path}"));
    assert!([200, 404].contains(&answer.status), "{} for {path}", answer.status);
    (answer.status == 200).then(|| answer.text())
}

fn document(model: &ImdsModel) -> serde_json::Value {
    let answer = get(model, &token(model), "/latest/dynamic/instance-identity/document");
    serde_json::from_slice(&answer.body).unwrap()
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_token_is_given_for_a_life_within_bounds() {
    let model = ImdsModel::start();
    for (life, status) in [("1", 200), ("21600", 200), ("0", 400), ("21601", 400), ("-1", 400), ("soon", 400)] {
        let answer = put(&model, &[(TTL_ASKED.0, life)]);
        assert_eq!(answer.status, status, "{life}");
        assert_eq!(answer.header(TTL), (status == 200).then_some(life));
    }
    assert_eq!(put(&model, &[]).status, 400);
    assert_eq!(put(&model, &[TTL_ASKED, ("X-Forwarded-For", "10.0.0.1")]).status, 403);
    assert!(model.calls().last().unwrap().forwarded);
    assert_ne!(token(&model), token(&model));
    assert_eq!(request(&model.endpoint(), "POST", "/latest/api/token", &[], b"").unwrap().status, 405);
}

#[test]
fn without_a_living_token_there_is_no_answer() {
    let model = ImdsModel::start();
    let (path, good) = ("/latest/meta-data/instance-id", token(&model));
    let ask = |headers: &[(&str, &str)]| request(&model.endpoint(), "GET", path, headers, b"").unwrap().status;
    assert_eq!(ask(&[]), 401);
    assert_eq!(ask(&[(TOKEN, "guessed")]), 401);
    assert_eq!(ask(&[(TOKEN, &good), (TOKEN, &good)]), 401);
    assert_eq!(ask(&[(TOKEN, &good)]), 200);
    model.expire_tokens();
    assert_eq!(ask(&[(TOKEN, &good)]), 401);
    assert_eq!(get(&model, &token(&model), path).text(), "i-1234567890abcdef0");
    let seen: Vec<TokenSeen> =
        model.calls().iter().filter(|call| call.method == "GET").map(|call| call.token).collect();
    use TokenSeen::{Invalid, None, Twice, Valid};
    assert_eq!(seen, [None, Invalid, Twice, Valid, Invalid, Valid]);
}

#[test]
fn a_token_ends_with_its_life() {
    let mut tokens = Tokens::default();
    let (dead, living) = (tokens.give(0), tokens.give(60));
    let seen = |token: &str| {
        let head = format!("GET / HTTP/1.1\r\n{TOKEN}: {token}\r\n\r\n");
        tokens.seen(&RequestHead::parse(head.into_bytes()).unwrap())
    };
    assert_eq!((seen(&dead), seen(&living)), (TokenSeen::Invalid, TokenSeen::Valid));
}

#[test]
fn the_instance_tells_who_it_is() {
    let model = ImdsModel::start();
    model.set_instance(ImdsInstance::spot("i-0abc"));
    assert_eq!(item(&model, "instance-id").as_deref(), Some("i-0abc"));
    assert_eq!(item(&model, "placement/region").as_deref(), Some("us-east-1"));
    assert_eq!(item(&model, "placement/availability-zone").as_deref(), Some("us-east-1a"));
    assert_eq!(item(&model, "instance-life-cycle").as_deref(), Some("spot"));
    let told = document(&model);
    let known = ["instanceId", "region", "availabilityZone", "accountId", "pendingTime"].map(|name| &told[name]);
    assert_eq!(known, ["i-0abc", "us-east-1", "us-east-1a", "123456789012", "2026-11-24T08:00:00Z"]);
    assert!(["instanceType", "imageId", "architecture"].iter().all(|name| told[name].is_string()));
    let started = Some("2026-11-25T08:00:00Z".to_owned());
    model.set_instance(ImdsInstance { pending_time: started, life_cycle: None, ..ImdsInstance::spot("i-0abc") });
    assert_eq!(document(&model)["pendingTime"], "2026-11-25T08:00:00Z");
    assert_eq!(item(&model, "instance-life-cycle"), None);
    model.set_instance(ImdsInstance { pending_time: None, ..ImdsInstance::spot("i-0abc") });
    assert!(document(&model).get("pendingTime").is_none());
}

#[test]
fn what_is_not_there_is_404() {
    let model = ImdsModel::start();
    for path in [
        "spot/instance-action",
        "spot/termination-time",
        "events/recommendations/rebalance",
        "autoscaling/target-lifecycle-state",
        "tags/instance",
        "tags/instance/Name",
        "iam/security-credentials/",
        "iam/security-credentials/role",
        "nothing",
    ] {
        assert_eq!(item(&model, path), None, "{path}");
    }
    assert_eq!(get(&model, &token(&model), "/").status, 404);
}

#[test]
fn a_notice_is_given_and_taken_back() {
    let model = ImdsModel::start();
    model.notice("terminate", "2026-11-24T08:02:00Z");
    let told = item(&model, "spot/instance-action").unwrap();
    assert_eq!(told, r#"{"action":"terminate","time":"2026-11-24T08:02:00Z"}"#);
    assert_eq!(item(&model, "spot/termination-time").as_deref(), Some("2026-11-24T08:02:00Z"));
    model.notice("stop", "2026-11-24T08:02:00Z");
    assert!(item(&model, "spot/instance-action").unwrap().contains("stop"));
    assert_eq!(item(&model, "spot/termination-time"), None);
    model.set("spot/instance-action", None);
    assert_eq!(item(&model, "spot/instance-action"), None);
    model.set("spot/instance-action", Some("{not json"));
    assert_eq!(item(&model, "spot/instance-action").as_deref(), Some("{not json"));
    model.notice("hibernate", "2026-11-24T08:02:00Z");
    assert!(item(&model, "spot/instance-action").unwrap().contains("hibernate"));
}

#[test]
fn a_moving_notice_is_always_two_minutes_ahead() {
    let model = ImdsModel::start();
    model.moving_notice("terminate");
    for _ in 0..2 {
        let before = Timestamp::now().as_second();
        let told: serde_json::Value = serde_json::from_str(&item(&model, "spot/instance-action").unwrap()).unwrap();
        let bounds = before + 120..=Timestamp::now().as_second() + 120;
        assert!(bounds.contains(&moment(told["time"].as_str().unwrap()).as_second()), "{told} is not {bounds:?}");
    }
}

#[test]
fn any_item_can_be_set() {
    let model = ImdsModel::start();
    model.set("events/recommendations/rebalance", Some("{\"noticeTime\":\"2026-11-24T08:00:00Z\"}"));
    assert!(item(&model, "events/recommendations/rebalance").unwrap().contains("noticeTime"));
    model.set("instance-id", None);
    assert_eq!(item(&model, "instance-id"), None);
    model.lifecycle_state(Some("Terminated"));
    assert_eq!(item(&model, "autoscaling/target-lifecycle-state").as_deref(), Some("Terminated"));
    model.lifecycle_state(None);
    assert_eq!(item(&model, "autoscaling/target-lifecycle-state"), None);
}

#[test]
fn tags_are_listed_and_read_by_key() {
    let model = ImdsModel::start();
    let tags = [("aws:autoscaling:groupName", "a b"), ("Name", "n")].map(|(key, value)| (key.into(), value.into()));
    model.set_instance(ImdsInstance { tags: Some(tags.into()), ..ImdsInstance::spot("i-1") });
    assert_eq!(item(&model, "tags/instance/").as_deref(), Some("aws:autoscaling:groupName\nName"));
    assert_eq!(item(&model, "tags/instance/aws:autoscaling:groupName").as_deref(), Some("a b"));
    assert_eq!(item(&model, "tags/instance/aws%3Aautoscaling%3AgroupName").as_deref(), Some("a b"));
    assert_eq!(item(&model, "tags/instance/other"), None);
}

#[test]
fn a_role_has_credentials_for_six_hours() {
    let model = ImdsModel::start();
    let instance = ImdsInstance { role: Some("watcher".to_owned()), ..ImdsInstance::spot("i-1234567890abcdef0") };
    model.set_instance(instance.clone());
    assert_eq!(item(&model, "iam/security-credentials/").as_deref(), Some("watcher"));
    assert_eq!(item(&model, "iam/security-credentials/other"), None);
    let before = Timestamp::now().as_second();
    let text = item(&model, "iam/security-credentials/watcher").unwrap();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["Code"], "Success");
    assert_eq!(told["AccessKeyId"], "ASIA234567890ABCDEF0");
    assert_eq!(told["AccessKeyId"], instance.access_key_id());
    assert_eq!(ImdsInstance::spot("i-1").access_key_id(), "ASIA0000000000000001");
    assert!(told["SecretAccessKey"].is_string() && told["Token"].is_string());
    let expiration = moment(told["Expiration"].as_str().unwrap()).as_second();
    assert!((before..=Timestamp::now().as_second()).contains(&(expiration - 6 * 3600)), "{text}");
}

#[test]
fn faults_come_as_asked_and_end() {
    let model = ImdsModel::start();
    let good = token(&model);
    let path = "/latest/meta-data/instance-id";
    let fail = |fault: ImdsFault| model.fail(Box::new(move |call| (call.method == "GET").then(|| fault.clone())));
    fail(ImdsFault::Status(503));
    assert_eq!(get(&model, &good, path).status, 503);
    assert_eq!(put(&model, &[TTL_ASKED]).status, 200);
    fail(ImdsFault::Body(String::new()));
    assert_eq!((get(&model, &good, path).status, get(&model, &good, path).text()), (200, String::new()));
    for fault in [ImdsFault::Close, ImdsFault::Cut] {
        fail(fault);
        request(&model.endpoint(), "GET", path, &[(TOKEN, &good)], b"").unwrap_err();
    }
    model.recover();
    assert_eq!(get(&model, &good, path).status, 200);
}

#[test]
fn a_request_that_hangs_ends_with_the_model() {
    let model = ImdsModel::start();
    let judged = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&judged);
    model.fail(Box::new(move |_| {
        told.store(true, Ordering::SeqCst);
        Some(ImdsFault::Hang)
    }));
    let mut stream = TcpStream::connect(model.endpoint().trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    crate::wait_until(
        "the request",
        || {
            if judged.load(Ordering::SeqCst) { Ok(()) } else { Err("not judged".to_owned()) }
        },
    );
    drop(model);
    let mut rest = Vec::new();
    // Reset or closed: in any case without an answer.
    drop(stream.read_to_end(&mut rest));
    assert!(rest.is_empty());
}

#[test]
fn a_connection_is_kept_and_every_answer_has_a_date() {
    let model = ImdsModel::start();
    model.date_offset(-3600);
    let before = Timestamp::now().as_second();
    let mut stream = TcpStream::connect(model.endpoint().trim_start_matches("http://")).unwrap();
    stream.write_all(b"PUT /latest/api/token HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["400", "401"]);
    let dates: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Date: ")).collect();
    assert_eq!(dates.len(), 2);
    let shifted = before - 3600..=Timestamp::now().as_second() - 3600;
    for date in dates {
        let at = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", date).unwrap().to_datetime().unwrap();
        let at = at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
        assert!(shifted.contains(&at), "{date} is not {shifted:?}");
    }
}

#[test]
fn calls_are_numbered_and_the_oldest_forgotten() {
    let model = ImdsModel::start();
    let head = || RequestHead::parse(b"GET /x HTTP/1.1\r\n\r\n".to_vec()).unwrap();
    (0..=KEPT).for_each(|_| drop(model.shared.arrived(&head())));
    let calls = model.calls();
    assert_eq!((calls.len(), calls[0].number, model.call_count()), (KEPT, 2, KEPT as u64 + 1));
    assert_eq!((calls[0].path.as_str(), calls[0].token, calls[0].forwarded), ("/x", TokenSeen::None, false));
    assert!(calls.is_sorted_by_key(|call| call.at));
}

//! Trouble with the instance metadata: told twice, at its beginning and its end, and never the end of the watch.

use crate::events::{events, kinds, of_kind, wait_for};
use crate::harness::{Harness, OWN, TARGET, instance};
use std::net::TcpListener;
use std::time::Duration;
use testkit::{ImdsFault, ImdsInstance, TokenSeen, wait_until};

const ACTION: &str = "/latest/meta-data/spot/instance-action";

/// Why the metadata can't be read, and what makes it so.
type Case = (&'static str, fn() -> ImdsFault);

fn faults() -> [Case; 8] {
    [
        ("server_error", || ImdsFault::Status(503)),
        ("server_error", || ImdsFault::Status(500)),
        ("server_error", || ImdsFault::Status(400)),
        ("denied", || ImdsFault::Status(403)),
        ("unauthorized", || ImdsFault::Status(401)),
        ("timeout", || ImdsFault::Hang),
        ("unreachable", || ImdsFault::Close),
        ("unreachable", || ImdsFault::Cut),
    ]
}

#[test]
fn each_fault_is_two_events_and_a_notice_after_it_is_seen() {
    for (reason, fault) in faults() {
        let harness = Harness::new();
        let run = harness.raising().start();
        let _ready = wait_for(&run, "ready", 1);
        harness.imds.fail(Box::new(move |_| Some(fault())));
        let degraded = wait_for(&run, "degraded", 1);
        // On a machine that is busy any request may be too late as well.
        let told = degraded["reason"].as_str().unwrap();
        assert!([reason, "timeout"].contains(&told), "{degraded}");
        let calls = harness.imds.call_count();
        wait_until("more polls", || {
            let more = harness.imds.call_count() - calls;
            if more > 12 { Ok(()) } else { Err(more.to_string()) }
        });
        harness.notice("terminate", 120);
        harness.imds.recover();
        let _done = wait_for(&run, "done", 1);
        let seen = events(&run.stdout_so_far());
        assert_eq!(of_kind(&seen, "degraded").len(), 1, "{reason}");
        assert_eq!(of_kind(&seen, "recovered").len(), 1, "{reason}");
        assert!(of_kind(&seen, "recovered")[0]["missed"].as_u64() >= of_kind(&seen, "degraded")[0]["missed"].as_u64());
        assert_eq!(harness.risen(), 1, "{reason}");
    }
}

#[test]
fn two_missed_polls_are_not_told() {
    let harness = Harness::new();
    let run = harness.raising().start();
    let _ready = wait_for(&run, "ready", 1);
    // Within one poll the item is asked for again: a single fault is not even a missed poll.
    let first = harness.imds.call_count() + 3;
    harness.imds.fail(Box::new(move |call| (call.number == first).then_some(ImdsFault::Close)));
    wait_until("polls after it", || {
        let more = harness.imds.call_count() - first.min(harness.imds.call_count());
        if more > 20 { Ok(()) } else { Err(more.to_string()) }
    });
    harness.notice("terminate", 120);
    let _done = wait_for(&run, "done", 1);
    assert_eq!(kinds(&events(&run.stdout_so_far())), ["ready", "notice", "capacity", "done"]);
}

#[test]
fn garbage_is_no_notice_and_is_told() {
    for body in ["", "none", "<html>captive portal</html>", "{\"action\":", "{}", "\u{1b}[31m"] {
        let harness = Harness::new();
        let run = harness.raising().start();
        // Trouble is reported once, with its first reason. On a busy machine that may be another one: try again then.
        for trouble in 1.. {
            harness.imds.set("spot/instance-action", Some(body));
            let degraded = wait_for(&run, "degraded", trouble);
            if degraded["reason"] == "garbage" {
                break;
            }
            assert_eq!(degraded["reason"], "timeout", "{body:?}");
            harness.imds.set("spot/instance-action", None);
            wait_for(&run, "recovered", trouble);
        }
        assert!(!String::from_utf8_lossy(&run.stderr_so_far()).contains('\u{1b}'));
        harness.notice("terminate", 120);
        let _done = wait_for(&run, "done", 1);
        assert_eq!(harness.risen(), 1, "{body:?}");
    }
}

#[test]
fn a_token_that_ended_is_replaced_once_and_never_sent_beside_another() {
    let harness = Harness::new();
    let run = harness.raising().start();
    let _ready = wait_for(&run, "ready", 1);
    for _ in 0..5 {
        let calls = harness.imds.call_count();
        harness.imds.expire_tokens();
        wait_until("polls with a new token", || {
            let more = harness.imds.call_count() - calls;
            if more > 10 { Ok(()) } else { Err(more.to_string()) }
        });
    }
    run.terminate();
    let run = run.wait().killed_by(15);
    assert_eq!(kinds(&events(&run.stdout)), ["ready"]);
    let calls = harness.imds.calls();
    let puts = calls.iter().filter(|call| call.method == "PUT").count();
    // The SDK has a client of its own for what it needs.
    assert!((6..=8).contains(&puts), "{puts}");
    assert!(calls.iter().all(|call| call.token != TokenSeen::Twice && !call.forwarded));
}

#[test]
fn no_request_of_version_1_and_none_through_a_proxy() {
    let harness = Harness::new();
    // Credentials are asked for by the SDK, which has a client of its own.
    harness.imds.set_instance(ImdsInstance { role: Some("obelix".to_owned()), ..instance(crate::harness::ID) });
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    // AWS itself would be asked through it, were it not for its name.
    let scaling = harness.scaling.endpoint().replace("127.0.0.1", "localhost");
    let mut tool = harness.raising().env("NO_PROXY", "localhost").env("AWS_ENDPOINT_URL_AUTO_SCALING", scaling);
    tool = tool.env("AWS_ACCESS_KEY_ID", "").env("AWS_REGION", "");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        tool = tool.env(name, &url);
    }
    let run = tool.start();
    let _ready = wait_for(&run, "ready", 1);
    for (_, fault) in faults() {
        harness.imds.fail(Box::new(move |call| (call.number % 3 == 0).then(fault)));
        let calls = harness.imds.call_count();
        wait_until("polls", || {
            let more = harness.imds.call_count() - calls;
            if more > 12 { Ok(()) } else { Err(more.to_string()) }
        });
    }
    harness.imds.recover();
    harness.notice("terminate", 120);
    let _done = wait_for(&run, "done", 1);
    let unsigned = |call: &&testkit::ImdsCall| call.method == "GET" && call.token == TokenSeen::None;
    assert_eq!(harness.imds.calls().iter().find(unsigned).map(|call| call.path.clone()), None);
    assert!(proxy.accept().is_err(), "the proxy was never connected to");
}

#[test]
fn credentials_and_region_of_the_instance() {
    let harness = Harness::new();
    harness.imds.set_instance(ImdsInstance { role: Some("obelix".to_owned()), ..instance("i-0role") });
    harness.notice("terminate", 120);
    let tool = harness.raising().args(["--once", "-v"]);
    // An empty value counts as none.
    let tool = tool.env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", "").env("AWS_REGION", "");
    let run = tool.run().succeeds();
    assert_eq!(harness.risen(), 1);
    let call = harness.scaling.calls().into_iter().find(|call| call.action == "LaunchInstances").unwrap();
    assert!(call.caller.starts_with("ASIA"), "{}", call.caller);
    assert!(!String::from_utf8_lossy(&run.stdout).contains("secret") && !run.stderr_str().contains("secret"));
}

/// Signatures are made with AWS's time, as the metadata tell it.
#[test]
fn a_machine_whose_clock_is_wrong() {
    let harness = Harness::new();
    harness.imds.date_offset(7200);
    let time = crate::harness::ahead(7200 + 100);
    harness.imds.notice("terminate", &time);
    let run = harness.raising().arg("--once").run().succeeds();
    let notice = &of_kind(&events(&run.stdout), "notice")[0];
    let left = notice["deadline_ms"].as_u64().unwrap();
    assert!(left > 50_000 && left <= 101_000, "by AWS's time there are 100 s: {left}");
}

#[test]
fn without_metadata_once_is_temporary_and_watching_goes_on() {
    let harness = Harness::new();
    harness.imds.fail(Box::new(|_| Some(ImdsFault::Status(503))));
    let run = harness.raising().arg("--once").run().fails_with(75);
    assert_eq!(kinds(&events(&run.stdout)), ["degraded"]);
    let _told = run.stderr_contains("spot-watch: unable to read the instance metadata");

    let run = harness.raising().start();
    let degraded = wait_for(&run, "degraded", 1);
    assert!(degraded["instance_id"].is_null());
    harness.imds.recover();
    harness.notice("terminate", 120);
    let _done = wait_for(&run, "done", 1);
    assert_eq!(harness.risen(), 1);

    let off = harness.raising().env("AWS_EC2_METADATA_DISABLED", "true").run().fails_with(1).stderr_is_one_line();
    let _told = off.stderr_contains("AWS_EC2_METADATA_DISABLED");
    let wrong = harness.raising().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "169.254.169.254").run().fails_with(1);
    let _told = wrong.stderr_is_one_line().stderr_contains("AWS_EC2_METADATA_SERVICE_ENDPOINT");
}

/// The group that the tag of the own group names, found through Auto Scaling where the instance may not read its tags.
#[test]
fn the_group_from_a_tag() {
    let harness = Harness::new();
    harness.imds.set_instance(ImdsInstance::spot(crate::harness::ID));
    harness.notice("terminate", 120);
    let tagged = || harness.tool().args(["--once", "--raise-from-tag"]);
    let run = tagged().arg("spot-watch:ondemand-asg").run().succeeds();
    let seen = events(&run.stdout);
    let ready = &of_kind(&seen, "ready")[0];
    assert_eq!((&ready["group"], &ready["target"]), (&OWN.into(), &TARGET.into()));
    assert_eq!(harness.risen(), 1);
    let run = tagged().arg("nope").run().fails_with(1);
    let _told = run.stderr_contains("has no tag nope");
}

#[test]
fn a_slow_answer_is_waited_for() {
    let harness = Harness::new();
    harness.imds.fail(Box::new(|call| {
        if call.path == ACTION {
            std::thread::sleep(Duration::from_millis(30));
        }
        None
    }));
    harness.notice("terminate", 120);
    let _run = harness.raising().arg("--once").run().succeeds();
    assert_eq!(harness.risen(), 1);
}

/// Neither the tags nor the way of buying are needed to see a notice.
#[test]
fn an_item_that_can_not_be_had_hides_none_of_the_others() {
    for hidden in ["tags/instance", "instance-life-cycle"] {
        let harness = Harness::new();
        harness.notice("terminate", 120);
        let hides = move |call: &testkit::ImdsCall| call.path.contains(hidden).then_some(ImdsFault::Status(503));
        harness.imds.fail(Box::new(hides));
        let run = harness.raising().start();
        let _done = wait_for(&run, "done", 1);
        assert_eq!(harness.risen(), 1, "{hidden}");
    }
    let harness = Harness::new();
    harness.imds.set("events/recommendations/rebalance", Some("soon"));
    let run = harness.raising().arg("--rebalance").start();
    let _ready = wait_for(&run, "ready", 1);
    harness.imds.fail(Box::new(|call| (call.path == ACTION).then_some(ImdsFault::Status(500))));
    harness.imds.lifecycle_state(Some("Standby"));
    let _lifecycle = wait_for(&run, "lifecycle", 1);
}

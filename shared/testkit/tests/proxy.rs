//! The proxy: transparent without a fault, exact with one.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::{BUCKET, Client};
use testkit::{Fault, FaultProxy, KillPoint, LIMIT, Plan, S3Model, Tool, wait_until};

fn proxied(plan: Plan) -> (S3Model, FaultProxy, Client) {
    let model = S3Model::start();
    model.create_bucket(BUCKET);
    let proxy = FaultProxy::start(&model.endpoint(), plan);
    let client = Client::of(&proxy.endpoint());
    (model, proxy, client)
}

fn at_first(fault: Fault) -> Plan {
    Plan::At(vec![(1, fault)])
}

#[test]
fn without_faults_nothing_changes() {
    let (model, proxy, s3) = proxied(Plan::None);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    assert_eq!(s3.put("/b/a%20b", &[("x-amz-meta-a", "b")], &body).status(), 200);
    assert_eq!(s3.head("/b/a%20b", &[]).header("content-length"), Some("3000000"));
    assert!(s3.get("/b/a%20b", &[]).body == body);
    assert_eq!(s3.get("/b/none?x-id=GetObject", &[]).error(), (404, "NoSuchKey"));
    assert_eq!(s3.put("/b/e", &[("Expect", "100-continue")], &body).status(), 200);
    assert_eq!(s3.put("/none/e", &[("Expect", "100-continue")], b"x").error(), (404, "NoSuchBucket"));
    assert_eq!(s3.delete("/b/e", &[]).status(), 204);
    assert_eq!(model.objects(BUCKET).len(), 1);
    assert_eq!(proxy.count(), 7);
    let log = proxy.log();
    assert_eq!(log.iter().map(|seen| seen.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((log[3].path.as_str(), log[3].query.as_str()), ("/b/none", "x-id=GetObject"));
    assert_eq!((log[3].status, log[3].upstream_status, &log[3].fault), (Some(404), Some(404), &None));
}

/// What the upstream receives must be what the client signed.
#[test]
fn heads_and_bodies_pass_byte_for_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut seen = Vec::new();
        while !seen.ends_with(b"0\r\nTrailer: x\r\n\r\n") {
            let mut block = [0; 1024];
            let count = stream.read(&mut block).unwrap();
            seen.extend_from_slice(&block[..count]);
        }
        told.send(seen).unwrap();
        stream.write_all(b"HTTP/1.1 200 Fine\r\nX-Odd-CASE:  spaced \r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let proxy = FaultProxy::start(&upstream, Plan::None);
    let mut client = TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).unwrap();
    let request = b"PUT /b/%2e%2E//x?b&a=%20 HTTP/1.1\r\nHOST: signed.example:9\r\nx-B:1\r\nX-a:  2\r\n\
                    Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n";
    client.write_all(request).unwrap();
    assert_eq!(String::from_utf8(heard.recv().unwrap()).unwrap(), String::from_utf8(request.to_vec()).unwrap());
    let mut answer = [0; 70];
    let expected = b"HTTP/1.1 200 Fine\r\nX-Odd-CASE:  spaced \r\nContent-Length: 2\r\n\r\nok";
    client.read_exact(&mut answer[..expected.len()]).unwrap();
    assert_eq!(&answer[..expected.len()], expected);
}

#[test]
fn refusals_never_reach_the_upstream() {
    let cases = [
        (Fault::Conflict, 409, "ConditionalRequestConflict"),
        (Fault::SpuriousPrecondition, 412, "PreconditionFailed"),
        (Fault::SlowDown, 503, "SlowDown"),
        (Fault::ErrorIn200, 200, "InternalError"),
        (Fault::status(403, "AccessDenied"), 403, "AccessDenied"),
        (Fault::status(400, "ExpiredToken"), 400, "ExpiredToken"),
        (Fault::status(403, "RequestTimeTooSkewed"), 403, "RequestTimeTooSkewed"),
    ];
    for (fault, status, code) in cases {
        let (model, proxy, s3) = proxied(at_first(fault.clone()));
        assert_eq!(s3.put("/b/k", &[], &vec![1; 600_000]).error(), (status, code));
        assert!(model.objects(BUCKET).is_empty(), "{fault:?}");
        assert_eq!(s3.put("/b/k", &[("Expect", "100-continue")], b"x").status(), 200);
        let log = proxy.log();
        assert_eq!((log[0].status, log[0].upstream_status, &log[0].fault), (Some(status), None, &Some(fault)));
    }
}

#[test]
fn a_lost_reply_was_committed() {
    let (model, proxy, s3) = proxied(at_first(Fault::LostReply));
    let err = s3.try_send("PUT", "/b/k", &[("If-None-Match", "*")], b"x").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "x");
    assert_eq!((proxy.log()[0].status, proxy.log()[0].upstream_status), (None, Some(200)));
    // The retry meets what the first one left.
    assert_eq!(s3.put("/b/k", &[("If-None-Match", "*")], b"x").error(), (412, "PreconditionFailed"));
}

#[test]
fn an_error_in_200_may_come_after_the_commit() {
    let (model, _proxy, s3) =
        proxied(Plan::Custom(Box::new(|info| info.is_complete().then_some(Fault::ErrorIn200AfterCommit))));
    let id = s3.create("k", &[]);
    let part = s3.part("k", &id, 1, b"x");
    assert_eq!(s3.complete("k", &id, &[], &[(1, &part)]).error(), (200, "InternalError"));
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "x");
}

#[test]
fn a_reset_is_a_reset() {
    let (model, _proxy, s3) = proxied(at_first(Fault::Reset));
    let err = s3.try_send("PUT", "/b/k", &[], b"x").unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{err:?}");
    assert!(model.objects(BUCKET).is_empty());
}

#[test]
fn a_stalled_request_is_never_answered() {
    let (model, proxy, _s3) = proxied(at_first(Fault::Stall));
    let mut client = TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).unwrap();
    client.write_all(b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let err = client.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{err:?}");
    assert!(model.objects(BUCKET).is_empty());
    // The end of the proxy ends the wait.
    drop(proxy);
    client.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn bodies_can_be_spoilt() {
    let body: Vec<u8> = (0..600_000_u32).map(|n| (n % 253) as u8).collect();
    let spoil = |fault: Fault| {
        let (model, proxy, s3) = proxied(at_first(fault));
        model.put_raw(BUCKET, "k", body.clone());
        (s3.try_send("GET", "/b/k", &[], b""), proxy.log())
    };
    let corrupt = spoil(Fault::CorruptBody { offset: 500_000 }).0.unwrap();
    let wrong: Vec<_> = (0..body.len()).filter(|n| corrupt.body[*n] != body[*n]).collect();
    assert_eq!((wrong, corrupt.body[500_000]), (vec![500_000], body[500_000] ^ 1));
    assert!(spoil(Fault::CorruptBody { offset: 600_000 }).0.unwrap().body == body);
    assert_eq!(spoil(Fault::TruncateBody { at: 300_000 }).0.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(spoil(Fault::TruncateBody { at: 0 }).0.unwrap_err().kind(), ErrorKind::UnexpectedEof);

    let started = Instant::now();
    let slow = spoil(Fault::Slow { bytes_per_second: 1_500_000 }).0.unwrap();
    assert!(slow.body == body && started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
}

#[test]
fn uploads_can_be_slow_too() {
    let (_model, _proxy, s3) = proxied(at_first(Fault::Slow { bytes_per_second: 1_500_000 }));
    let started = Instant::now();
    assert_eq!(s3.put("/b/k", &[], &vec![1; 600_000]).status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
}

#[test]
fn random_faults_are_those_aws_may_answer_and_can_be_replayed() {
    let faults = |seed| {
        let (_model, proxy, s3) = proxied(Plan::Random { seed, percent: 40 });
        for n in 0..60 {
            drop(s3.try_send("PUT", &format!("/b/{n}"), &[("If-None-Match", "*")], b"x"));
            drop(s3.try_send("GET", &format!("/b/{n}"), &[], b""));
            drop(s3.try_send("POST", &format!("/b/{n}?uploadId=x"), &[], b"x"));
        }
        proxy.log()
    };
    let log = faults(3);
    assert_eq!(log, faults(3));
    assert_ne!(
        log.iter().map(|seen| &seen.fault).collect::<Vec<_>>(),
        faults(4).iter().map(|seen| &seen.fault).collect::<Vec<_>>()
    );
    let hit = log.iter().filter(|seen| seen.fault.is_some()).count();
    assert!((40..=105).contains(&hit), "{hit} of 180");
    let met = |fault: &Fault| {
        log.iter()
            .filter(|seen| seen.fault.as_ref() == Some(fault))
            .map(|seen| seen.method.as_str())
            .collect::<Vec<_>>()
    };
    assert!(!met(&Fault::SlowDown).is_empty() && !met(&Fault::LostReply).is_empty() && !met(&Fault::Reset).is_empty());
    assert!(!met(&Fault::Conflict).is_empty() && met(&Fault::Conflict).iter().all(|method| *method == "PUT"));
    assert!(!met(&Fault::ErrorIn200).is_empty() && met(&Fault::ErrorIn200).iter().all(|method| *method == "POST"));
    let (_model, proxy, s3) = proxied(Plan::Random { seed: 1, percent: 0 });
    (0..50).for_each(|_| assert_eq!(s3.get("/b/none", &[]).status(), 404));
    assert!(proxy.log().iter().all(|seen| seen.fault.is_none()));
}

#[test]
fn hooks_run_at_their_point() {
    let (model, proxy, s3) = proxied(Plan::None);
    let (told, heard) = mpsc::channel();
    let model_then = std::sync::Arc::new(model);
    let look = |name: &'static str| {
        let (told, model) = (told.clone(), std::sync::Arc::clone(&model_then));
        Box::new(move || told.send((name, model.object(BUCKET, "k").map(|object| object.body))).unwrap())
    };
    proxy.on_request(1, KillPoint::BeforeForward, look("before"));
    proxy.on_request(2, KillPoint::AfterCommit, look("after commit"));
    proxy.on_request(2, KillPoint::AfterReply, look("after reply"));
    let model = std::sync::Arc::clone(&model_then);
    proxy.on_match(
        Box::new(|info| info.is_put_object() && info.is_conditional()),
        KillPoint::Interleave,
        Box::new(move || drop(model.put_raw(BUCKET, "k", "somebody else's"))),
    );
    // Never reaches the upstream, and is never answered.
    assert!(s3.try_send("PUT", "/b/k", &[], b"1").is_err());
    assert_eq!(heard.recv_timeout(LIMIT).unwrap(), ("before", None));
    assert!(model_then.objects(BUCKET).is_empty());
    assert_eq!(s3.put("/b/k", &[], b"2").status(), 200);
    assert_eq!(heard.recv_timeout(LIMIT).unwrap(), ("after commit", Some("2".into())));
    assert_eq!(heard.recv_timeout(LIMIT).unwrap(), ("after reply", Some("2".into())));
    let etag = s3.head("/b/k", &[]).header("etag").unwrap().to_owned();
    assert_eq!(s3.put("/b/k", &[("If-Match", &etag)], b"3").error(), (412, "PreconditionFailed"));
    assert_eq!(model_then.object(BUCKET, "k").unwrap().body, "somebody else's");
}

/// What the hooks are for: a process that dies between the commit and the answer.
#[test]
fn a_process_can_be_killed_at_its_nth_request() {
    let (model, proxy, _s3) = proxied(Plan::None);
    let address = proxy.endpoint().trim_start_matches("http://").replace(':', "/");
    let script = format!(
        "exec 3<>/dev/tcp/{address}; printf 'PUT /b/k HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1\\r\\n\\r\\nx' >&3; exec cat <&3"
    );
    let (told, heard) = mpsc::channel();
    let (sender, receiver) = mpsc::channel::<testkit::Running>();
    proxy.on_request(
        1,
        KillPoint::AfterCommit,
        Box::new(move || {
            let mut running = receiver.recv().unwrap();
            running.kill();
            told.send(running.wait()).unwrap();
        }),
    );
    sender.send(Tool::new("bash").arg("-c").arg(script).start()).unwrap();
    let finished = heard.recv_timeout(LIMIT).unwrap().killed_by(9);
    assert!(finished.stdout.is_empty());
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "x");
    wait_until("the upstream's answer in the log", || match proxy.log()[0].upstream_status {
        Some(200) => Ok(()),
        status => Err(format!("{status:?}")),
    });
}

#[test]
fn plans_can_change_and_upstreams_can_be_down() {
    let (model, proxy, s3) = proxied(Plan::None);
    assert_eq!(s3.put("/b/k", &[], b"x").status(), 200);
    proxy.set_plan(Plan::At(vec![(2, Fault::SlowDown)]));
    assert_eq!(s3.get("/b/k", &[]).error(), (503, "SlowDown"));
    drop(model);
    assert!(s3.try_send("GET", "/b/k", &[], b"").is_err());
    assert_eq!(proxy.log()[2].upstream_status, None);
}

/// An upstream may close a connection it finds idle; the client behind the proxy must not notice.
#[test]
fn a_kept_connection_outlives_its_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = FaultProxy::start(&format!("http://{}", listener.local_addr().unwrap()), Plan::None);
    let (closed, closes) = mpsc::channel();
    let upstream = thread::spawn(move || {
        for _ in 0..2 {
            let mut stream = listener.accept().unwrap().0;
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let mut client = TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    for _ in 0..2 {
        client.write_all(b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 27];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 204 No Content\r\n\r\n");
        // The client is idle until the upstream has closed.
        closes.recv().unwrap();
    }
    upstream.join().unwrap();
}

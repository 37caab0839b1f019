//! The webhook: told at the notice and at the end, whatever else goes on, and not forgotten when it is away.

use crate::events::{events, of_kind, wait_for};
use crate::harness::Harness;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use testkit::{Finished, wait_until};

/// A webhook that answers as it is told, and keeps what it took.
pub(crate) struct Catcher {
    pub(crate) url: String,
    taken: Arc<Mutex<Vec<serde_json::Value>>>,
}

impl Catcher {
    /// `answer` gives the status of the so-many-th request, from 0; `None` hangs.
    pub(crate) fn start(answer: impl Fn(usize) -> Option<u16> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/services/SECRET-PATH?token=SECRET-TOKEN", listener.local_addr().unwrap());
        let taken: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let Some(body) = body(&stream) else { continue };
                let Some(status) = answer(number) else {
                    // Never answered; the connection stays open.
                    std::mem::forget(stream);
                    continue;
                };
                if (200..300).contains(&status) {
                    kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                let location = "Location: http://127.0.0.1:1/elsewhere\r\n";
                let answer = format!("HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { url, taken }
    }

    pub(crate) fn taken(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }
}

fn body(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// The path of a webhook is its secret.
fn keeps_the_secret(run: &Finished) -> bool {
    !String::from_utf8_lossy(&run.stdout).contains("SECRET") && !run.stderr_str().contains("SECRET")
}

fn sorted(mut kinds: Vec<String>) -> Vec<String> {
    kinds.sort();
    kinds
}

#[test]
fn the_notice_and_its_end() {
    let (harness, catcher) = (Harness::new(), Catcher::start(|_| Some(200)));
    harness.notice("terminate", 120);
    let run = harness.raising().args(["--once", "--notify", &catcher.url]).run().succeeds();
    assert_eq!(sorted(catcher.taken()), ["done", "notice"]);
    let seen = events(&run.stdout);
    let told = of_kind(&seen, "notify");
    assert_eq!(
        told.iter().map(|event| event["outcome"].as_str().unwrap()).collect::<Vec<_>>(),
        ["delivered", "delivered"]
    );
    assert!(keeps_the_secret(&run), "{}", run.report());
    let done = of_kind(&seen, "done").pop().unwrap();
    assert_eq!(catcher.taken.lock().unwrap().iter().find(|event| event["event"] == "done"), Some(&done));
    assert_eq!(unsent(&harness), 0);
}

/// Messages that wait for the next start.
fn unsent(harness: &Harness) -> usize {
    let kept = std::fs::read_dir(harness.state().join("unsent")).unwrap().flatten();
    kept.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "json")).count()
}

#[test]
fn one_that_stumbles_is_told_again() {
    let (harness, catcher) = (Harness::new(), Catcher::start(|number| Some([503, 429, 500, 200][number.min(3)])));
    harness.notice("terminate", 120);
    let run = harness.raising().args(["--once", "--notify", &catcher.url]).run().succeeds();
    assert_eq!(sorted(catcher.taken()), ["done", "notice"]);
    let attempts: u64 =
        of_kind(&events(&run.stdout), "notify").iter().map(|event| event["attempts"].as_u64().unwrap()).sum();
    assert_eq!(attempts, 5);
}

#[test]
fn one_that_refuses_is_not_asked_again() {
    for status in [400, 404, 302] {
        let (harness, catcher) = (Harness::new(), Catcher::start(move |_| Some(status)));
        harness.notice("terminate", 120);
        let run = harness.raising().args(["--once", "--notify", &catcher.url]).run().succeeds();
        let told = of_kind(&events(&run.stdout), "notify");
        assert_eq!((told.len(), &told[0]["outcome"], &told[0]["attempts"]), (2, &"refused".into(), &1.into()));
        assert_eq!(harness.risen(), 1);
    }
}

/// Neither the rise nor the end of the work waits for a webhook that hangs.
#[test]
fn one_that_hangs_holds_nothing_up() {
    let (harness, catcher) = (Harness::new(), Catcher::start(|_| None));
    harness.notice("terminate", 120);
    let run = harness.raising().args(["--notify", &catcher.url]).start();
    let _done = wait_for(&run, "done", 1);
    assert_eq!(harness.risen(), 1);
    assert_eq!(of_kind(&events(&run.stdout_so_far()), "notify").len(), 0);
}

#[test]
fn what_was_not_delivered_is_delivered_by_the_next_start() {
    let harness = Harness::new();
    harness.notice("terminate", 2);
    let run = harness.raising().args(["--once", "--notify", "http://127.0.0.1:1/SECRET"]).run().succeeds();
    let told = of_kind(&events(&run.stdout), "notify");
    assert!(told.iter().all(|event| event["outcome"] == "unsent" && event["to"] == "http://127.0.0.1:1"), "{told:?}");
    assert!(keeps_the_secret(&run), "{}", run.report());
    assert_eq!(unsent(&harness), 2);

    let catcher = Catcher::start(|_| Some(204));
    let run = harness.raising().args(["--once", "--notify", &catcher.url]).run().succeeds();
    assert_eq!(catcher.taken(), ["notice", "done"], "in the order in which they happened");
    assert_eq!(of_kind(&events(&run.stdout), "notify").len(), 2);
    assert_eq!(unsent(&harness), 0);
    assert_eq!(harness.risen(), 1);
}

#[test]
fn a_run_that_dies_leaves_its_message_to_the_next() {
    let (harness, hanging) = (Harness::new(), Catcher::start(|_| None));
    harness.notice("terminate", 120);
    let mut run = harness.raising().args(["--notify", &hanging.url]).start();
    let _done = wait_for(&run, "done", 1);
    wait_until("both messages kept", || {
        let kept = unsent(&harness);
        if kept == 2 { Ok(()) } else { Err(kept.to_string()) }
    });
    harness.await_done_on_disk();
    run.kill();
    let catcher = Catcher::start(|_| Some(200));
    let _run = harness.raising().args(["--once", "--notify", &catcher.url]).run().succeeds();
    assert_eq!(catcher.taken(), ["notice", "done"]);
}

//! The proxy in front of a real OpenSearch (`scripts/stack start search`), and the sink.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use testkit::{Answer, BulkFault, BulkPlan, BulkProxy, BulkSink, Dialect, LIMIT, Tool, request, wait_until};

const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// A proxy, the server behind it, and an index of the test's own that goes with it.
struct Stage {
    proxy: BulkProxy,
    server: String,
    index: String,
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(request(&self.server, "DELETE", &format!("/{}", self.index), &[], b""));
    }
}

impl Stage {
    fn new(dialect: Dialect) -> Self {
        let server = std::env::var("SEARCH_URL").expect("SEARCH_URL is set: scripts/stack start search");
        let proxy = BulkProxy::start(&server, dialect);
        Self { proxy, server, index: format!("testkit-{:x}", rand::random::<u64>()) }
    }

    fn body(&self, ids: &[&str]) -> String {
        ids.iter().map(|id| pair(&self.index, id, &json!({ "message": format!("line {id}"), "n": 1 }))).collect()
    }

    fn send(&self, ids: &[&str]) -> std::io::Result<Answer> {
        bulk(&self.proxy.endpoint(), &[NDJSON], self.body(ids).as_bytes())
    }

    /// The ids that the server has, asked for without the proxy.
    fn has(&self, ids: &[&str]) -> Vec<String> {
        let asked = json!({ "ids": ids }).to_string();
        let target = format!("/{}/_mget?_source=false", self.index);
        let answer = request(&self.server, "POST", &target, &[("Content-Type", "application/json")], asked.as_bytes());
        let answer = json_of(&answer.expect("the server answers"));
        let docs = answer["docs"].as_array().into_iter().flatten().filter(|doc| doc["found"] == true);
        docs.filter_map(|doc| doc["_id"].as_str()).map(str::to_owned).collect()
    }

    /// What the log says of the n-th request's items.
    fn told(&self, number: usize) -> Vec<(String, Option<u16>)> {
        let request = &self.proxy.requests()[number - 1];
        assert_eq!(request.number, number as u64);
        assert!(request.items.iter().all(|item| item.index == self.index), "{request:?}");
        request.items.iter().map(|item| (item.id.clone(), item.status)).collect()
    }
}

fn pair(index: &str, id: &str, document: &Value) -> String {
    format!("{}\n{document}\n", json!({ "create": { "_index": index, "_id": id } }))
}

fn bulk(endpoint: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
    request(endpoint, "POST", "/_bulk", headers, body)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("an answer in JSON")
}

/// Id, status and error of every item, in their order.
fn items(answer: &Answer) -> Vec<(String, u64, String)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = json_of(answer)["items"].as_array().cloned().unwrap_or_default();
    let of =
        |item: Value| (text(&item["_id"]), item["status"].as_u64().unwrap_or_default(), text(&item["error"]["type"]));
    items.into_iter().map(|mut item| of(item["create"].take())).collect()
}

fn expected(all: &[(&str, u64, &str)]) -> Vec<(String, u64, String)> {
    all.iter().map(|(id, status, error)| ((*id).to_owned(), *status, (*error).to_owned())).collect()
}

fn told(all: &[(&str, u16)]) -> Vec<(String, Option<u16>)> {
    all.iter().map(|(id, status)| ((*id).to_owned(), Some(*status))).collect()
}

const CONFLICT: &str = "version_conflict_engine_exception";

#[test]
fn without_a_fault_everything_passes() {
    let stage = Stage::new(Dialect::OpenSearch);
    let endpoint = stage.proxy.endpoint();
    let bad = pair(&stage.index, "c", &json!({ "n": "no number" }));
    let body = stage.body(&["a", "b"]) + &bad + &stage.body(&["b"]);
    let answer = bulk(&endpoint, &[NDJSON, GZIP, ("Accept-Encoding", "gzip")], &gzip(body.as_bytes())).unwrap();
    let all = [("a", 201, ""), ("b", 201, ""), ("c", 400, "mapper_parsing_exception"), ("b", 409, CONFLICT)];
    assert_eq!(items(&answer), expected(&all));
    assert_eq!(stage.told(1), told(&[("a", 201), ("b", 201), ("c", 400), ("b", 409)]));
    assert_eq!(stage.has(&["a", "b", "c"]), ["a", "b"]);

    // An answer that is filtered, and an index that the path names.
    let target = format!("/{}/_bulk?filter_path=errors,items.*.status", stage.index);
    let answer = request(&endpoint, "POST", &target, &[NDJSON], b"{\"create\":{\"_id\":\"d\"}}\n{}\n").unwrap();
    assert_eq!(answer.text(), "{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}]}");
    assert_eq!(stage.told(2), told(&[("d", 201)]));

    // What is no bulk request is not counted.
    let get = request(&endpoint, "GET", &format!("/{}/_doc/a", stage.index), &[], b"").unwrap();
    assert_eq!((get.status, json_of(&get)["_source"]["message"].as_str()), (200, Some("line a")));
    let head = |id: &str| request(&endpoint, "HEAD", &format!("/{}/_doc/{id}", stage.index), &[], b"").unwrap();
    assert_eq!((head("a").status, head("none").status), (200, 404));
    assert_eq!(head("a").header("content-length"), get.header("content-length"));
    assert_eq!(stage.proxy.count(), 2);
    assert!(stage.proxy.requests().iter().all(|request| request.fault.is_none() && request.status == Some(200)));
}

#[test]
fn what_it_does_not_understand_is_the_servers() {
    let stage = Stage::new(Dialect::OpenSearch);
    stage.proxy.queue(BulkFault::RefuseAt(vec![0]));
    let malformed = bulk(&stage.proxy.endpoint(), &[NDJSON], (stage.body(&["a"]) + "text\n{}\n").as_bytes()).unwrap();
    assert_eq!((malformed.status, json_of(&malformed)["error"]["type"].as_str()), (400, Some("json_parse_exception")));
    let update = format!("{}\n{{\"doc\":{{}}}}\n", json!({ "update": { "_index": stage.index, "_id": "none" } }));
    let update = bulk(&stage.proxy.endpoint(), &[NDJSON], update.as_bytes()).unwrap();
    assert_eq!(json_of(&update)["items"][0]["update"]["status"], 404, "{}", update.text());
    let half = &gzip(stage.body(&["a"]).as_bytes())[..20];
    assert_eq!(bulk(&stage.proxy.endpoint(), &[NDJSON, GZIP], half).unwrap().status, 400);
    let requests = stage.proxy.requests();
    assert!(requests.iter().all(|request| request.items.is_empty()), "{requests:?}");
    let statuses: Vec<_> = requests.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(400), Some(200), Some(400)]);
}

#[test]
fn refused_items_are_left_out_and_answered_in_their_places() {
    let names = [
        (Dialect::OpenSearch, "rejected_execution_exception"),
        (Dialect::Elasticsearch, "es_rejected_execution_exception"),
    ];
    for (dialect, rejected) in names {
        let stage = Stage::new(dialect);
        stage.send(&["b"]).unwrap();
        stage.proxy.queue(BulkFault::RefuseAt(vec![0, 3]));
        let body = stage.body(&["a", "b", "c", "d"]) + &pair(&stage.index, "e", &json!({ "n": "no number" }));
        let answer = bulk(&stage.proxy.endpoint(), &[NDJSON, GZIP], &gzip(body.as_bytes())).unwrap();
        let all = [
            ("a", 429, rejected),
            ("b", 409, CONFLICT),
            ("c", 201, ""),
            ("d", 429, rejected),
            ("e", 400, "mapper_parsing_exception"),
        ];
        assert_eq!(items(&answer), expected(&all));
        assert_eq!(json_of(&answer)["errors"], true);
        assert_eq!(json_of(&answer)["items"][3]["create"]["_index"], stage.index);
        assert_eq!(stage.has(&["a", "b", "c", "d", "e"]), ["b", "c"]);
        assert_eq!(stage.told(2), told(&[("a", 429), ("b", 409), ("c", 201), ("d", 429), ("e", 400)]));
        // Once: the next request passes.
        assert_eq!(items(&stage.send(&["a", "d"]).unwrap()), expected(&[("a", 201, ""), ("d", 201, "")]));

        stage.proxy.queue(BulkFault::RefuseSome { percent: 100, seed: 1 });
        assert_eq!(items(&stage.send(&["f", "g"]).unwrap()), expected(&[("f", 429, rejected), ("g", 429, rejected)]));
        assert!(stage.has(&["f", "g"]).is_empty());
    }
}

#[test]
fn a_client_that_sends_only_the_refused_again_ends_with_everything() {
    let seed = testkit::Seed::from_env_or_random("bulk-resend");
    let stage = Stage::new(Dialect::OpenSearch);
    let names: Vec<String> = (0..200).map(|n| format!("h/f/{n}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut left = all.clone();
    let mut rounds = 0;
    while !left.is_empty() {
        // Of the last one, one is always refused.
        if left.len() > 1 {
            stage.proxy.queue(BulkFault::RefuseSome { percent: 60, seed: seed.part(rounds).0 });
        }
        let answered = items(&stage.send(&left).unwrap());
        assert!(answered.iter().all(|(_, status, _)| [201, 429].contains(status)), "{answered:?}");
        left = left.into_iter().zip(&answered).filter(|(_, told)| told.1 == 429).map(|(id, _)| id).collect();
        rounds += 1;
    }
    assert!(rounds > 2, "{rounds} rounds");
    assert_eq!(stage.has(&all), all);
    let mut created = BTreeSet::new();
    for item in stage.proxy.requests().into_iter().flat_map(|request| request.items) {
        assert!(!created.contains(&item.id), "{} was sent again", item.id);
        if item.status == Some(201) {
            created.insert(item.id);
        }
    }
    assert_eq!(created.len(), all.len());
}

#[test]
fn whole_requests_are_refused() {
    let stage = Stage::new(Dialect::Elasticsearch);
    for (status, retry_after, name) in [
        (429, Some(3), "es_rejected_execution_exception"),
        (429, None, "es_rejected_execution_exception"),
        (503, Some(0), "cluster_block_exception"),
        (503, None, "cluster_block_exception"),
    ] {
        stage.proxy.queue(BulkFault::Busy { status, retry_after });
        let answer = stage.send(&["a"]).unwrap();
        let text = json_of(&answer);
        assert_eq!((answer.status, text["status"].as_u64()), (status, Some(u64::from(status))));
        assert_eq!(text["error"]["type"], name);
        assert_eq!(answer.header("retry-after").map(str::to_owned), retry_after.map(|seconds| seconds.to_string()));
    }
    // The index was never asked for.
    assert_eq!(request(&stage.server, "HEAD", &format!("/{}", stage.index), &[], b"").unwrap().status, 404);
    let requests = stage.proxy.requests();
    assert_eq!(requests.iter().map(|request| request.status).collect::<Vec<_>>(), [429, 429, 503, 503].map(Some));
    assert!(requests.iter().all(|request| request.items[0].status.is_none()));
}

#[test]
fn answers_are_lost_and_cut_when_the_server_has_it_all() {
    let stage = Stage::new(Dialect::OpenSearch);
    stage.proxy.queue(BulkFault::LostReply);
    stage.proxy.queue(BulkFault::Truncated);
    assert_eq!(stage.send(&["a", "b"]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(stage.has(&["a", "b"]), ["a", "b"]);
    assert_eq!(stage.send(&["c", "d"]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(stage.has(&["c", "d"]), ["c", "d"]);
    let again = stage.send(&["a", "d"]).unwrap();
    assert_eq!(items(&again), expected(&[("a", 409, CONFLICT), ("d", 409, CONFLICT)]));
    let requests = stage.proxy.requests();
    assert_eq!(requests.iter().map(|request| request.status).collect::<Vec<_>>(), [None, None, Some(200)]);
    assert!(requests[..2].iter().flat_map(|request| &request.items).all(|item| item.status.is_none()));
}

#[test]
fn answers_wait() {
    let stage = Stage::new(Dialect::OpenSearch);
    stage.proxy.queue(BulkFault::Stall(Duration::from_millis(300)));
    let started = Instant::now();
    assert_eq!(items(&stage.send(&["a"]).unwrap()), expected(&[("a", 201, "")]));
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());

    let held = |count: usize| {
        wait_until("answers that wait", || match stage.proxy.waiting() {
            waiting if waiting == count => Ok(()),
            waiting => Err(waiting.to_string()),
        });
    };
    stage.proxy.set_plan(BulkPlan::Always(BulkFault::Hold));
    std::thread::scope(|scope| {
        let one = scope.spawn(|| stage.send(&["b"]));
        held(1);
        // The server has it, the client does not know.
        assert_eq!((stage.has(&["b"]), stage.proxy.requests()[1].status), (vec!["b".to_owned()], None));
        stage.proxy.queue(BulkFault::Stall(LIMIT * 60));
        let other = scope.spawn(|| stage.send(&["c"]));
        held(2);
        stage.proxy.release();
        assert_eq!(items(&one.join().unwrap().unwrap()), expected(&[("b", 201, "")]));
        assert_eq!(items(&other.join().unwrap().unwrap()), expected(&[("c", 201, "")]));
        held(0);
    });
    assert_eq!((stage.told(2), stage.told(3)), (told(&[("b", 201)]), told(&[("c", 201)])));
}

#[test]
fn the_end_of_the_proxy_ends_the_wait() {
    let mut stage = Stage::new(Dialect::OpenSearch);
    stage.proxy.queue(BulkFault::Hold);
    let (endpoint, body) = (stage.proxy.endpoint(), stage.body(&["a"]));
    let client = std::thread::spawn(move || bulk(&endpoint, &[NDJSON], body.as_bytes()));
    wait_until("an answer that waits", || if stage.proxy.waiting() == 1 { Ok(()) } else { Err(String::new()) });
    stage.proxy = BulkProxy::start(&stage.server, Dialect::OpenSearch);
    // Answered or closed, but not left waiting.
    drop(client.join().unwrap());
    assert_eq!(stage.has(&["a"]), ["a"]);
}

#[test]
fn a_liar_keeps_nothing() {
    let stage = Stage::new(Dialect::OpenSearch);
    stage.proxy.queue(BulkFault::Lie);
    let answer = stage.send(&["a", "a"]).unwrap();
    assert_eq!(items(&answer), expected(&[("a", 201, ""), ("a", 201, "")]));
    assert_eq!(json_of(&answer)["errors"], false);
    assert_eq!(stage.told(1), told(&[("a", 201), ("a", 201)]));
    stage.send(&["b"]).unwrap();
    assert_eq!(stage.has(&["a", "b"]), ["b"]);
}

#[test]
fn a_server_that_is_down_is_a_closed_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let proxy = BulkProxy::start(&nobody, Dialect::OpenSearch);
    let body = pair("i", "a", &json!({}));
    assert_eq!(bulk(&proxy.endpoint(), &[NDJSON], body.as_bytes()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(proxy.requests()[0].status, None);
}

#[test]
fn the_sink_counts_and_keeps_nothing() {
    let sink = BulkSink::start();
    let body: String = ["a", "b", "b\"\u{e9}"].iter().map(|id| pair("i", id, &json!({ "m": "text" }))).collect();
    let all = expected(&[("a", 201, ""), ("b", 201, ""), ("b\"\u{e9}", 201, "")]);
    let answer = bulk(&sink.endpoint(), &[NDJSON, GZIP], &gzip(body.as_bytes())).unwrap();
    assert_eq!(items(&answer), all);
    assert_eq!(json_of(&answer)["items"][2]["create"]["_index"], "i");
    assert_eq!(items(&bulk(&sink.endpoint(), &[NDJSON, ("Expect", "100-continue")], body.as_bytes()).unwrap()), all);
    assert_eq!((sink.documents(), sink.bytes()), (6, 2 * body.len() as u64));

    let short = request(&sink.endpoint(), "POST", "/i/_bulk?filter_path=items.*.status", &[NDJSON], body.as_bytes());
    assert_eq!(json_of(&short.unwrap())["items"][2], json!({ "create": { "status": 201 } }));
    assert_eq!(bulk(&sink.endpoint(), &[NDJSON], b"text\n{}\n").unwrap().status, 400);
    assert_eq!(sink.documents(), 9);
    let root = request(&sink.endpoint(), "GET", "/", &[], b"").unwrap();
    assert_eq!(json_of(&root)["version"]["distribution"], "opensearch");
    assert_eq!(request(&sink.endpoint(), "GET", "/i/_doc/a", &[], b"").unwrap().status, 404);
}

#[test]
fn the_sink_is_a_process_for_scripts() {
    let program = env!("CARGO_BIN_EXE_bulk-sink");
    let running = Tool::new(program).start();
    let line = wait_until("the endpoint", || {
        let seen = String::from_utf8(running.stdout_so_far()).unwrap();
        if seen.ends_with('\n') { Ok(seen) } else { Err(seen) }
    });
    let endpoint = line.trim().strip_prefix("SEARCH_URL=").unwrap().to_owned();
    let body = pair("i", "a", &json!({}));
    assert_eq!(bulk(&endpoint, &[NDJSON], body.as_bytes()).unwrap().status, 200);
    running.terminate();
    let expected = format!("SEARCH_URL={endpoint}\nDOCUMENTS=1\nBYTES={}\n", body.len());
    running.wait().succeeds().stdout_is(&expected);
    Tool::new(program).arg("--port").run().fails_with(2).stdout_is("").stderr_contains("usage: bulk-sink");
}

//! What ends a run, and as what.

use crate::harness::{Harness, Record, check_stats};
use std::io::{Read, Write};
use std::net::TcpListener;
use testkit::{BulkFault, BulkPlan, BulkProxy, Dialect, Tool};

fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("127.0.0.1:{}", listener.local_addr().unwrap().port())
}

#[test]
fn nobody_there() {
    let harness = Harness::new(1);
    harness.produce(&[Record::line("1", "x")]);
    let url = format!("http://{}", closed_port());
    let run = harness.tool_at(&url).args(["--once", "--timeout", "5s"]).run().fails_with(75).stderr_is_one_line();
    let run = run.stderr_contains(&format!("unable to index 1 records at {url}: Connection refused"));
    assert_eq!(check_stats(&run.stdout)["in_flight"], 1);
    assert_eq!(harness.committed(0), None);

    let nowhere = Harness { brokers: closed_port(), ..harness.same() };
    let run = nowhere.tool().args(["--once", "--timeout", "500ms"]).run().fails_with(75).stderr_is_one_line();
    run.stderr_contains(&format!("unable to read topic {}: ", harness.topic));
    let missing = Harness { topic: format!("{}-none", harness.topic), ..harness.same() };
    let run = missing.tool().args(["--once", "--timeout", "1s"]).run().fails_with(75).stderr_is_one_line();
    run.stderr_contains("Unknown topic or partition");
}

/// A server that refuses everything from the first request on was not meant.
#[test]
fn refused_from_the_start() {
    let harness = Harness::new(1);
    harness.produce(&[Record::line("1", "x")]);
    for (status, words) in [(401, "401"), (403, "403"), (404, "404"), (400, "400"), (302, "302")] {
        let proxy = BulkProxy::start(&harness.server, Dialect::OpenSearch);
        proxy.set_plan(BulkPlan::Always(BulkFault::Busy { status, retry_after: None }));
        let run = harness.tool_at(&proxy.endpoint()).run().fails_with(1).stderr_is_one_line();
        run.stderr_contains(&format!("{} refuses to index: {words}", proxy.endpoint()));
    }
    let url = format!("{}/no/such/path", harness.server);
    harness.tool_at(&url).run().fails_with(1).stderr_is_one_line().stderr_contains(" refuses to index: ");
    assert_eq!(harness.committed(0), None);
}

/// Credentials that are taken back while it runs are waited for: nothing is lost.
#[test]
fn refused_later() {
    let harness = Harness::new(1);
    harness.produce(&[Record::line("1", "x")]);
    let proxy = BulkProxy::start(&harness.server, Dialect::OpenSearch);
    let run = harness.tool_at(&proxy.endpoint()).start();
    let says = |what: &str, look: &dyn Fn() -> bool| {
        testkit::wait_until(what, || if look() { Ok(()) } else { Err("not yet".to_owned()) });
    };
    says("the first", &|| harness.ids() == ["1"]);
    proxy.set_plan(BulkPlan::Always(BulkFault::Busy { status: 403, retry_after: None }));
    harness.produce(&[Record::line("2", "x")]);
    says("its words", &|| String::from_utf8_lossy(&run.stderr_so_far()).contains("unable to index 1 records"));
    proxy.set_plan(BulkPlan::None);
    says("the second", &|| harness.ids() == ["1", "2"]);
    run.terminate();
    run.wait().killed_by(15);
}

#[test]
fn credentials() {
    let harness = Harness::new(1);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let none = dir.path().join("none");
    harness.tool().arg("--ca-cert").arg(&none).run().fails_with(1).stderr_contains("unable to read ");
    let text = file("text", "no certificate");
    harness.tool().arg("--ca-cert").arg(&text).run().fails_with(1).stderr_contains("no certificate (PEM) in ");
    let tool = harness.tool().args(["--user", "u", "--password-file"]);
    tool.arg(&none).run().fails_with(1).stderr_is_one_line().stderr_contains("unable to read ");
    let tool = harness.tool().args(["--user", "u", "--password-file"]);
    tool.arg(file("empty", "\n")).run().fails_with(1).stderr_contains("nothing in ");
    harness.tool().args(["--user", "u"]).run().fails_with(2).stderr_contains("SEARCH_PASSWORD");
    harness.tool().arg("--once").env("SEARCH_USER", "").run().succeeds();
    let secret = "s\u{e9}cret\"word";
    let run = harness.tool().args(["--user", "u", "--once", "-v"]).env("SEARCH_PASSWORD", secret);
    harness.produce(&[Record::line("1", "x")]);
    let run = run.run().succeeds();
    assert!(!run.stderr_str().contains(secret));
    let tool = harness.tool().args(["--once", "--api-key-file"]).arg(file("key", "bad\u{1}key"));
    tool.run().fails_with(1).stderr_contains("it holds a line break");
}

/// What a server is shown: the user and password of files and environment, or the key.
#[test]
fn credentials_reach_the_server() {
    let harness = Harness::new(1);
    harness.produce(&[Record::line("1", "x")]);
    let dir = tempfile::tempdir().unwrap();
    let (password, key) = (dir.path().join("password"), dir.path().join("key"));
    std::fs::write(&password, "open:sesame\n").unwrap();
    std::fs::write(&key, "a2V5OnNlY3JldA==\n").unwrap();
    let shown = |options: &dyn Fn(Tool) -> Tool| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut block) = (Vec::new(), [0; 4096]);
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                let count = stream.read(&mut block).unwrap();
                head.extend_from_slice(&block[..count]);
            }
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").unwrap();
            let head = String::from_utf8_lossy(&head).into_owned();
            head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned)
        });
        options(harness.tool_at(&url)).run().fails_with(1).stderr_contains("401");
        server.join().unwrap()
    };
    let of_file = |tool: Tool| tool.args(["--user", "aladdin", "--password-file"]).arg(&password);
    assert_eq!(shown(&of_file).as_deref(), Some("Basic YWxhZGRpbjpvcGVuOnNlc2FtZQ=="));
    let of_environment = |tool: Tool| tool.env("SEARCH_USER", "aladdin").env("SEARCH_PASSWORD", "open:sesame");
    assert_eq!(shown(&of_environment).as_deref(), Some("Basic YWxhZGRpbjpvcGVuOnNlc2FtZQ=="));
    assert_eq!(shown(&|tool| tool.arg("--api-key-file").arg(&key)).as_deref(), Some("ApiKey a2V5OnNlY3JldA=="));
    assert_eq!(shown(&|tool| tool.env("SEARCH_API_KEY", "k")).as_deref(), Some("ApiKey k"));
    assert_eq!(shown(&|tool| tool), None);
}

/// An answer is read as far as one to these documents may go, and no farther.
#[test]
fn an_answer_without_an_end() {
    let harness = Harness::new(1);
    harness.produce(&[Record::line("1", "x")]);
    for (head, words) in [("200 OK", "an answer that has no end"), ("503 Busy", "503")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    // What comes before anything was asked is no answer.
                    drop(stream.read(&mut [0; 4096]));
                    let head = format!("HTTP/1.1 {head}\r\n\r\n");
                    let mut sent = stream.write_all(head.as_bytes());
                    while sent.is_ok() {
                        sent = stream.write_all(&[b'x'; 65536]);
                    }
                });
            }
        });
        let run = harness.tool_at(&url).args(["--once", "--timeout", "5s"]).run().fails_with(75).stderr_is_one_line();
        run.stderr_contains(words);
    }
}

/// What is secret in a wrong URL is not shown, nor that of the environment by the help, nor what a redirection carries.
#[test]
fn secrets_are_not_shown() {
    let tool = || Tool::new(env!("CARGO_BIN_EXE_log-index"));
    let line = ["--brokers", "b:1", "--topic", "t", "--group", "g", "--index", "i"];
    let urls = [
        "http://u:hunter2@s:1",
        "https://hunter2@s",
        "ftp://u:hunter2@s:1",
        "http://u:hunter2@[s",
        "u:hunter2@s:9200",
        "http://s:1/?key=hunter2",
        "http://s:1/#hunter2",
        "hunter2",
    ];
    for url in urls {
        let run = tool().args(line).args(["--url", url]).run().fails_with(2).stderr_is_one_line().stdout_is("");
        assert!(!run.stderr_str().contains("hunter2"), "{}", run.report());
        run.stderr_contains("invalid value for '--url <URL>': ");
        let run = tool().args(line).env("SEARCH_URL", url).run().fails_with(2).stderr_is_one_line();
        assert!(!run.stderr_str().contains("hunter2"), "{}", run.report());
        let run = tool().arg("--help").env("SEARCH_URL", url).run().succeeds();
        assert!(!run.stdout_str().contains("hunter2"), "{}", run.report());
    }
    let harness = Harness::new(1);
    harness.produce(&[Record::line("1", "x")]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut block = [0; 65536];
            drop(stream.read(&mut block));
            let place = "https://u:hunter2@login.example/start?token=hunter2#hunter2";
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    let run = harness.tool_at(&url).run().fails_with(1).stderr_is_one_line().stderr_contains("login.example/start");
    assert!(!run.stderr_str().contains("hunter2"), "{}", run.report());
}

#[test]
fn wrong_usage() {
    let tool = || Tool::new(env!("CARGO_BIN_EXE_log-index"));
    let line = ["--brokers", "b:1", "--topic", "t", "--group", "g", "--url", "http://s:1", "--index", "i"];
    let wrong = |words: &[&str], text: &str| {
        tool().args(line).args(words).run().fails_with(2).stderr_is_one_line().stderr_contains(text);
    };
    wrong(&["--kafka", "no.such.option=1"], "--kafka: no.such.option: ");
    wrong(&["--kafka", "group.id=h"], "group.id can't be changed");
    wrong(&["--dead-letters", "t"], "--dead-letters is the topic that is read");
    wrong(&["--request-size", "1GiB"], "1KiB to 100MiB");
    wrong(&["--requests", "0"], "");
    wrong(&["--timeout", "0s"], "at least 10ms");
    wrong(&["--oldest", "1y"], "expected a duration such as");
    wrong(&["--newest", "9223372036854775807s"], "up to 36500d");
    wrong(&["--blocked-after=-1s"], "expected a duration");
    wrong(&["--max-dead-letters", "101%"], "expected a share");
    wrong(&["--ids", "v3"], "v1, v2");
    wrong(&["--print-template", "--put-template"], "cannot be used with");
    let replaced = |option: &str, value: &str, text: &str| {
        let mut words: Vec<&str> = line.to_vec();
        let place = words.iter().position(|word| *word == option).unwrap();
        words[place + 1] = value;
        tool().args(words).run().fails_with(2).stderr_is_one_line().stderr_contains(text);
    };
    replaced("--url", "http://u:p@s:1", "no user in the URL");
    replaced("--url", "ftp://s:1", "expected a URL such as https://127.0.0.1:9200");
    replaced("--url", "http://s:1?a=b", "without ? and #");
    replaced("--index", "Logs", "no capital letters");
    replaced("--topic", "a b", "letters, digits");
}

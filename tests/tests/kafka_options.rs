//! Options of Kafka, given wrongly in every way that comes to mind, to both tools that take them: what they say names the
//! option, and never holds a value, which may be a password.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::tool;
use std::fs;
use std::path::Path;
use testkit::Tool;

/// The password, in shapes that a message could hold it in.
const SECRET: &str = "Xq7hunter2zW";

/// What is typed, and the file of options; `FILE` stands for its path.
struct Case {
    args: &'static [&'static str],
    file: &'static str,
    /// What the message holds.
    says: &'static str,
}

const fn typed(args: &'static [&'static str], says: &'static str) -> Case {
    Case { args, file: "", says }
}

const fn in_file(file: &'static str, says: &'static str) -> Case {
    Case { args: &["--kafka-file", "FILE"], file, says }
}

const WRONG: [Case; 38] = [
    typed(&["--kafka", "Xq7hunter2zW"], "--kafka: expected KEY=VALUE"),
    typed(&["--kafka", "sasl.password Xq7hunter2zW"], "--kafka: expected KEY=VALUE"),
    typed(&["--kafka", "sasl.password:Xq7hunter2zW"], "--kafka: expected KEY=VALUE"),
    typed(&["--kafka", "=Xq7hunter2zW"], "--kafka: expected KEY=VALUE"),
    typed(&["--kafka", "sasl.password", "=Xq7hunter2zW"], " (see --help)"),
    typed(&["--kafka", "sasl.password=", "Xq7hunter2zW"], " (see --help)"),
    typed(&["--kafka=sasl.password=", "Xq7hunter2zW"], " (see --help)"),
    typed(&["--kafka", "sasl.password", "=", "Xq7hunter2zW"], " (see --help)"),
    typed(&["--kafka", "sasl.pasword=Xq7hunter2zW"], "--kafka: sasl.pasword: librdkafka has no such option"),
    typed(&["--kafka", "SASL.Password=Xq7hunter2zW"], "--kafka: SASL.Password: librdkafka has no such option"),
    typed(&["--kafka", " sasl.password=Xq7hunter2zW"], "--kafka: librdkafka has no such option"),
    typed(&["--kafka", "Xq7hunter2zW=sasl.password"], "--kafka: librdkafka has no such option"),
    typed(&["--kafka", "linger.ms=Xq7hunter2zW"], "--kafka: linger.ms: librdkafka does not take this value"),
    typed(&["--kafka", "socket.keepalive.enable=Xq7hunter2zW"], "socket.keepalive.enable: librdkafka does not take"),
    typed(&["--kafka", "security.protocol=Xq7hunter2zW"], "security.protocol: librdkafka does not take this value"),
    typed(&["--kafka", "debug=Xq7hunter2zW"], "librdkafka does not take this value"),
    typed(&["--kafka", "enable.idempotence=Xq7hunter2zW"], "enable.idempotence"),
    typed(&["--kafka", "bootstrap.servers=Xq7hunter2zW@b:1"], "bootstrap.servers can't be changed"),
    typed(&["--brokers", "ship:Xq7hunter2zW@127.0.0.1:1"], "--brokers: expected host:port"),
    typed(&["--brokers", "127.0.0.1:1,sasl.password=Xq7hunter2zW"], "--brokers: expected host:port"),
    typed(&["--kafka-file", "sasl.password=Xq7hunter2zW"], "--kafka-file: expected a file"),
    typed(&["--sasl.password=Xq7hunter2zW"], "unexpected argument '--sasl.password"),
    typed(&["--kafka", "sasl.username=ship", "sasl.password=Xq7hunter2zW"], "sasl.password=…"),
    typed(&["--timeout", "sasl.password=Xq7hunter2zW"], "invalid value 'sasl.password=…' for '--timeout"),
    typed(&["--kafka", "security.protocol=sasl_plaintext", "--kafka", "sasl.mechanism=Xq7hunter2zW"], "…"),
    typed(&["--kafka", "plugin.library.paths=Xq7hunter2zW"], "--kafka"),
    in_file("sasl.pasword=Xq7hunter2zW\n", "FILE: line 1: sasl.pasword: librdkafka has no such option"),
    in_file("sasl.username=ship\n# none\nsasl.pasword = Xq7hunter2zW\n", "FILE: line 3: sasl.pasword: librdkafka has"),
    in_file("Sasl.Password=Xq7hunter2zW\r\n", "FILE: line 1: Sasl.Password: librdkafka has no such option"),
    in_file("sasl.password\nXq7hunter2zW\n", "FILE: line 1: expected KEY=VALUE"),
    in_file("sasl.password=\nXq7hunter2zW\n", "FILE: line 2: expected KEY=VALUE"),
    in_file("sasl.password=\nXq7hunter2zW==\n", "FILE: line 2: librdkafka has no such option"),
    in_file("sasl.password Xq7hunter2zW\n", "FILE: line 1: expected KEY=VALUE"),
    in_file("sasl.password: Xq7hunter2zW=\n", "FILE: line 1: librdkafka has no such option"),
    in_file("\u{feff}sasl.pasword=Xq7hunter2zW\r\n", "FILE: line 1: sasl.pasword: librdkafka has no such option"),
    in_file("enable.idempotence=Xq7hunter2zW\n", "enable.idempotence"),
    in_file("ssl.key.pem=Xq7hunter2zW\nsecurity.protocol=ssl\n", "--kafka"),
    in_file("sasl.oauthbearer.clientsecret=Xq7hunter2zW\n", "FILE: line 1: "),
];

fn tools(dir: &Path) -> [(&'static str, Tool); 2] {
    let ship = tool("log-ship").args(["--topic", "t", "--once", "--state-dir"]).arg(dir.join("state"));
    let index = tool("log-index").args(["--topic", "t", "--group", "g", "--url", "http://127.0.0.1:1", "--index", "i"]);
    [("log-ship", ship), ("log-index", index.arg("--once"))]
}

fn run(case: &Case, how: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("options");
    fs::write(&file, case.file).unwrap();
    fs::write(dir.path().join("a.log"), "a line\n").unwrap();
    let path = file.to_str().unwrap();
    for (name, tool) in tools(dir.path()) {
        let own = case.args.iter().map(|arg| arg.replace("FILE", path));
        // Given twice, an option is wrong already.
        let mut tool = tool;
        for (option, value) in [("--brokers", "127.0.0.1:1"), ("--timeout", "1s")] {
            if !case.args.contains(&option) {
                tool = tool.args([option, value]);
            }
        }
        let tool = tool.args(own.chain(how.iter().map(|arg| (*arg).to_owned()))).cwd(dir.path());
        let tool = if name == "log-ship" { tool.args(["--", "a.log"]) } else { tool };
        let ended = tool.run();
        let said = ended.stderr_str();
        let all = format!("{said}{}", String::from_utf8_lossy(&ended.stdout));
        assert!(!all.contains("hunter2"), "{name} {:?} {:?}: {all}", case.args, case.file);
        assert!(
            case.says.is_empty() || said.contains(&case.says.replace("FILE", path)),
            "{name} {:?}: {said}",
            case.args
        );
        if !case.says.is_empty() {
            assert_eq!(
                (ended.code, said.lines().count()),
                (Some(2), 1),
                "{name} {:?} {:?}: {said}",
                case.args,
                case.file
            );
        }
    }
}

#[test]
fn what_is_given_wrongly_is_named_without_its_value() {
    assert!(WRONG.iter().all(|case| case.file.contains(SECRET) || case.args.iter().any(|arg| arg.contains("hunter2"))));
    for case in &WRONG {
        run(case, &[]);
    }
}

/// Options that librdkafka takes, and a broker that is not there: with all that it can tell.
#[test]
fn what_is_given_rightly_is_not_shown_either() {
    let all = [
        "sasl.username=ship\nsasl.password=Xq7hunter2zW\nsecurity.protocol=sasl_plaintext\nsasl.mechanism=PLAIN\ndebug=all\n",
        "sasl.mechanism=OAUTHBEARER\nsecurity.protocol=sasl_plaintext\nsasl.oauthbearer.method=oidc\n\
         sasl.oauthbearer.client.id=ship\nsasl.oauthbearer.client.secret=Xq7hunter2zW\n\
         sasl.oauthbearer.token.endpoint.url=http://ship:Xq7hunter2zW@127.0.0.1:1/token\ndebug=all\n",
        "security.protocol=ssl\nssl.key.password=Xq7hunter2zW\nssl.key.location=/none/Xq7hunter2zW\n",
        "sasl.password=one\nsasl.password=Xq7hunter2zW\ndebug=all\nlog_level=7\n",
    ];
    for file in all {
        for how in [&[][..], &["-v"]] {
            run(&Case { args: &["--kafka-file", "FILE"], file, says: "" }, how);
        }
    }
}

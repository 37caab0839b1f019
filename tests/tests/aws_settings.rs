//! AWS settings as people have them, for every tool that speaks to AWS: proxies, certificates, profiles, and what is wrong
//! in them. What the AWS CLI takes is taken.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::network::{Authority, Proxy};
use end_to_end::tool;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use testkit::{
    Finished, FleetModel, ImdsInstance, ImdsModel, Running, S3Model, ScalingGroup, ScalingModel, Tool, wait_until,
};

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];

/// Models of AWS, each with an endpoint over TLS, signed by nobody whom this machine trusts.
struct Cloud {
    s3: S3Model,
    _fleet: FleetModel,
    _scaling: ScalingModel,
    imds: ImdsModel,
    authority: Authority,
    endpoints: [(&'static str, String); 3],
    _servers: Vec<Running>,
    home: tempfile::TempDir,
}

/// The tools that speak to AWS, and a command line of each that asks it.
const TOOLS: [(&str, &str); 5] = [
    ("artifact-pack", "--artifact a --store s3://build/p --audit"),
    ("release-promote", "--artifact a --store s3://build/p --history"),
    ("artifact-fetch", "--artifact a --store s3://build/p --into into --release latest --dry-run"),
    ("asg-hosts", "--format csv"),
    ("spot-watch", "--raise target --once --dry-run"),
];

impl Cloud {
    fn new() -> Self {
        let (s3, fleet, scaling, imds) =
            (S3Model::start(), FleetModel::start(), ScalingModel::start(), ImdsModel::start());
        s3.create_bucket("build");
        let zone = "eu-west-1a".to_owned();
        imds.set_instance(ImdsInstance {
            region: "eu-west-1".to_owned(),
            zone: zone.clone(),
            ..ImdsInstance::spot("i-0123456789abcdef0")
        });
        scaling.add_group(ScalingGroup { zones: vec![zone], ..ScalingGroup::new("target", 1, 2, 10) });
        let authority = Authority::new();
        let mut servers = Vec::new();
        let plain = [("S3", s3.endpoint()), ("EC2", fleet.endpoint()), ("AUTO_SCALING", scaling.endpoint())];
        let endpoints = plain.map(|(service, endpoint)| {
            let (url, server) = authority.in_front_of(&endpoint);
            servers.push(server);
            (service, url)
        });
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        Self { s3, _fleet: fleet, _scaling: scaling, imds, authority, endpoints, _servers: servers, home }
    }

    /// The tool, with nothing of AWS set but the region and a home.
    fn bare(&self, tool: (&str, &str)) -> Tool {
        self.without_region(tool).env("AWS_REGION", "eu-west-1")
    }

    fn without_region(&self, (name, args): (&str, &str)) -> Tool {
        let tool = tool(name).args(args.split(' ')).env("HOME", self.home.path());
        if name == "spot-watch" {
            tool.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.endpoint())
        } else {
            tool.env("AWS_EC2_METADATA_DISABLED", "true")
        }
    }

    fn keyed(&self, tool: (&str, &str)) -> Tool {
        KEYS.into_iter().fold(self.bare(tool), |tool, (name, value)| tool.env(name, value))
    }

    /// The tool, its services at the endpoints over TLS.
    fn over_tls(&self, tool: (&str, &str)) -> Tool {
        let name = |service: &str| format!("AWS_ENDPOINT_URL_{service}");
        // asg-hosts asks one server for both.
        let fleet = tool.0 == "asg-hosts";
        let at = |service: &str| if fleet && service == "AUTO_SCALING" { "EC2" } else { service }.to_owned();
        let url = |service: &str| self.endpoints.iter().find(|(known, _)| *known == at(service)).unwrap().1.clone();
        ["S3", "EC2", "AUTO_SCALING"]
            .into_iter()
            .fold(self.keyed(tool), |tool, service| tool.env(name(service), url(service)))
    }

    fn configure(&self, text: &str) {
        fs::write(self.home.path().join(".aws/config"), text).unwrap();
    }

    fn trusted(&self) -> String {
        self.authority.certificate().display().to_string()
    }
}

/// A server that says the same to whatever is asked, and goes on with the last of it for as long as somebody takes it.
fn server(head: String, rest: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = head.clone();
            thread::spawn(move || {
                let chunk = rest.repeat(4096);
                let asked = stream.read(&mut [0; 65_536]).is_ok() && stream.write_all(head.as_bytes()).is_ok();
                while asked && !chunk.is_empty() && stream.write_all(&chunk).is_ok() {}
            });
        }
    });
    endpoint
}

/// What no memory would hold is not taken into it, be it an answer or a reason.
#[test]
fn answers_without_an_end() {
    let cloud = Cloud::new();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let answers =
        [server(chunked, b"10\r\n<!-- x x x x -->\r\n"), server("HTTP/1.1 500 X\r\n\r\n".to_owned(), b"<!-- x -->")];
    for tool in TOOLS {
        for endpoint in &answers {
            let args = tool.1.split(' ').chain(["--timeout", "5s"]);
            let limited = Tool::new("sh").args(["-c", "ulimit -v 1500000 && exec \"$@\"", "sh"]);
            let limited = limited.arg(end_to_end::bin_dir().join(tool.0)).args(args).cwd(cloud.home.path());
            let limited = KEYS.into_iter().fold(limited, |tool, (name, value)| tool.env(name, value));
            let limited = limited.env("HOME", cloud.home.path()).env("AWS_REGION", "eu-west-1");
            let limited = limited.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.imds.endpoint());
            let run = limited.env("AWS_ENDPOINT_URL", endpoint).run();
            assert!(matches!(run.code, Some(1 | 75)), "{}: {}", tool.0, run.report());
        }
    }
}

/// A time that no clock has: nothing is reckoned with it.
#[test]
fn a_server_of_another_millennium() {
    let cloud = Cloud::new();
    let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>x</Message></Error>";
    let head = format!(
        "HTTP/1.1 403 X\r\nDate: Fri, 31 Dec 9999 23:59:59 GMT\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let endpoint = server(head, b"");
    for tool in &TOOLS[..4] {
        for _ in 0..3 {
            let run = cloud.keyed(*tool).env("AWS_ENDPOINT_URL", &endpoint).arg("--timeout=5s").run();
            assert!(matches!(run.code, Some(1 | 75)), "{}: {}", tool.0, run.report());
        }
    }
}

/// Names that can't be part of a request, and files that are none.
#[test]
fn regions_and_files_that_are_none() {
    let cloud = Cloud::new();
    let pipe = cloud.home.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for tool in &TOOLS[..4] {
        let asking = || cloud.keyed(*tool).env("AWS_ENDPOINT_URL", cloud.s3.endpoint());
        let nowhere = || {
            let tool = cloud.without_region(*tool).env("AWS_ENDPOINT_URL", cloud.s3.endpoint());
            KEYS.into_iter().fold(tool, |tool, (name, value)| tool.env(name, value))
        };
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            for value in ["eu-west-1\n", "eu west", "eu-west-1\u{1}", "https://x"] {
                let run = nowhere().env(name, value).run().fails_with(1).stderr_is_one_line();
                let _region =
                    run.stderr_contains("the region is ").stderr_contains("expected a name such as eu-west-1");
            }
        }
        cloud.configure("[default]\nregion = eu-west-1\u{1}\n");
        let run = nowhere().run().fails_with(1).stderr_is_one_line();
        let _region = run.stderr_contains("the region is ");
        cloud.configure("");
        let files = [
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_CA_BUNDLE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ];
        for name in files {
            for value in [pipe.to_str().unwrap(), "/dev/zero", "/"] {
                let run = asking().env(name, value).run().fails_with(1).stderr_is_one_line();
                let _file = run.stderr_contains(&format!("which {name} names: it is no file"));
            }
        }
        let _none = asking().env("AWS_CONFIG_FILE", "/dev/null").run();
    }
}

#[test]
fn through_a_proxy_but_for_the_metadata() {
    let (cloud, proxy) = (Cloud::new(), Proxy::start());
    for tool in TOOLS {
        let trusting = || cloud.over_tls(tool).env("AWS_CA_BUNDLE", cloud.trusted());
        let plain = trusting().run();
        assert!(
            matches!(plain.code, Some(0 | 1)) && !plain.stderr_str().contains("unable to reach"),
            "{}",
            plain.report()
        );
        assert_eq!(proxy.asked(), Vec::<String>::new());
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            let run = trusting().env(name, proxy.url()).run();
            let asked = proxy.asked();
            assert_eq!(run.code, plain.code, "{name}: {}", run.report());
            assert!(!asked.is_empty(), "{name}: {}", run.report());
            let all = asked.iter().all(|asked| asked.starts_with("CONNECT localhost:"));
            assert!(all && !asked.iter().any(|asked| asked.contains(&cloud.imds.endpoint()[7..])), "{asked:?}");
        }
        for (name, value) in [("NO_PROXY", "localhost"), ("no_proxy", "example.com,localhost"), ("NO_PROXY", "*")] {
            let run = trusting().env("HTTPS_PROXY", proxy.url()).env(name, value).run();
            assert_eq!((run.code, proxy.asked()), (plain.code, Vec::new()), "{name}={value}: {}", run.report());
        }
        if tool.0 != "spot-watch" {
            let away = trusting().env("HTTPS_PROXY", "http://127.0.0.1:1").args(["--timeout", "20s"]).run();
            let _said = away.fails_with(75).stderr_contains("through the proxy 127.0.0.1:1");
        }
    }
}

#[test]
fn certificates_of_a_company() {
    let cloud = Cloud::new();
    for tool in &TOOLS[..4] {
        let refused = cloud.over_tls(*tool).run().fails_with(1).stderr_contains("AWS_CA_BUNDLE");
        assert_eq!(refused.stderr_str().lines().count(), 1, "{}", refused.report());
        let fine = cloud.over_tls(*tool).env("AWS_CA_BUNDLE", cloud.trusted()).run();
        let is_trusted = |run: &Finished| !run.stderr_str().contains("certificate");
        assert!(is_trusted(&fine), "{}", fine.report());
        cloud.configure(&format!("[default]\nca_bundle = {}\n", cloud.trusted()));
        let by_profile = cloud.over_tls(*tool).run();
        assert_eq!((by_profile.code, is_trusted(&by_profile)), (fine.code, true), "{}", by_profile.report());
        let odd = cloud.home.path().join("odd.pem");
        fs::write(&odd, "-----BEGIN CERTIFICATE-----\naGVsbG8gd29ybGQ=\n-----END CERTIFICATE-----\n").unwrap();
        let odd = odd.display().to_string();
        for (path, words) in [
            ("/nowhere.pem", "No such file"),
            ("/etc/hostname", "no certificate in it"),
            (odd.as_str(), ": certificate 1: "),
        ] {
            let wrong = cloud.over_tls(*tool).env("AWS_CA_BUNDLE", path).run().fails_with(1).stderr_is_one_line();
            let _wrong = wrong.stderr_contains(words).stderr_contains("which AWS_CA_BUNDLE names");
        }
        cloud.configure("");
    }
}

#[test]
fn profiles() {
    let cloud = Cloud::new();
    let plain = cloud.s3.endpoint();
    let audit = TOOLS[0];
    cloud.configure(&format!(
        "[profile work]\nservices = own\nregion = eu-west-1\ncredential_process = cat keys.json\n\
         [services own]\ns3 =\n  endpoint_url = {plain}\n\
         [profile top]\nendpoint_url = {plain}\n[profile wrong]\nendpoint_url = localhost:8333\n\
         [profile far]\nservices = far\n[services far]\ns3 =\n  endpoint_url = ftp://x\n\
         [profile virtual]\nendpoint_url = http://s3.invalid:8333\ns3 =\n  addressing_style = virtual\n"
    ));
    let keys = r#"{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "s"}"#;
    fs::write(cloud.home.path().join("keys.json"), keys).unwrap();
    // The bucket is part of the path: its own host name would lead nowhere.
    let _by_name = cloud.bare(audit).args(["--profile", "work"]).cwd(cloud.home.path()).run().succeeds();
    let _by_variable = cloud.bare(audit).env("AWS_PROFILE", "work").cwd(cloud.home.path()).run().succeeds();
    let _at_the_top = cloud.keyed(audit).env("AWS_PROFILE", "top").run().succeeds();
    let elsewhere = cloud.keyed(audit).env("AWS_PROFILE", "virtual").args(["--timeout", "20s"]).run();
    assert!(elsewhere.stderr_str().contains("unable to reach build.s3.invalid:8333"), "{}", elsewhere.report());
    for (profile, words) in
        [("wrong", "endpoint_url of the profile wrong is no URL"), ("far", "is no URL such as http://")]
    {
        let run = cloud.keyed(audit).env("AWS_PROFILE", profile).run().fails_with(1).stderr_is_one_line();
        let _run = run.stderr_contains(words);
    }
}

#[test]
fn what_no_retry_mends_is_said_with_its_setting() {
    let cloud = Cloud::new();
    for tool in &TOOLS[..4] {
        let set =
            |name: &str, value: &str| cloud.keyed(*tool).env(name, value).run().fails_with(1).stderr_is_one_line();
        let _profile = set("AWS_PROFILE", "nosuch").stderr_contains("AWS_PROFILE names the profile nosuch");
        for value in ["localhost:8333", "", " ", "ftp://x", "http://"] {
            for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
                let _endpoint = set(name, value).stderr_contains(&format!("{name} is no URL such as http://"));
            }
        }
        for (name, value) in [
            ("AWS_ENDPOINT_URL", "ops:hunter2@localhost:8333"),
            ("AWS_ENDPOINT_URL", "ftp://ops:hunter2@localhost"),
            ("AWS_ENDPOINT_URL", "http://ops:hunter2@127.0.0.1:1"),
            ("HTTPS_PROXY", "http://ops:hunter2@127.0.0.1:1"),
        ] {
            let run = cloud.keyed(*tool).env(name, value).run();
            assert!(matches!(run.code, Some(1 | 75)) && !run.stderr_str().contains("hunter2"), "{}", run.report());
        }
        for option in ["--endpoint-url=ftp://ops:hunter2@localhost", "--store=ftp://ops:hunter2@b/p"] {
            let run = cloud.keyed(*tool).arg(option).run().fails_with(2).stderr_is_one_line();
            assert!(!run.stderr_str().contains("hunter2"), "{}", run.report());
        }
        let region = cloud.keyed(*tool).env("AWS_REGION", "").env("AWS_ENDPOINT_URL", cloud.s3.endpoint());
        let _region = region.run().fails_with(1).stderr_is_one_line().stderr_contains("no region: give --region");
        cloud.configure("[default\nregion = eu-west-1\n");
        let broken = cloud.keyed(*tool).env("AWS_ENDPOINT_URL", cloud.s3.endpoint()).run().fails_with(1);
        let broken = broken.stderr_is_one_line().stderr_contains("unable to read the AWS configuration");
        let _broken = broken.stderr_contains(".aws/config");
        cloud.configure("");
        let away = cloud.keyed(*tool).env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").args(["--timeout", "20s"]).run();
        let _away = away.fails_with(75).stderr_contains("unable to reach 127.0.0.1:1: ");
    }
}

/// It ends with the tool, whatever it does, and what it writes is no more than credentials are.
#[test]
fn a_program_that_gives_credentials() {
    let cloud = Cloud::new();
    let home = cloud.home.path();
    let endpoint = cloud.s3.endpoint();
    let run = |command: &str| {
        cloud.configure(&format!("[default]\ncredential_process = {command}\n"));
        let tool = cloud.bare(TOOLS[0]).env("AWS_ENDPOINT_URL", &endpoint).cwd(home);
        tool.args(["--timeout", "3s"])
    };
    let keys = |more: &str| format!(r#"{{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "s"{more}}}"#);
    for more in
        ["", r#", "SessionToken": "t", "Expiration": "2999-01-01T00:00:00Z""#, r#", "AccountId": "1", "New": []"#]
    {
        fs::write(home.join("keys.json"), keys(more)).unwrap();
        let run = run("cat keys.json; echo hunter2 >&2").run().succeeds();
        assert!(!run.stderr_str().contains("hunter2"), "{}", run.report());
    }
    for (command, words) in [
        ("exit 3", "failed: exit status: 3"),
        ("echo hunter2; echo hunter2 >&2; exit 1", "failed: exit status: 1"),
        ("echo hunter2", "wrote no credentials of version 1"),
        ("echo {}", "wrote no credentials of version 1"),
        ("echo $$ >pid; sleep 1000 & echo $! >>pid; wait", "did not end within 2.7s"),
        ("echo $$ >pid; yes hunter2", "did not end within 2.7s"),
    ] {
        let run = run(command).run().fails_with(75).stderr_is_one_line();
        let run = run.stderr_contains(&format!("the credential_process of the profile default {words}"));
        assert!(!run.stderr_str().contains("hunter2"), "{}", run.report());
        let started = fs::read_to_string(home.join("pid")).unwrap_or_default();
        for pid in started.lines() {
            wait_until("its end", || {
                // One that is dead and has no parent to say so to is as good.
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
            });
        }
    }
    // The environment comes first, as with the SDK.
    cloud.configure("[default]\ncredential_process = exit 3\n");
    let _keyed = cloud.keyed(TOOLS[0]).env("AWS_ENDPOINT_URL", &endpoint).run().succeeds();
}

#[test]
fn proxies_that_are_none() {
    let cloud = Cloud::new();
    for tool in &TOOLS[..4] {
        for value in [
            "ftp://127.0.0.1:1",
            "http://hunter2 host:3128",
            "http://127.0.0.1:99999",
            "http://hunter2:pw@",
            "socks5://h:1",
        ] {
            for name in ["HTTPS_PROXY", "http_proxy"] {
                let run = cloud.keyed(*tool).env("AWS_ENDPOINT_URL", cloud.s3.endpoint()).env(name, value).run();
                let run = run.fails_with(1).stderr_is_one_line();
                let run = run.stderr_contains(&format!("{name} is no URL of a proxy"));
                assert!(!run.stderr_str().contains("hunter2"), "{}", run.report());
            }
        }
        let region = cloud.keyed(*tool).env("AWS_REGION", "eu_west_1").run().fails_with(1).stderr_is_one_line();
        let _region = region.stderr_contains("the region is eu_west_1");
    }
}

#[test]
fn sessions_that_are_over() {
    let cloud = Cloud::new();
    cloud.configure(
        "[profile sso]\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = ops\n\
         [sso-session work]\nsso_region = eu-west-1\nsso_start_url = https://work.awsapps.com/start\n\
         [profile login]\nlogin_session = arn:aws:iam::123456789012:user/ops\nregion = eu-west-1\n",
    );
    for tool in &TOOLS[..4] {
        for (profile, words) in [("sso", "aws sso login"), ("login", "aws login")] {
            let run = cloud.bare(*tool).env("AWS_PROFILE", profile).env("AWS_ENDPOINT_URL", cloud.s3.endpoint()).run();
            assert!(matches!(run.code, Some(1 | 75)), "{}", run.report());
            let _run = run.stderr_is_one_line().stderr_contains(words);
        }
    }
}

#[test]
fn policies_of_every_partition() {
    for (region, partition) in [
        ("eu-west-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
    ] {
        let run = tool("spot-watch").args(["--raise", "target", "--iam-policy", "--region", region]).run().succeeds();
        assert!(run.stdout_str().contains(&format!("arn:{partition}:autoscaling:{region}:")), "{}", run.report());
    }
    let anywhere =
        tool("spot-watch").args(["--raise", "target", "--iam-policy"]).env("AWS_EC2_METADATA_DISABLED", "true");
    assert!(anywhere.run().succeeds().stdout_str().contains("arn:*:autoscaling:*:"));
}

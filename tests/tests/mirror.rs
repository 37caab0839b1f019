//! `scripts/mirror-yum`: packages built here, an origin that serves them, the real S3 server or a directory as the mirror,
//! and dnf that installs from it. Installing into a root of its own needs root.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::aws_cli::AWS_CLI;
use end_to_end::{root, stack_tool};
use rand::RngExt;
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use testkit::{
    Fault, FaultProxy, Finished, KillPoint, Plan, RequestInfo, Running, Seed, Tool, figure, request, wait_until,
};

/// A directory behind HTTP on loopback.
struct Web {
    server: Running,
    endpoint: String,
}

impl Web {
    fn start(dir: &Path) -> Self {
        let server = Tool::new("python3").args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]);
        let server = server.arg(dir).deadline(Duration::from_secs(3600)).start();
        let endpoint = wait_until("a port", || {
            let said = String::from_utf8_lossy(&server.stdout_so_far()).into_owned();
            let url = said.split_once("(http://").and_then(|(_, rest)| rest.split_once("/)"));
            url.map(|(url, _)| format!("http://{url}")).ok_or(said)
        });
        Self { server, endpoint }
    }
}

/// Those who make the packages, and the server that everybody installs from until it goes down.
struct Origin {
    dir: TempDir,
    web: Option<Web>,
}

impl Origin {
    /// `app`, which needs `lib`, and `tool`; each in version 1.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("served/Packages")).unwrap();
        let mut origin = Self { dir, web: None };
        origin.build("lib", 1, "");
        origin.build("app", 1, "Requires: lib");
        origin.build("tool", 1, "");
        origin.index();
        origin.start();
        origin
    }

    fn packages(&self) -> PathBuf {
        self.dir.path().join("served/Packages")
    }

    /// Builds a package and puts it among those that the next index lists.
    fn build(&self, name: &str, version: u32, more: &str) -> PathBuf {
        let spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: {name}\nLicense: MIT\nBuildArch: noarch\n{more}\n\
             %description\n{name}\n%install\nmkdir -p %{{buildroot}}/opt\necho {name} {version} >%{{buildroot}}/opt/{name}\n\
             %files\n/opt/{name}\n"
        );
        let file = self.dir.path().join(format!("{name}.spec"));
        fs::write(&file, spec).unwrap();
        let top = format!("_topdir {}", self.dir.path().join("build").display());
        let build = Tool::new("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(&file);
        build.run().succeeds();
        let built = format!("{name}-{version}-1.noarch.rpm");
        let target = self.packages().join(&built);
        fs::copy(self.dir.path().join("build/RPMS/noarch").join(built), &target).unwrap();
        target
    }

    fn index(&self) {
        let groups = self.dir.path().join("groups.xml");
        let group = "<comps><group><id>all</id><name>All</name><packagelist><packagereq>app</packagereq></packagelist></group></comps>";
        fs::write(&groups, group).unwrap();
        let index = Tool::new("createrepo_c").arg("--quiet").arg("--groupfile").arg(groups);
        index.arg(self.dir.path().join("served")).run().succeeds();
    }

    /// The next version of `app` takes the place of the one before.
    fn upgrade(&self, version: u32) {
        fs::remove_file(self.packages().join(format!("app-{}-1.noarch.rpm", version - 1))).unwrap();
        self.build("app", version, "Requires: lib");
        self.index();
    }

    fn start(&mut self) {
        self.web = Some(Web::start(&self.dir.path().join("served")));
    }

    /// Its last address: nobody is there any more.
    fn stop(&mut self) -> String {
        let mut web = self.web.take().unwrap();
        web.server.kill();
        web.endpoint
    }

    fn url(&self) -> &str {
        &self.web.as_ref().unwrap().endpoint
    }
}

/// A mirror, and the host that keeps it.
struct Mirror {
    store: String,
    /// Where those who install read it, without credentials.
    endpoint: String,
    path: String,
    proxy: Option<FaultProxy>,
    work: TempDir,
    /// What serves it, as long as it is needed.
    _served: Option<(TempDir, Web)>,
}

impl Mirror {
    fn in_a_directory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let web = Web::start(dir.path());
        Self {
            store: format!("file://{}/el9", dir.path().display()),
            endpoint: web.endpoint.clone(),
            path: "/el9".to_owned(),
            proxy: None,
            work: tempfile::tempdir().unwrap(),
            _served: Some((dir, web)),
        }
    }

    /// A bucket whose policy lets everybody read: on AWS one would name the VPC's endpoint.
    fn on_a_real_server() -> Self {
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").expect("a real S3 server: run the tests by scripts/test");
        let bucket = format!("mirror-{}", uuid::Uuid::new_v4());
        let proxy = FaultProxy::start(&endpoint, Plan::None);
        let mirror = Self {
            store: format!("s3://{bucket}/el9"),
            endpoint,
            path: format!("/{bucket}/el9"),
            proxy: Some(proxy),
            work: tempfile::tempdir().unwrap(),
            _served: None,
        };
        let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
        }] });
        mirror.aws(&["s3api", "create-bucket", "--bucket", &bucket]);
        mirror.aws(&["s3api", "put-bucket-policy", "--bucket", &bucket, "--policy", &policy.to_string()]);
        mirror
    }

    fn aws(&self, args: &[&str]) {
        self.reach(Tool::new("aws")).args(args).run().succeeds();
    }

    fn proxy(&self) -> &FaultProxy {
        self.proxy.as_ref().unwrap()
    }

    /// Any program, with the environment that leads to the store.
    fn reach(&self, tool: Tool) -> Tool {
        let Some(proxy) = &self.proxy else { return tool };
        let given = |name: &str| std::env::var(name).expect("scripts/stack prints the credentials");
        tool.aws(proxy.endpoint())
            .env("PATH", format!("{}:{}", stack_tool(AWS_CLI).display(), given("PATH")))
            .env("AWS_ACCESS_KEY_ID", given("AWS_ACCESS_KEY_ID"))
            .env("AWS_SECRET_ACCESS_KEY", given("AWS_SECRET_ACCESS_KEY"))
            .env("AWS_MAX_ATTEMPTS", "2")
    }

    /// In a process group of its own, so that all of it can be killed.
    fn script(&self, origin: &str) -> Tool {
        let script = self.reach(Tool::new("setsid")).arg(root().join("scripts/mirror-yum")).env("ORIGIN", origin);
        script.env("STORE", &self.store).env("WORK", self.work.path())
    }

    fn refresh(&self, origin: &Origin) -> Finished {
        self.script(origin.url()).run().succeeds()
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let answer = request(&self.endpoint, "GET", &format!("{}/{name}", self.path), &[], b"").unwrap();
        (answer.status == 200).then_some(answer.body)
    }

    fn index(&self) -> Option<Vec<u8>> {
        self.get("repodata/repomd.xml")
    }

    /// The packages that a reader finds who begins now. Each file that the index names, and each package that those name,
    /// is there and has its checksum.
    fn packages(&self) -> BTreeSet<String> {
        self.packages_by(&self.index().expect("there is an index"))
    }

    fn packages_by(&self, index: &[u8]) -> BTreeSet<String> {
        let index = String::from_utf8(index.to_vec()).unwrap();
        let named =
            Regex::new(r#"(?s)<checksum type="sha256"[^>]*>(\w+)</checksum>.*?<location href="([^"]+)""#).unwrap();
        let mut primary = String::new();
        for (_, [sum, name]) in named.captures_iter(&index).map(|found| found.extract()) {
            let file = self.get(name).unwrap_or_else(|| unreachable!("{name} is not there: {index}"));
            assert_eq!(sha256(&file), sum, "{name}");
            if name.ends_with("-primary.xml.gz") {
                primary = Tool::new("gzip").arg("-dc").stdin(file).run().succeeds().stdout_str().to_owned();
            }
        }
        let mut packages = BTreeSet::new();
        for (_, [sum, name]) in named.captures_iter(&primary).map(|found| found.extract()) {
            let file = self.get(name).unwrap_or_else(|| unreachable!("{name} is not there"));
            assert_eq!(sha256(&file), sum, "{name}");
            packages.insert(name.rsplit('/').next().unwrap().trim_end_matches("-1.noarch.rpm").to_owned());
        }
        packages
    }

    /// A host without anything installs from the mirror alone.
    fn install(&self, package: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("dnf.conf");
        let of = dir.path().display();
        let text = format!(
            "[main]\nplugins=0\nreposdir=/dev/null\ncachedir={of}/cache\npersistdir={of}/cache\nlogdir={of}/cache\n\
             [mirror]\nname=mirror\nbaseurl={}{}\n",
            self.endpoint, self.path
        );
        fs::write(&conf, text).unwrap();
        let dnf = Tool::new("dnf").arg("--config").arg(conf).args(["--releasever", "0", "-y", "--installroot"]);
        dnf.arg(dir.path().join("root")).args(["install", package]).run().succeeds();
        dir
    }
}

fn sha256(bytes: &[u8]) -> String {
    let run = Tool::new("sha256sum").stdin(bytes).run().succeeds();
    run.stdout_str().split(' ').next().unwrap().to_owned()
}

fn installed(host: &TempDir, package: &str) -> String {
    fs::read_to_string(host.path().join("root/opt").join(package)).unwrap_or_default()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn a_host_installs_while_the_origin_is_down(mirror: &Mirror) {
    let mut origin = Origin::new();
    mirror.refresh(&origin);
    assert_eq!(mirror.packages(), names(&["app-1", "lib-1", "tool-1"]));
    let down = origin.stop();
    let host = mirror.install("app");
    assert_eq!((installed(&host, "app"), installed(&host, "lib")), ("app 1\n".to_owned(), "lib 1\n".to_owned()));
    // Groups are the origin's.
    assert_eq!(installed(&mirror.install("@all"), "app"), "app 1\n");

    // The mirror stays as it is, to the byte.
    let before = mirror.index();
    let run = mirror.script(&down).run().fails_with(75).stderr_is_one_line();
    assert!(run.stderr_str().starts_with(&format!("mirror-yum: unable to read {down}: ")), "{}", run.report());
    assert_eq!(mirror.index(), before);

    // The next version is installed from then on, and the one that the origin has dropped can still be had.
    origin.upgrade(2);
    origin.start();
    mirror.refresh(&origin);
    let _ = origin.stop();
    assert_eq!(mirror.packages(), names(&["app-1", "app-2", "lib-1", "tool-1"]));
    assert_eq!(installed(&mirror.install("app"), "app"), "app 2\n");
    assert_eq!(installed(&mirror.install("app-1"), "app"), "app 1\n");
    // Who had begun to read before finds all that the index of then names.
    assert_eq!(mirror.packages_by(&before.unwrap()), names(&["app-1", "lib-1", "tool-1"]));
}

#[test]
fn a_host_installs_from_a_real_server() {
    a_host_installs_while_the_origin_is_down(&Mirror::on_a_real_server());
}

#[test]
fn a_host_installs_from_a_directory() {
    a_host_installs_while_the_origin_is_down(&Mirror::in_a_directory());
}

/// The command of docs/MIRRORS.md, for this origin and this bucket.
#[test]
fn the_page_s_command() {
    let origin = Origin::new();
    let mirror = Mirror::on_a_real_server();
    let page = fs::read_to_string(root().join("docs/MIRRORS.md")).unwrap();
    let mut blocks = page.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let mut command = blocks.next().unwrap().to_owned();
    assert_eq!(blocks.next(), None);
    for (from, to) in [("https://packages.example.com/el9", origin.url()), ("s3://mirrors/el9", &mirror.store)] {
        assert!(command.contains(from), "{command}");
        command = command.replace(from, to);
    }
    let shell = mirror.reach(Tool::new("bash")).args(["-euo", "pipefail", "-c", &command]).cwd(root());
    let _ = shell.env("WORK", mirror.work.path()).run().succeeds();
    assert_eq!(mirror.packages(), names(&["app-1", "lib-1", "tool-1"]));
}

#[test]
fn nothing_new_is_no_write() {
    let origin = Origin::new();
    let mirror = Mirror::on_a_real_server();
    mirror.refresh(&origin);
    let writes = || mirror.proxy().log().iter().filter(|seen| !["GET", "HEAD"].contains(&seen.method.as_str())).count();
    let before = (mirror.index(), writes());
    assert!(before.1 > 6, "{}", before.1);
    // Another day's index of the same packages: other times, nothing else.
    origin.index();
    mirror.refresh(&origin);
    assert_eq!((mirror.index(), writes()), before);
    let seen = mirror.proxy().log();
    let last = seen.iter().rfind(|seen| seen.method == "PUT").unwrap();
    assert!(last.path.ends_with("/el9/repodata/repomd.xml"), "the index is written last: {}", last.path);
    // What is missing in the store is put there again.
    let lost = seen.iter().find(|seen| seen.method == "PUT" && seen.path.ends_with(".rpm")).unwrap();
    let lost = lost.path.split_once("/el9/").unwrap().1;
    mirror.aws(&["s3", "rm", &format!("{}/{lost}", mirror.store)]);
    assert_eq!(mirror.get(lost), None);
    mirror.refresh(&origin);
    assert_eq!((mirror.packages().len(), mirror.index()), (3, before.0));
}

/// An origin that has lost packages, all of them, or its index.
#[test]
fn an_origin_that_shrinks_does_not_shrink_the_mirror() {
    let origin = Origin::new();
    let mirror = Mirror::in_a_directory();
    mirror.refresh(&origin);
    let before = mirror.index();
    for name in ["app", "tool"] {
        fs::remove_file(origin.packages().join(format!("{name}-1-1.noarch.rpm"))).unwrap();
    }
    origin.index();
    mirror.refresh(&origin);
    assert_eq!(mirror.index(), before);
    fs::remove_file(origin.packages().join("lib-1-1.noarch.rpm")).unwrap();
    origin.index();
    let run = mirror.script(origin.url()).run().fails_with(75).stderr_is_one_line();
    run.stderr_contains("it lists no package; the mirror stays as it is");
    fs::remove_dir_all(origin.dir.path().join("served/repodata")).unwrap();
    let run = mirror.script(origin.url()).run().fails_with(1).stderr_is_one_line();
    run.stderr_contains("Status code: 404");
    assert_eq!(mirror.index(), before);
    assert_eq!(mirror.packages().len(), 3);
}

/// A package that is not what the origin's index says, one that nobody has signed, and one that is damaged on the disk.
#[test]
fn packages_are_checked() {
    let origin = Origin::new();
    let mirror = Mirror::in_a_directory();
    mirror.refresh(&origin);
    let before = mirror.index();

    origin.upgrade(2);
    let package = origin.packages().join("app-2-1.noarch.rpm");
    let bytes = fs::read(&package).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&package, flipped).unwrap();
    mirror.script(origin.url()).run().fails_with(75).stderr_is_one_line();
    assert_eq!(mirror.index(), before);
    fs::write(&package, &bytes).unwrap();

    let keys = signer();
    let key = keys.path().join("key.asc");
    let run = mirror.script(origin.url()).env("GPG_KEY", &key).run().fails_with(1).stderr_is_one_line();
    run.stderr_contains("NOT OK");
    assert_eq!(mirror.index(), before);
    for file in fs::read_dir(origin.packages()).unwrap() {
        sign(&keys, &file.unwrap().path());
    }
    origin.index();
    // What the origin has dropped was not signed, and is kept where it is: it is left out by hand.
    let run = mirror.script(origin.url()).env("GPG_KEY", &key).run().fails_with(1).stderr_is_one_line();
    run.stderr_contains("app-1-1.noarch.rpm: ");
    fs::remove_file(mirror.work.path().join("origin/Packages/app-1-1.noarch.rpm")).unwrap();
    let _ = mirror.script(origin.url()).env("GPG_KEY", &key).run().succeeds();
    // Signed anew, they are other packages of the same name: both are in the store.
    assert_eq!(mirror.packages(), names(&["app-2", "lib-1", "tool-1"]));
    assert_eq!(mirror.packages_by(before.as_ref().unwrap()), names(&["app-1", "lib-1", "tool-1"]));

    let after = mirror.index();
    let copy = mirror.work.path().join("origin/Packages/tool-1-1.noarch.rpm");
    let mut flipped = fs::read(&copy).unwrap();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&copy, &flipped).unwrap();
    // As long as the origin has it, it is fetched again.
    mirror.refresh(&origin);
    assert_ne!(fs::read(&copy).unwrap(), flipped);
    fs::remove_file(origin.packages().join("tool-1-1.noarch.rpm")).unwrap();
    origin.index();
    fs::write(&copy, &flipped).unwrap();
    let run = mirror.script(origin.url()).run().fails_with(1).stderr_is_one_line();
    run.stderr_contains("tool-1-1.noarch.rpm: ");
    assert_eq!(mirror.index(), after);
}

/// A key pair, its public half as `key.asc`.
fn signer() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let gpg = || Tool::new("gpg").args(["--batch", "--homedir"]).arg(dir.path());
    let make =
        gpg().args(["--passphrase", "", "--quick-generate-key", "packager@example.com", "rsa2048", "sign", "never"]);
    make.run().succeeds();
    let key = gpg().args(["--armor", "--export"]).run().succeeds();
    fs::write(dir.path().join("key.asc"), &key.stdout).unwrap();
    dir
}

fn sign(keys: &TempDir, package: &Path) {
    let sign =
        Tool::new("rpmsign").args(["--define", "_gpg_name packager@example.com", "--define", "__gpg /usr/bin/gpg"]);
    sign.arg("--define")
        .arg(format!("_gpg_path {}", keys.path().display()))
        .arg("--addsign")
        .arg(package)
        .run()
        .succeeds();
}

/// A host that has kept the mirror is gone; the next one goes on with all packages.
fn another_host_goes_on(mirror: Mirror) {
    let origin = Origin::new();
    mirror.refresh(&origin);
    origin.upgrade(2);
    let mirror = Mirror { work: tempfile::tempdir().unwrap(), ..mirror };
    mirror.refresh(&origin);
    assert_eq!(mirror.packages(), names(&["app-1", "app-2", "lib-1", "tool-1"]));
}

#[test]
fn another_host_goes_on_with_a_bucket() {
    another_host_goes_on(Mirror::on_a_real_server());
}

#[test]
fn another_host_goes_on_with_a_directory() {
    another_host_goes_on(Mirror::in_a_directory());
}

/// The generation before the last is removed, the last one stays.
#[test]
fn two_generations_of_the_index_are_kept() {
    let primary = Regex::new(r"repodata/\w+-primary.xml.gz").unwrap();
    for mirror in [Mirror::in_a_directory(), Mirror::on_a_real_server()] {
        let origin = Origin::new();
        mirror.refresh(&origin);
        let first = mirror.index().unwrap();
        origin.upgrade(2);
        mirror.refresh(&origin);
        let second = mirror.index().unwrap();
        assert_eq!(mirror.packages_by(&first).len(), 3);
        origin.upgrade(3);
        mirror.refresh(&origin);
        assert_eq!((mirror.packages_by(&second).len(), mirror.packages().len()), (4, 5));
        let first = String::from_utf8(first).unwrap();
        assert_eq!(mirror.get(primary.find(&first).unwrap().as_str()), None);
    }
}

/// Ends a run with all that it has started.
fn kill(pid: i32) {
    // It may have ended by itself right before.
    let _ = kill_process_group(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// Killed at one request after the other: the mirror is whole, old or new, and the next run ends it.
#[test]
fn killed_at_any_request() {
    let origin = Origin::new();
    let mirror = Mirror::on_a_real_server();
    mirror.refresh(&origin);
    let (mut version, mut n, mut killed) = (1, 1, 0);
    loop {
        let old = mirror.packages();
        version += 1;
        origin.upgrade(version);
        let pid = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pid);
        let end = move || {
            let known = || match seen.load(Ordering::SeqCst) {
                0 => Err("not yet".to_owned()),
                pid => Ok(pid),
            };
            kill(wait_until("the pid is known", known));
        };
        mirror.proxy().on_request(mirror.proxy().count() + n, KillPoint::AfterCommit, Box::new(end));
        let running = mirror.script(origin.url()).start();
        pid.store(i32::try_from(running.pid()).unwrap(), Ordering::SeqCst);
        let run = running.wait();
        let mut new = old.clone();
        new.insert(format!("app-{version}"));
        let found = mirror.packages();
        assert!(found == old || found == new, "after request {n}: {found:?}");
        if run.code == Some(0) {
            break;
        }
        assert_eq!(run.signal, Some(9), "{}", run.report());
        killed += 1;
        mirror.refresh(&origin);
        assert_eq!(mirror.packages(), new, "after request {n}");
        n += figure(5, 2);
    }
    eprintln!("killed at {killed} of {n} requests");
    assert!(killed > figure(2, 5), "a run sends more requests than that");
}

/// The same by the clock, in a directory, and what the origin has is what the killed run was fetching.
#[test]
fn killed_at_random_moments() {
    let mut rng = Seed::from_env_or_random("killed_at_random_moments").rng();
    let origin = Origin::new();
    let mirror = Mirror::in_a_directory();
    let started = SystemTime::now();
    mirror.refresh(&origin);
    let takes = u64::try_from(started.elapsed().unwrap().as_millis()).unwrap();
    let mut killed = 0;
    let times = figure(8, 24);
    for version in 2..2 + times {
        let old = mirror.packages();
        origin.upgrade(version);
        let running = mirror.script(origin.url()).start();
        // The moment itself is what is drawn: nothing is waited for.
        std::thread::sleep(Duration::from_millis(rng.random_range(0..takes)));
        kill(i32::try_from(running.pid()).unwrap());
        killed += u32::from(running.wait().signal == Some(9));
        let mut new = old.clone();
        new.insert(format!("app-{version}"));
        let found = mirror.packages();
        assert!(found == old || found == new, "{found:?}");
        mirror.refresh(&origin);
        assert_eq!(mirror.packages(), new);
    }
    eprintln!("{killed} of {times} runs were killed");
    assert!(killed > 0, "none was still running");
}

#[test]
fn one_run_at_a_time() {
    let origin = Origin::new();
    let mirror = Mirror::on_a_real_server();
    mirror.proxy().set_plan(Plan::Custom(Box::new(|info| info.is_put_object().then_some(Fault::Stall))));
    let first = mirror.script(origin.url()).start();
    wait_until("an upload", || {
        let log = mirror.proxy().log();
        log.iter().any(|seen| seen.path.ends_with(".rpm")).then_some(()).ok_or_else(|| format!("{log:?}"))
    });
    let run = mirror.script(origin.url()).run().fails_with(75).stderr_is_one_line();
    run.stderr_contains("another mirror-yum is at work there");
    kill(i32::try_from(first.pid()).unwrap());
    let _ = first.wait().killed_by(9);
    mirror.proxy().set_plan(Plan::None);
    mirror.refresh(&origin);
}

/// Another host publishes between this run's look and its own index: whoever is second stands back.
#[test]
fn two_hosts_do_not_overwrite_each_other() {
    let origin = Origin::new();
    let mirror = Mirror::on_a_real_server();
    mirror.refresh(&origin);
    origin.upgrade(2);
    let others = [mirror.index().unwrap(), b"<!-- another host's -->\n".to_vec()].concat();
    let index = |info: &RequestInfo| info.is_put_object() && info.path.ends_with("/repomd.xml");
    let target = format!("{}/repodata/repomd.xml", mirror.store);
    let other = mirror.reach(Tool::new("aws")).args(["s3", "cp", "-", &target]).stdin(others.clone());
    let publish = move || {
        let _ = other.run().succeeds();
    };
    mirror.proxy().on_match(Box::new(index), KillPoint::BeforeForward, Box::new(publish));
    let run = mirror.script(origin.url()).run().fails_with(75).stderr_is_one_line();
    run.stderr_contains("PreconditionFailed");
    assert_eq!(mirror.index().unwrap(), others);
}

/// What the store says decides whether trying again helps.
#[test]
fn failures_of_the_store_have_their_codes() {
    let origin = Origin::new();
    let mirror = Mirror::on_a_real_server();
    mirror.refresh(&origin);
    let before = mirror.index();
    origin.upgrade(2);
    let on_writes = |fault: Fault| {
        mirror.proxy().set_plan(Plan::Custom(Box::new(move |info| info.is_put_object().then(|| fault.clone()))));
    };
    for (fault, code) in [
        (Fault::SlowDown, 75),
        (Fault::Reset, 75),
        (Fault::status(403, "AccessDenied"), 1),
        (Fault::status(400, "ExpiredToken"), 75),
    ] {
        on_writes(fault.clone());
        let run = mirror.script(origin.url()).run();
        assert_eq!(run.code, Some(code), "{fault:?}: {}", run.report());
        run.stderr_is_one_line().stderr_contains("mirror-yum: unable to upload packages");
        assert_eq!(mirror.index(), before);
    }
    mirror.proxy().set_plan(Plan::Custom(Box::new(|_| Some(Fault::status(403, "AccessDenied")))));
    mirror.script(origin.url()).run().fails_with(1).stderr_is_one_line().stderr_contains("AccessDenied");
    mirror.proxy().set_plan(Plan::None);
    let nowhere = mirror.script(origin.url()).env("STORE", format!("s3://none-{}/el9", uuid::Uuid::new_v4()));
    nowhere.run().fails_with(1).stderr_is_one_line().stderr_contains("NoSuchBucket");
    let anonymous = mirror.script(origin.url()).env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", "");
    anonymous.run().fails_with(75).stderr_is_one_line().stderr_contains("credentials");
    assert_eq!(mirror.index(), before);
}

#[test]
fn wrong_usage() {
    let script = || Tool::new(root().join("scripts/mirror-yum"));
    script().run().fails_with(2).stderr_contains("mirror-yum: ORIGIN is not set; usage:");
    let script = || script().env("ORIGIN", "http://127.0.0.1:1/");
    script().run().fails_with(2).stderr_contains("mirror-yum: STORE is not set; usage:");
    for store in ["/srv/mirror", "file://srv", "s3://", "https://bucket.example.com"] {
        script().env("STORE", store).run().fails_with(2).stderr_is_one_line().stderr_contains("STORE=");
    }
    // Whatever is named, it does not speak to the terminal.
    let run = script().env("STORE", "\x1b[2J\nstore").run().fails_with(2).stderr_is_one_line();
    run.stderr_contains("STORE=?[2J?store is neither");
    let dir = tempfile::tempdir().unwrap();
    let store = format!("file://{}/store", dir.path().display());
    let script = || script().env("STORE", &store).env("WORK", dir.path().join("work"));
    script().env("ORIGIN", "/srv/origin").run().fails_with(2).stderr_is_one_line().stderr_contains("ORIGIN=");
    script().arg("--no-such-option").run().fails_with(2).stderr_is_one_line().stderr_contains("--no-such-option");
    script()
        .arg("--delete")
        .run()
        .fails_with(2)
        .stderr_is_one_line()
        .stderr_contains("--delete: what the origin drops stays");
    assert!(!dir.path().join("store").exists());
}

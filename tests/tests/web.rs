//! Releases behind a real web server: what a browser holds of one release never stands for a file of another.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::tool;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Answer, Running, Tool, request, wait_until};

/// A checkout, a store, a host, and a web server that serves the current release.
struct Site {
    dir: tempfile::TempDir,
    endpoint: String,
    _nginx: Running,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["work", "store", "srv", "nginx"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("nginx/nginx.conf");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.map(|name| format!("{name}_temp_path {name};")).concat();
        let text = format!(
            "daemon off; worker_processes 1; user root; pid nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; {temporary}\nserver {{ listen 127.0.0.1:{port}; root {}/srv/current; }} }}\n",
            dir.path().display()
        );
        fs::write(&config, text).unwrap();
        let nginx = Tool::new("/usr/sbin/nginx").arg("-p").arg(dir.path().join("nginx")).arg("-c").arg(config).start();
        let endpoint = format!("http://127.0.0.1:{port}");
        wait_until("nginx to listen", || request(&endpoint, "GET", "/", &[], b"").map(drop).map_err(|e| e.to_string()));
        Self { dir, endpoint, _nginx: nginx }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, words: &[&str]) {
        let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        let run = Command::new("git").arg("-C").arg(self.path("work")).args(who).args(words).output().unwrap();
        assert!(run.status.success(), "{words:?}: {run:?}");
    }

    fn store(&self) -> String {
        format!("file://{}", self.path("store").display())
    }

    /// Builds a release of the checkout.
    fn build(&self, environment: &[(&str, &str)]) {
        let pack = tool("artifact-pack").args(["--artifact", "a", "--store", &self.store(), "app.js"]);
        let pack = pack.cwd(self.path("work"));
        let _run = environment.iter().fold(pack, |pack, (name, value)| pack.env(name, value)).run().succeeds();
    }

    fn fetch(&self, release: &str) {
        let fetch = tool("artifact-fetch").args(["--artifact", "a", "--store", &self.store(), "--release", release]);
        let _run = fetch.arg("--into").arg(self.path("srv")).run().succeeds();
    }

    fn get(&self, headers: &[(&str, &str)]) -> Answer {
        request(&self.endpoint, "GET", "/app.js", headers, b"").unwrap()
    }

    /// The file as a browser gets it that holds an earlier answer, by each of its validators and by both.
    fn revisit(&self, held: &Answer) -> Vec<(u16, String)> {
        let (tag, time) = (held.header("etag").unwrap(), held.header("last-modified").unwrap());
        let validators: [&[(&str, &str)]; 3] = [
            &[("If-None-Match", tag)],
            &[("If-Modified-Since", time)],
            &[("If-None-Match", tag), ("If-Modified-Since", time)],
        ];
        validators.map(|headers| self.get(headers)).into_iter().map(|answer| (answer.status, answer.text())).collect()
    }
}

fn everywhere(status: u16, text: &str) -> Vec<(u16, String)> {
    vec![(status, text.to_owned()); 3]
}

/// Without git, with a source time that is given, and with one commit: the file has the same length, and is another one.
#[test]
fn a_browser_never_keeps_the_file_of_another_release() {
    let kinds: [(bool, &[(&str, &str)]); 3] =
        [(false, &[]), (false, &[("SOURCE_DATE_EPOCH", "1453548002")]), (true, &[])];
    for (has_commit, environment) in kinds {
        let site = Site::new();
        let file = site.path("work/app.js");
        let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
        write(&file, "one");
        if has_commit {
            site.git(&["init", "-q"]);
            site.git(&["commit", "-q", "--allow-empty", "-m", "all"]);
        }
        site.build(environment);
        site.fetch("1");
        let first = site.get(&[]);
        assert_eq!((first.status, first.text().as_str()), (200, "one"));
        // While it is there the server says so: else nothing is shown here.
        assert_eq!(site.revisit(&first), everywhere(304, ""));
        write(&file, "two");
        site.build(environment);
        site.fetch("2");
        assert_eq!(site.revisit(&first), everywhere(200, "two"), "{environment:?}");
        let second = site.get(&[]);
        site.fetch("1");
        assert_eq!(site.revisit(&second), everywhere(200, "one"), "back again, {environment:?}");
    }
}

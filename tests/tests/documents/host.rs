//! The host that a page is run on: this one, of which the page changes a copy only. Its directories are covered by layers
//! in memory, in a mount namespace of its own, so that a page may install packages and write to /etc. Needs root.

use crate::around::Around;
use crate::page;
use end_to_end::aws_cli::AWS_CLI;
use end_to_end::{bin_dir, root, stack_tool};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use testkit::{ImdsModel, LIMIT, Running, ScalingModel, Tool};

/// `sh LAYERS KEPT… -- COMMAND…`: what is kept is not covered.
const ENTER: &str = r#"
set -eu
layers=/mnt
mount -t tmpfs none $layers
kept=0
for path; do
  [ "$path" != -- ] || break
  kept=$((kept + 1))
  mkdir -p "$layers/kept/$kept"
  mount --rbind "$path" "$layers/kept/$kept"
done
for dir in etc home opt root srv usr var; do
  mkdir -p "$layers/upper/$dir" "$layers/work/$dir"
  mount -t overlay -o "lowerdir=/$dir,upperdir=$layers/upper/$dir,workdir=$layers/work/$dir" none "/$dir"
done
mount -t tmpfs none /tmp
# Nothing here is to be told of services.
[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd
kept=0
while [ "$1" != -- ]; do
  kept=$((kept + 1))
  mkdir -p "$1"
  mount --rbind "$layers/kept/$kept" "$1"
  shift
done
shift
if [ -n "${NAGIOS_CFG:-}" ]; then
  mkdir -p /etc/nagios4
  mount --bind "$(dirname "$NAGIOS_CFG")" /etc/nagios4
fi
cd "$STAGE/work"
exec "$@"
"#;

/// Before the first block of every page.
const BEFORE: &str = r#"
at=1 line=1 said=$STAGE/said
: >"$said"
exec 3>&2
trap 'line=$LINENO' ERR
ended() {
  local code=$?
  [ "$code" -eq 0 ] || { echo "$PAGE:$line, in the block at $at: exit code $code"; cat "$said"; } >&3
}
trap ended EXIT
fail() {
  echo "$PAGE:$at: $*" >&3
  exit 1
}
# What the page says of a block is so after it.
holds() {
  (set +e; eval "$1") >"$STAGE/held" 2>&1 || fail "after this block it does not hold that: $1: $(cat "$STAGE/held")"
}
# A block that runs until it is ended has done what it is for.
goes_on() {
  local until=$((SECONDS + LIMIT)) code=0
  until (eval "$2") >"$STAGE/held" 2>&1; do
    kill -0 "$1" 2>/dev/null || { wait "$1" || code=$?; fail "this block has ended with $code, and should go on"; }
    [ "$SECONDS" -lt "$until" ] || fail "this block does not come to: $2: $(cat "$STAGE/held")"
    sleep 0.1
  done
  kill -- "-$1"
  wait "$1" || code=$?
  [ "$code" -eq 143 ] || fail "this block was ended, with $code"
}
told() {
  printf '== %s:%s\n' "$PAGE" "$at"
  cat "$said"
  : >"$said"
}
git config --global user.name jenkins
git config --global user.email jenkins@example.com
git config --global init.defaultBranch main
git config --global advice.detachedHead false
# A checkout with a remote, as a build has one.
workspace() {
  git init -q --bare "$HOME/origin.git"
  git init -q .
  git remote add origin "$HOME/origin.git"
  mkdir -p code/tests common
  echo 'echo obelix' | tee code/run.sh code/a.pyc code/tests/all.sh common/lib.sh >/dev/null
  git add -A
  git commit -qm first
  git push -q origin HEAD
  export WORKSPACE=$PWD BUILD_NUMBER=117
}
# The bucket of the pages, which one page has at a time; its store as the old scripts left it after 40 builds.
bucket() {
  exec 9>"$STORE_LOCK"
  flock 9
  aws s3api create-bucket --bucket build >/dev/null 2>&1 || true
  aws s3 rm --recursive --only-show-errors s3://build/obelix
}
forty_releases() {
  printf '%s\n' MODULE=obelix VERSION=40 BUILD=1 "GIT_COMMIT=$(git rev-parse HEAD)" 'TIMESTAMP=Sat Jan 23 11:20:02 UTC 2016' |
    aws s3 cp --only-show-errors - s3://build/obelix/prod/latest.txt
}
built() {
  artifact-pack -q --artifact obelix --store s3://build/obelix/prod code >/dev/null
}
promoted() {
  release-promote -q --artifact obelix --store s3://build/obelix/prod --release "$1" >/dev/null
}
# Two groups of the service in two regions.
fleet() {
  local region
  for region in eu-west-1 us-east-1; do
    export AWS_DEFAULT_REGION=$region
    aws autoscaling create-launch-configuration --launch-configuration-name obelix --image-id ami-12c6146b --instance-type m4.large
    for group in obelix_spot_asg obelix_ondemand_asg; do
      aws autoscaling create-auto-scaling-group --auto-scaling-group-name "$group" --launch-configuration-name obelix \
        --min-size 1 --max-size 4 --desired-capacity 2 --availability-zones "${region}a" \
        --tags Key=service,Value=obelix,PropagateAtLaunch=true Key=Name,Value=ob-appengine,PropagateAtLaunch=true
    done
  done
  export AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1
}
"#;

/// A page that is about to be run, and what it reaches.
pub struct Stage {
    around: &'static Around,
    text: String,
    dir: TempDir,
    tool: Tool,
    kept: Vec<PathBuf>,
    addresses: Vec<(&'static str, String)>,
    servers: Vec<Running>,
    models: Vec<Box<dyn Send>>,
}

impl Stage {
    pub fn new(around: &'static Around, text: String, store_lock: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["home", "stand-ins", "called", "work"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        // The pipelines come last: among them are scripts named as commands of every host, `install` and `test`.
        let before = [dir.path().join("stand-ins"), bin_dir(), stack_tool(AWS_CLI)];
        let path = std::env::var_os("PATH").unwrap();
        let parts = before.into_iter().chain(std::env::split_paths(&path)).chain([root().join("scripts")]);
        let path = std::env::join_paths(parts).unwrap();
        let tool = Tool::new("unshare").env("PATH", path).env("HOME", dir.path().join("home"));
        let tool = tool.env("STAGE", dir.path()).env("PAGE", around.page).env("XDG_CACHE_HOME", &cache);
        let tool =
            tool.env("STORE_LOCK", store_lock).env("TMPDIR", "/tmp").env("LIMIT", (LIMIT / 2).as_secs().to_string());
        let kept =
            vec![root().to_owned(), bin_dir(), cache, store_lock.parent().unwrap().to_owned(), dir.path().into()];
        let (addresses, servers, models) = (Vec::new(), Vec::new(), Vec::new());
        Self { around, text, dir, tool, kept, addresses, servers, models }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn env(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) {
        self.tool = self.tool.clone().env(name, value);
    }

    /// Variables of `scripts/stack`, under their own names.
    pub fn stack(&mut self, names: &[&str]) {
        for name in names {
            let value = on_the_stack(name);
            self.env(name, value);
        }
    }

    /// An address of the page that is another one here.
    pub fn address(&mut self, from: &'static str, to: String) {
        self.addresses.push((from, to));
    }

    /// A moto of the page's own, to which all of AWS is.
    pub fn moto(&mut self) {
        let (endpoint, server) = end_to_end::moto();
        self.servers.push(server);
        self.tool = self.tool.clone().aws(endpoint);
    }

    /// The bucket of the pages, on the real S3 server.
    pub fn store(&mut self) {
        self.stack(&[
            "AWS_ENDPOINT_URL_S3",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
        ]);
    }

    /// The daemon of the stack, with its configuration as /etc/nagios4.
    pub fn nagios(&mut self) {
        self.stack(&["NAGIOS_CFG", "NAGIOS_RELOAD", "NAGIOS_COMMAND_FILE"]);
        self.kept.push(Path::new(&on_the_stack("NAGIOS_COMMAND_FILE")).parent().unwrap().to_owned());
        self.kept.push(Path::new(&on_the_stack("NAGIOS_CFG")).parent().unwrap().to_owned());
    }

    /// Models of the instance and of its groups.
    pub fn instance(&mut self, imds: ImdsModel, scaling: ScalingModel) {
        self.env("AWS_EC2_METADATA_DISABLED", "false");
        self.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint());
        self.env("AWS_ENDPOINT_URL_AUTO_SCALING", scaling.endpoint());
        self.models.push(Box::new((imds, scaling)));
    }

    /// A page on the web that takes what is posted, into the file `posted` of the stage; its URL in this variable.
    pub fn web(&mut self, variable: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.env(variable, format!("http://{}/services/team", listener.local_addr().unwrap()));
        let posted = self.path("posted");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                    let value = line.to_ascii_lowercase();
                    length =
                        value.strip_prefix("content-length:").map_or(length, |value| value.trim().parse().unwrap());
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                fs::write(&posted, body).unwrap();
                (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        });
    }

    /// The page's blocks of this language as files beside it, in order.
    pub fn files(&self, language: &str, names: &[&str]) {
        let found: Vec<_> = page::blocks(&self.text).into_iter().filter(|block| block.language == language).collect();
        assert_eq!(found.len(), names.len(), "{}: blocks of {language}", self.around.page);
        for (block, name) in found.iter().zip(names) {
            fs::write(self.path("work").join(name), &block.text).unwrap();
        }
    }

    /// Runs the page. What went wrong, with the page's line in it.
    pub fn run(mut self) -> Result<String, String> {
        for stand_in in self.around.stand_ins {
            let text = format!("#!/bin/bash\nset -eu\ntouch \"$STAGE/called/{}\"\n{}\n", stand_in.name, stand_in.does);
            let path = self.path("stand-ins").join(stand_in.name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        (self.around.with)(&mut self);
        fs::write(self.path("before"), format!("{BEFORE}\n{}\n", self.around.before)).unwrap();
        // Named as the page, for bash's own messages.
        let script = self.path(self.around.page);
        fs::create_dir_all(script.parent().unwrap()).unwrap();
        fs::write(&script, page::script(self.around, &self.text, &self.addresses)).unwrap();
        let tool = self.tool.clone().args(["--mount", "sh", "-c", ENTER, "enter"]).args(&self.kept).arg("--");
        let tool = tool.args(["bash", "-Eeuo", "pipefail"]).arg(&script).cwd(self.path("work"));
        let done = tool.run();
        if done.code != Some(0) {
            return Err(format!("{}\n{}", done.stderr_str(), done.status));
        }
        for stand_in in self.around.stand_ins {
            if !self.path("called").join(stand_in.name).exists() {
                return Err(format!("{}: nobody called {}, the stand-in", self.around.page, stand_in.name));
            }
        }
        Ok(done.stdout_str().to_owned())
    }
}

/// A variable that `scripts/stack start` printed.
pub fn on_the_stack(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| unreachable!("{name} is not set: run the tests by scripts/test"))
}

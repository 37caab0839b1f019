//! A real Kafka broker that a test may kill and restart, and a link in front of it that freezes, breaks or lies.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait_until;

/// `api_key` of a produce request.
const PRODUCE: [u8; 2] = [0, 0];

/// One node, broker and controller, with the jars that `scripts/stack start kafka` has installed.
#[derive(Debug)]
pub struct Broker {
    dir: PathBuf,
    jars: PathBuf,
    port: u16,
    child: Child,
}

impl Broker {
    /// Starts a broker that keeps its data in `dir`.
    ///
    /// # Panics
    /// `KAFKA_JARS` is not set, or the broker doesn't come up.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let jars = std::env::var_os("KAFKA_JARS").expect("KAFKA_JARS is set: scripts/stack start kafka");
        // Below the range from which the kernel takes ports for outgoing connections: while the broker is down, a client
        // that tries to reach such a port could be given it, and meet itself.
        let mut ports: Vec<u16> = Vec::new();
        while ports.len() < 2 {
            let port = rand::random_range(22_001..32_000);
            if !ports.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
                ports.push(port);
            }
        }
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{1}\n\
             listeners=PLAINTEXT://127.0.0.1:{0},CONTROLLER://127.0.0.1:{1}\ncontroller.listener.names=CONTROLLER\n\
             log.dirs={2}/data\nnum.partitions=1\noffsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
            ports[0],
            ports[1],
            dir.display()
        );
        fs::write(dir.join("server.properties"), properties).expect("the test's directory can be written");
        let jars = PathBuf::from(jars);
        let format =
            java(dir, &jars, "kafka.tools.StorageTool", &["format", "-t", "c2NyaXB0cy9zdGFjaw", "-c"]).status();
        assert!(format.is_ok_and(|status| status.success()), "kafka.tools.StorageTool formats {}", dir.display());
        let child = run(dir, &jars);
        let broker = Self { dir: dir.to_owned(), jars, port: ports[0], child };
        broker.await_up();
        broker
    }

    /// `host:port` of the broker itself.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it, or asks it to end, and starts it again on the same port and data.
    pub fn restart(&mut self, kill: bool) {
        self.end(kill);
        self.child = run(&self.dir, &self.jars);
        self.await_up();
    }

    fn end(&mut self, kill: bool) {
        if kill {
            drop(self.child.kill());
        } else if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        drop(self.child.wait());
    }

    fn await_up(&self) {
        wait_until("the broker's answer", || {
            let ask = || -> io::Result<[u8; 8]> {
                let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                // ApiVersions v0, correlation 1.
                stream.write_all(&[0, 0, 0, 12, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0])?;
                let mut head = [0; 8];
                stream.read_exact(&mut head)?;
                Ok(head)
            };
            match ask() {
                Ok([.., 0, 0, 0, 1]) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end(true);
    }
}

fn java(dir: &Path, jars: &Path, main: &str, args: &[&str]) -> Command {
    let mut command = Command::new("java");
    command.args(["-Djava.net.preferIPv4Stack=true", "-Xms128m", "-Xmx384m"]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error").arg("-cp").arg(jars.join("*"));
    command.arg(main).args(args).arg(dir.join("server.properties"));
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn run(dir: &Path, jars: &Path) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("the log can be written");
    let mut command = java(dir, jars, "kafka.Kafka", &[]);
    command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    command.spawn().expect("java can be started")
}

/// What a link does with what passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// Passes everything.
    Up,
    /// Passes nothing; connections stay.
    Frozen,
    /// Breaks every connection, old and new.
    Cut,
    /// Lines for the first topic go to the second one, whose name is as long: acknowledged, and not where they belong.
    Lying(String, String),
}

/// A way to a broker that clients take for the broker itself: its own port stands where the broker names its port.
#[derive(Debug)]
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    port: u16,
    mode: Mutex<LinkMode>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// A link to the broker at `upstream` (`127.0.0.1:port`).
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn to(upstream: &str) -> Self {
        let upstream = upstream.rsplit(':').next().and_then(|port| port.parse().ok()).expect("host:port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let mode = Mutex::new(LinkMode::Up);
        let shared = Arc::new(Shared { upstream, port, mode, changed: Condvar::new(), open: Mutex::default() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { port, shared }
    }

    /// `host:port` to give to clients.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Changes what it does, from now on.
    pub fn set(&self, mode: LinkMode) {
        let cut = mode == LinkMode::Cut;
        *self.shared.mode() = mode;
        self.shared.changed.notify_all();
        if cut {
            for stream in self.shared.open.lock().expect("no thread panics with it").drain(..) {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
    }
}

impl Shared {
    fn mode(&self) -> MutexGuard<'_, LinkMode> {
        self.mode.lock().expect("no thread panics with it")
    }

    /// Waits until something may pass, and tells how.
    fn pass(&self) -> io::Result<LinkMode> {
        let frozen = |mode: &mut LinkMode| *mode == LinkMode::Frozen;
        let mode = self.changed.wait_while(self.mode(), frozen).expect("no thread panics with it").clone();
        if mode == LinkMode::Cut { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(mode) }
    }

    fn serve(self: Arc<Self>, client: TcpStream) -> io::Result<()> {
        self.pass()?;
        let broker = TcpStream::connect(("127.0.0.1", self.upstream))?;
        {
            let mut open = self.open.lock().expect("no thread panics with it");
            open.push(client.try_clone()?);
            open.push(broker.try_clone()?);
        }
        let produced = Arc::new(Mutex::new(HashSet::new()));
        let back = (Arc::clone(&self), broker.try_clone()?, client.try_clone()?, Arc::clone(&produced));
        thread::spawn(move || {
            let (link, from, to, produced) = back;
            drop(link.answers(&from, &to, &produced));
            drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
        });
        let ended = self.requests(&client, &broker, &produced);
        drop((client.shutdown(Shutdown::Both), broker.shutdown(Shutdown::Both)));
        ended
    }

    fn requests(&self, mut from: &TcpStream, mut to: &TcpStream, produced: &Mutex<HashSet<[u8; 4]>>) -> io::Result<()> {
        loop {
            let mut frame = read_frame(&mut from)?;
            if let (LinkMode::Lying(topic, other), Some(PRODUCE)) = (self.pass()?, frame.first_chunk().copied()) {
                swap(&mut frame, topic.as_bytes(), other.as_bytes());
                let correlation = frame[4..8].try_into().expect("four bytes");
                produced.lock().expect("no thread panics with it").insert(correlation);
            }
            write_frame(&mut to, &frame)?;
        }
    }

    fn answers(&self, mut from: &TcpStream, mut to: &TcpStream, produced: &Mutex<HashSet<[u8; 4]>>) -> io::Result<()> {
        let named = |port: u16| [&b"127.0.0.1"[..], &u32::from(port).to_be_bytes()].concat();
        loop {
            let mut frame = read_frame(&mut from)?;
            let mode = self.pass()?;
            let correlation: [u8; 4] = *frame.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
            let lied = produced.lock().expect("no thread panics with it").remove(&correlation);
            if let (LinkMode::Lying(topic, other), true) = (mode, lied) {
                swap(&mut frame, other.as_bytes(), topic.as_bytes());
            }
            swap(&mut frame, &named(self.upstream), &named(self.port));
            write_frame(&mut to, &frame)?;
        }
    }
}

fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

fn write_frame(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_all(&[&length.to_be_bytes(), frame].concat())
}

/// Replaces every `from` by `to`, which is as long.
fn swap(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len(), "a name that is as long");
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to);
        at += to.len();
    }
}

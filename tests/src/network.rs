//! What stands between hosts and AWS in many companies: a proxy that CONNECT is sent to, and certificates of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use testkit::{Running, Tool, wait_until};

/// A proxy on a free loopback port. It serves CONNECT alone, and ends with the process.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts it.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || drop(serve(client, &kept)));
            }
        });
        Self { url, asked }
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked for, each `METHOD TARGET`, and forgets it.
    ///
    /// # Panics
    /// Another thread panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no thread panics"))
    }
}

fn serve(client: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let words: Vec<&str> = first.split(' ').collect();
    asked.lock().expect("no thread panics").push(words[..words.len().min(2)].join(" "));
    let mut client = client;
    let ["CONNECT", target, _] = words[..] else {
        return client.write_all(b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n");
    };
    let Ok(server) = TcpStream::connect(target) else {
        return client.write_all(b"HTTP/1.1 502 No such server\r\nContent-Length: 0\r\n\r\n");
    };
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut to, mut from) = (server.try_clone()?, client.try_clone()?);
    let there = thread::spawn(move || std::io::copy(&mut reader, &mut to));
    let mut server = server;
    std::io::copy(&mut server, &mut from)?;
    drop(there);
    client.shutdown(std::net::Shutdown::Both)
}

/// An authority whose certificates no system trusts.
#[derive(Debug)]
pub struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    /// Makes the authority, and a certificate of it for `localhost`.
    ///
    /// # Panics
    /// There is no openssl.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("there is room");
        let openssl = |args: &str| drop(Tool::new("openssl").args(args.split(' ')).cwd(dir.path()).run().succeeds());
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
        openssl(&format!("req {key} -keyout key.pem -out request.pem -subj /CN=localhost"));
        std::fs::write(dir.path().join("names"), "subjectAltName=DNS:localhost,DNS:build.localhost,IP:127.0.0.1\n")
            .expect("there is room");
        openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
        );
        Self { dir }
    }

    /// The file of its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A server with the certificate for `localhost` in front of the plain one at `endpoint`: its URL.
    ///
    /// # Panics
    /// It does not start.
    pub fn in_front_of(&self, endpoint: &str) -> (String, Running) {
        let port = endpoint.rsplit_once(':').map_or(endpoint, |(_, port)| port);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls.py");
        let server = Tool::new("/usr/bin/python3").arg(script);
        let server =
            server.arg(self.dir.path().join("cert.pem")).arg(self.dir.path().join("key.pem")).arg(port).start();
        let listens = wait_until("the port", || {
            let said = String::from_utf8_lossy(&server.stdout_so_far()).into_owned();
            if said.ends_with('\n') { Ok(said.trim().to_owned()) } else { Err(said) }
        });
        (format!("https://localhost:{listens}"), server)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

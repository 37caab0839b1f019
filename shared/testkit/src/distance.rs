//! A link to an HTTP server that is far away: answers begin late, and bytes come no faster than a connection carries them.

use rand::RngExt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;
/// A shorter pause is not worth its own lateness: it is made up for by the next.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How far away a server is.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// From the end of a request to the first byte of its answer, besides what the server itself takes.
    pub first_byte: Duration,
    /// Bytes a second that one connection carries in either direction.
    pub bytes_per_second: u32,
    /// Part of the answers, from 0 to 1, that begin `late` later than the others.
    pub late_answers: f64,
    /// How much later.
    pub late: Duration,
}

impl Distance {
    /// A server that all answers come from after `first_byte`, at 85 MB/s a connection, as S3 sends them.
    #[must_use]
    pub fn of(first_byte: Duration) -> Self {
        Self { first_byte, bytes_per_second: 85_000_000, late_answers: 0.0, late: Duration::ZERO }
    }

    /// Opens a way to the server at `upstream` (`127.0.0.1:port`) and gives its address. It is there until the process ends.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn to(self, upstream: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let upstream = upstream.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let upstream = upstream.clone();
                thread::spawn(move || drop(self.serve(&client, &upstream)));
            }
        });
        address
    }

    fn serve(self, client: &TcpStream, upstream: &str) -> io::Result<()> {
        let server = TcpStream::connect(upstream)?;
        for stream in [client, &server] {
            stream.set_nodelay(true)?;
        }
        let asked = Arc::new(AtomicBool::new(false));
        let back = (server.try_clone()?, client.try_clone()?, Arc::clone(&asked));
        let answers = thread::spawn(move || {
            let (server, client, asked) = back;
            let passed = self.pass(&server, &client, || {
                if asked.swap(false, Ordering::Relaxed) {
                    let late = rand::rng().random_bool(self.late_answers);
                    thread::sleep(self.first_byte + if late { self.late } else { Duration::ZERO });
                }
            });
            drop((server.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both)));
            passed
        });
        let passed = self.pass(client, &server, || asked.store(true, Ordering::Relaxed));
        // Who has asked for everything may still read.
        drop(server.shutdown(Shutdown::Write));
        drop(answers.join());
        passed
    }

    /// Passes everything on, `before` each piece having its say.
    fn pass(self, mut from: &TcpStream, mut to: &TcpStream, before: impl Fn()) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let mut free = Instant::now();
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            before();
            to.write_all(&piece[..length])?;
            let took = Duration::from_secs_f64(length as f64 / f64::from(self.bytes_per_second));
            let now = Instant::now();
            free = free.max(now.checked_sub(SHORTEST_PAUSE).unwrap_or(now)) + took;
            if free > now + SHORTEST_PAUSE {
                thread::sleep(free - now);
            }
        }
    }
}

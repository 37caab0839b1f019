//! A door before a server: open it passes connections on, shut the port refuses them.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// A port of its own that leads to a server.
pub struct Door {
    address: SocketAddr,
    server: String,
    open: Option<Open>,
}

/// The listener, on its thread, and what it has passed on.
struct Open {
    shut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Door {
    /// Opens a door to `server`, `http://HOST:PORT`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn to(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let mut door = Self {
            address: listener.local_addr()?,
            server: server.trim_start_matches("http://").to_owned(),
            open: None,
        };
        door.listen(listener);
        Ok(door)
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all connections and refuses new ones.
    pub fn shut(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.shut.store(true, Ordering::SeqCst);
        // accept() returns for a connection and for nothing else; the listener goes with its thread.
        drop(TcpStream::connect(self.address));
        let _ = open.thread.join();
        for stream in open.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Opens it again.
    ///
    /// # Errors
    /// When somebody else has taken its port.
    pub fn open(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address)?;
        self.listen(listener);
        Ok(())
    }

    fn listen(&mut self, listener: TcpListener) {
        let (shut, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_shut, kept, server) = (Arc::clone(&shut), Arc::clone(&streams), self.server.clone());
        let thread = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_shut.load(Ordering::SeqCst) {
                    break;
                }
                // A connection that cannot be passed on is closed, which its client sees.
                if let Ok(both) = pass(&client, &server) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).extend(both);
                }
            }
        });
        self.open = Some(Open { shut, streams, thread });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
    }
}

fn pass(client: &TcpStream, server: &str) -> io::Result<[TcpStream; 2]> {
    let upstream = TcpStream::connect(server)?;
    for stream in [client, &upstream] {
        stream.set_nodelay(true)?;
    }
    for (from, to) in [(client, &upstream), (&upstream, client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            // An end is passed on like bytes, and so is an error.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok([client.try_clone()?, upstream])
}

//! A listener on a free loopback port with a thread per connection, stopped when it is dropped.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Server {
    /// Hands every connection to `serve`, each on a thread of its own.
    pub fn start(name: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free loopback port can be had");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let acceptor = {
            let (shared, serve, name) = (Arc::clone(&shared), Arc::new(serve), name.to_owned());
            thread::Builder::new().name(name.clone()).spawn(move || {
                for (number, stream) in (0..).zip(listener.incoming()) {
                    if shared.stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let Ok(handle) = stream.try_clone() else {
                        continue;
                    };
                    shared.open.lock().expect("no holder panics").insert(number, handle);
                    let (shared, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                    let connection = move || {
                        serve(stream);
                        shared.open.lock().expect("no holder panics").remove(&number);
                    };
                    thread::Builder::new()
                        .name(format!("{name}-{number}"))
                        .spawn(connection)
                        .expect("a thread can be started");
                }
            })
        };
        Self { address, shared, acceptor: Some(acceptor.expect("a thread can be started")) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // accept() returns for a connection and for nothing else.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
        for stream in self.shared.open.lock().expect("no holder panics").values() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

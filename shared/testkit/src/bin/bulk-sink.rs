//! `bulk-sink`: a search server that throws documents away, as a process for scripts. Prints
//! `SEARCH_URL=http://127.0.0.1:PORT`, serves until SIGTERM or SIGINT, then prints `DOCUMENTS=N` and `BYTES=N`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a script reads the endpoint from stdout")]

use std::io::{self, Write};
use std::process::ExitCode;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testkit::BulkSink;

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("usage: bulk-sink");
        return ExitCode::from(2);
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("bulk-sink: {err}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    // Caught before the endpoint is printed: whoever reads it may stop the server at once.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let sink = BulkSink::start();
    println!("SEARCH_URL={}", sink.endpoint());
    io::stdout().flush()?;
    signals.forever().next();
    println!("DOCUMENTS={}\nBYTES={}", sink.documents(), sink.bytes());
    Ok(())
}

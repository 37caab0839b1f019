//! `distance MILLISECONDS HOST:PORT`: a way to an HTTP server whose answers begin that late and come at 85 MB/s a connection.
//! Prints `http://127.0.0.1:PORT` and serves until it is ended.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a script reads the address from stdout")]

use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use testkit::Distance;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [late, upstream] = words.as_slice() else { return usage() };
    let Ok(late) = late.parse() else { return usage() };
    println!("http://{}", Distance::of(Duration::from_millis(late)).to(upstream));
    loop {
        thread::park();
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: distance MILLISECONDS HOST:PORT");
    ExitCode::from(2)
}

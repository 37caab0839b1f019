//! How nagios-gen grows with the fleet, and what a run costs that finds nothing to do.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use crate::measure::{Env, Pipeline, run};
use crate::site::{Site, stage};
use crate::table::{median, progress};

/// Objects for 1,000 to 100,000 hosts, and unchanged runs over a file of 10,000.
///
/// # Errors
/// When a run fails.
pub fn objects(site: &Site, scale: usize) -> Result<String> {
    let mut text = String::from(
        "### Objects for Nagios\n\nnagios-gen alone, medians of 5 runs after a warm-up.\n\n\
         | run | wall s | CPU s | peak MiB |\n|---|---:|---:|---:|\n",
    );
    for count in [1_000, 10_000, 100_000].map(|count| count / scale) {
        row(site, count, &[], &format!("{count} hosts to stdout"), &mut text)?;
    }
    let count = 10_000 / scale;
    let file = site.path("fleet.cfg");
    // The warm-up writes it.
    row(site, count, &["--output", &file], &format!("{count} hosts, unchanged `--output`"), &mut text)?;
    text.push('\n');
    Ok(text)
}

fn row(site: &Site, count: usize, args: &[&str], label: &str, text: &mut String) -> Result<()> {
    progress(&format!("nagios-gen: {label}"));
    let list = site.path("hosts.csv");
    fs::write(&list, hosts(count))?;
    let mut tool = stage([&site.ours("nagios-gen")]);
    tool.extend(args.iter().map(ToString::to_string));
    let steps = [Pipeline::new(&Env::new(), vec![stage(["/bin/cat", &list]), tool])];
    run(&steps)?;
    let samples = (0..5).map(|_| run(&steps)).collect::<Result<Vec<_>>>()?;
    #[expect(clippy::cast_precision_loss, reason = "printed without decimals")]
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(
        text,
        "| {label} | {:.3} | {:.3} | {:.0} |",
        median(samples.iter().map(|sample| sample.wall.as_secs_f64()).collect()),
        median(samples.iter().map(|sample| sample.cpu.as_secs_f64()).collect()),
        median(samples.iter().map(|sample| mebibytes(sample.largest)).collect()),
    );
    Ok(())
}

/// A list of hosts with the tags that services have.
fn hosts(count: usize) -> String {
    let mut list = String::from("instance_id,name,asg,instance_state,private_ip,tags\n");
    for n in 0..count {
        let (high, middle, low) = (n >> 16, n >> 8 & 255, n & 255);
        let tags = r#""{""service"":""obelix"",""scope"":""spot"",""team"":""telephony"",""cost-centre"":""4711""}""#;
        let _ = writeln!(list, "i-{n:017x},ob-appengine,obelix_spot_asg,running,10.{high}.{middle}.{low},{tags}");
    }
    list
}

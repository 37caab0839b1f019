//! How nagios-gen grows with the fleet, and what a run costs that finds nothing to do.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::Result;

use crate::measure::{Env, Pipeline};
use crate::process::Look;
use crate::site::{Site, stage};
use crate::table::{ALONE, alone, mebibytes};

/// Objects for 1,000 to 100,000 hosts, and unchanged runs over a file of 10,000.
///
/// # Errors
/// When a run fails.
pub fn objects(site: &Site, scale: usize) -> Result<String> {
    let title = "### Objects for Nagios\n\nnagios-gen alone, medians of 5 runs after a warm-up.\n\n";
    let mut text = title.to_owned() + ALONE;
    for count in [1_000, 10_000, 100_000].map(|count| count / scale) {
        row(site, count, &[], &format!("{count} hosts to stdout"), &mut text)?;
    }
    let count = 10_000 / scale;
    let file = site.path("fleet.cfg");
    // The warm-up writes it.
    row(site, count, &["--output", &file], &format!("{count} hosts, unchanged `--output`"), &mut text)?;
    let own = mebibytes(Look::at_the_harness()?.peak);
    let _ = writeln!(text, "\nNo peak can show less than that of the harness: {own:.0} MiB.\n");
    Ok(text)
}

fn row(site: &Site, count: usize, args: &[&str], label: &str, text: &mut String) -> Result<()> {
    let list = site.path("hosts.csv");
    write_hosts(&list, count)?;
    let mut tool = stage([&site.ours("nagios-gen")]);
    tool.extend(args.iter().map(ToString::to_string));
    text.push_str(&alone(label, 5, &[Pipeline::new(&Env::new(), vec![stage(["/bin/cat", &list]), tool])])?);
    Ok(())
}

/// A list of hosts with the tags that services have; line by line, for the whole would make this process large.
fn write_hosts(path: &str, count: usize) -> Result<()> {
    let mut list = BufWriter::new(File::create(path)?);
    writeln!(list, "instance_id,name,asg,instance_state,private_ip,tags")?;
    for n in 0..count {
        let (high, middle, low) = (n >> 16, n >> 8 & 255, n & 255);
        let tags = r#""{""service"":""obelix"",""scope"":""spot"",""team"":""telephony"",""cost-centre"":""4711""}""#;
        writeln!(list, "i-{n:017x},ob-appengine,obelix_spot_asg,running,10.{high}.{middle}.{low},{tags}")?;
    }
    Ok(list.flush()?)
}

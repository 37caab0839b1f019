//! What Nagios itself makes of the objects, compared with what the tags say.
//!
//! The expected values come from the list alone: escapes are read back to the bytes they stand for, by code that knows
//! nothing of how they were written. Nagios' own dump (objects.precache) is the other side.

use crate::fleet::{HOSTILE, csv, host, text};
use crate::harness::Harness;
use rand::RngExt;
use rand::rngs::StdRng;
use records::Host;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use testkit::{Seed, figure};

/// Every `define` of a dump: kind and directives.
fn dumped(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut all = Vec::new();
    for block in text.split("\ndefine ").skip(1) {
        let (head, body) = block.split_once(" {\n").unwrap();
        let body = body.split("\n\t}\n").next().unwrap();
        let lines = body.lines().filter_map(|line| line.strip_prefix('\t'));
        let pairs = lines.map(|line| line.split_once('\t').unwrap_or((line, "")));
        all.push((head.to_owned(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()));
    }
    all
}

/// The bytes that a written value stands for; an error if it holds anything but harmless text and whole escapes.
fn read_back(written: &str, names_only: bool) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        let word = c.is_alphanumeric() || " /#@+".contains(c);
        match c {
            ':' => {
                let pair: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&pair, 16).map_err(|_| format!("{written:?}: broken escape"))?);
            }
            c if c.is_ascii_alphanumeric() || ".-_".contains(c) || word && !names_only => {
                bytes.extend(c.to_string().bytes());
            }
            c => return Err(format!("{written:?}: {c:?} is not harmless")),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{written:?} stands for no text"))
}

/// Compares a dump with the list it must stand for; `base` is the dump without the fleet. Says what is extra, missing or
/// different.
fn compare(base: &str, dump: &str, hosts: &[Host]) -> Vec<String> {
    let mut wrong = Vec::new();
    let base = dumped(base);
    let mut extra: Vec<_> = dumped(dump);
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in &base {
        match extra.iter().position(|other| other == object) {
            Some(found) => drop(extra.swap_remove(found)),
            None => wrong.push(format!("missing: {object:?}")),
        }
    }
    let mut by_id: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (kind, directives) in extra {
        let name = directives.get(&format!("{kind}_name")).cloned().unwrap_or_default();
        match (kind.as_str(), name.rsplit_once("i-")) {
            ("host", Some((_, id))) if !by_id.contains_key(id) => {
                by_id.insert(id.to_owned(), directives);
            }
            ("hostgroup", _) => {
                let ids = directives.get("members").map(String::as_str).unwrap_or_default().split(',');
                let ids = ids.filter_map(|member| Some(member.rsplit_once("i-")?.1.to_owned())).collect();
                match read_back(&name, true) {
                    Ok(meant) => drop(members.insert(meant, ids)),
                    Err(why) => wrong.push(why),
                }
            }
            _ => wrong.push(format!("extra: {kind} {directives:?}")),
        }
    }
    for host in hosts {
        let id = host.instance_id.strip_prefix("i-").unwrap().to_owned();
        let tag = |key: &str| host.tags.get(key).filter(|value| !value.is_empty());
        if let Some(service) = tag("service") {
            let scope = tag("scope").map_or_else(String::new, |scope| format!("-{scope}"));
            groups.entry(format!("{service}{scope}-servers")).or_default().insert(id.clone());
        }
        match by_id.remove(&id) {
            Some(written) => wrong.extend(differs(host, &written)),
            None => wrong.push(format!("missing: {host:?}")),
        }
    }
    wrong.extend(by_id.values().map(|host| format!("extra: host {host:?}")));
    if groups != members {
        wrong.push(format!("hostgroups: {members:?} instead of {groups:?}"));
    }
    wrong
}

fn differs(host: &Host, written: &BTreeMap<String, String>) -> Option<String> {
    let shown = if host.name.trim().is_empty() { &host.asg } else { &host.name };
    let meant_name = if shown.is_empty() { host.instance_id.clone() } else { format!("{shown}-{}", host.instance_id) };
    let meant_alias = [shown.trim(), &host.private_ip, &host.instance_id].map(str::to_owned).to_vec();
    let name = read_back(&written["host_name"], true);
    let alias: Result<Vec<String>, String> = written["alias"]
        .split(',')
        .map(|part| read_back(part, part == host.private_ip && part.contains(':')))
        .collect();
    let right = name.as_ref() == Ok(&meant_name)
        && alias.as_ref() == Ok(&meant_alias)
        && written["address"] == host.private_ip
        && written["check_command"] == "nothing";
    (!right).then(|| format!("different: {written:?} instead of {host:?} ({name:?}, {alias:?})"))
}

fn random_host(rng: &mut StdRng, number: u32) -> Host {
    let mut made = host(&format!("i-{number:08x}"), &text(rng), &[]);
    made.asg = text(rng);
    made.private_ip = format!("10.{}.{}.{}", rng.random::<u8>(), rng.random::<u8>(), rng.random::<u8>());
    for key in ["service", "scope", &text(rng)] {
        if rng.random_range(0..4) > 0 {
            made.tags.insert(key.to_owned(), text(rng));
        }
    }
    made
}

#[test]
fn random_tags_give_just_the_intended_objects() {
    let seed = Seed::from_env_or_random("random_tags_give_just_the_intended_objects");
    let (batch, total) = figure((2_500, 10_000), (10_000, 200_000));
    let harness = Harness::new();
    let base = harness.precache();
    for round in 0..total / batch {
        let mut rng = seed.part(u64::from(round)).rng();
        let hosts: Vec<Host> = (0..batch).map(|n| random_host(&mut rng, round * batch + n)).collect();
        let _run = harness.tool(csv(&hosts)).args(["--max-shrink", "100%"]).run().succeeds().stderr_is_empty();
        let wrong = compare(&base, &harness.precache(), &hosts);
        assert!(wrong.is_empty(), "{} differences in round {round}, the first: {}", wrong.len(), wrong[0]);
    }
    eprintln!("{total} random tag sets: 0 extra, 0 missing, 0 rejected");
}

/// Each piece of the hostile corpus by itself, wherever a tag can stand.
#[test]
fn hostile_tags_give_just_the_intended_objects() {
    let harness = Harness::new();
    let base = harness.precache();
    let mut hosts = Vec::new();
    for evil in HOSTILE {
        for text in
            [evil.to_owned(), format!("a{evil}"), format!("{evil}a"), evil.repeat(256).chars().take(256).collect()]
        {
            let number = u32::try_from(hosts.len()).unwrap();
            let mut made =
                host(&format!("i-{number:08x}"), &text, &[("service", &text), ("scope", &text), (&text, &text)]);
            if number % 2 == 0 {
                (made.asg, made.name) = (text, String::new());
            }
            hosts.push(made);
        }
    }
    let _run = harness.verified(csv(&hosts)).run().succeeds();
    assert_eq!(compare(&base, &harness.precache(), &hosts), Vec::<String>::new());
    // A terminal shows it as it is: no control character but the tabs and newlines of the form.
    let text = harness.content().unwrap();
    assert!(text.chars().all(|c| !c.is_control() || c == '\t' || c == '\n'));
}

/// A renderer that writes values as they are, as the old one did: the comparison must see what it lets in.
#[test]
fn the_comparison_sees_what_an_unsafe_renderer_lets_in() {
    let harness = Harness::new();
    let base = harness.precache();
    let raw = |host: &Host| {
        format!(
            "define host {{\n\tuse\tlinux-server\n\thost_name\t{0}-{2}\n\talias\t{0},{1},{2}\n\taddress\t{1}\n}}\n",
            host.name, host.private_ip, host.instance_id
        )
    };
    let cases = [
        (
            "a\n\taddress\t10.0.0.1\n}\ndefine host {\n\tuse\tlinux-server\n\thost_name\tevil\n}\ndefine host {\n\tuse\tlinux-server\n\thost_name\tb",
            "extra: host",
        ),
        (
            "a\n\taddress\t10.0.0.1\n}\ndefine command {\n\tcommand_name\tevil\n\tcommand_line\t/bin/touch /tmp/evil\n}\ndefine host {\n\tuse\tlinux-server\n\thost_name\tb",
            "extra: command",
        ),
        ("a\n\tcheck_command\tnothing!x\n\tnotes\tb", "missing: "),
        ("a\u{202e}b", "not harmless"),
    ];
    for (name, sign) in cases {
        let hosts = [host("i-1", name, &[])];
        fs::write(harness.file(), raw(&hosts[0]).replace(&format!("alias\t{name}"), "alias\ta")).unwrap();
        let wrong = compare(&base, &harness.precache(), &hosts);
        assert!(wrong.iter().any(|what| what.contains(sign)), "{name:?}: {wrong:?}");
    }
    // Nothing at all, and one host too few.
    let hosts = [host("i-1", "a", &[]), host("i-2", "a", &[])];
    fs::write(harness.file(), raw(&hosts[0])).unwrap();
    let wrong = compare(&base, &harness.precache(), &hosts);
    assert!(wrong.len() == 1 && wrong[0].starts_with("missing: "), "{wrong:?}");
    fs::write(harness.file(), (raw(&hosts[0]) + &raw(&hosts[1])).replace("alias\ta,172.31.0.4,i-2", "alias\tb"))
        .unwrap();
    let wrong = compare(&base, &harness.precache(), &hosts);
    assert!(wrong.len() == 1 && wrong[0].starts_with("different: "), "{wrong:?}");
    // And it has nothing to say about what is right.
    fs::write(harness.file(), raw(&hosts[0]) + &raw(&hosts[1])).unwrap();
    assert_eq!(compare(&base, &harness.precache(), &hosts), Vec::<String>::new());
}

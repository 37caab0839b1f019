//! Every command line of the pages is run, as it stands, with what its page assumes around it. Addresses of brokers and
//! search servers are the only words that are changed; programs that can't be had here have stand-ins, listed with why.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod around;
mod host;
mod page;

use around::{Around, ELSEWHERE, PAGES, StandIn};
use end_to_end::{root, tool, tools};
use host::Stage;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Pages at the same time: they wait more than they compute.
const AT_ONCE: usize = 4;

/// All pages, by their paths.
fn pages() -> BTreeMap<String, String> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"];
    let listed = Command::new("git").arg("-C").arg(root()).args(list).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let names = names.split_terminator('\0').filter(|name| !name.contains("/fixtures/"));
    let read = |name: &str| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?));
    names.filter_map(read).collect()
}

#[test]
fn every_command_of_every_page() {
    let only = std::env::var("TEST_PAGE").unwrap_or_default();
    let lock = tempfile::tempdir().unwrap();
    let lock = lock.path().join("store");
    let chosen: Vec<_> = PAGES.iter().filter(|around| around.page.contains(&only)).collect();
    assert!(!chosen.is_empty(), "no page is named {only}");
    let (left, failed) = (Mutex::new(chosen.into_iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(around) = next() {
                    let text = fs::read_to_string(root().join(around.page)).unwrap();
                    match Stage::new(around, text, &lock).run() {
                        Ok(said) => eprintln!("{said}"),
                        Err(why) => failed.lock().unwrap().push(why),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// What the test above rests on: whatever goes wrong on a page is found, and its line is named.
#[test]
fn what_goes_wrong_is_found() {
    const PLAIN: Around = Around { page: "docs/PAGE.md", ..Around::NONE };
    const HOLDS: Around = Around { holds: &[("echo", "grep -qx told \"$said\"")], ..PLAIN };
    const GOES_ON: Around = Around { goes_on: &[("echo", "grep -qx told \"$said\"")], ..PLAIN };
    const STAND_IN: Around =
        Around { stand_ins: &[StandIn { name: "mail", why: "a test", does: "[ $1 = -s ]" }], ..PLAIN };
    let dir = tempfile::tempdir().unwrap();
    let run = |around: &'static Around, commands: &str| {
        Stage::new(around, format!("# Page\n\n```sh\n{commands}\n```\n"), &dir.path().join("lock")).run()
    };
    for (around, commands) in [
        (&PLAIN, "true"),
        (&HOLDS, "echo told"),
        (&GOES_ON, "echo told\nsleep infinity"),
        (&STAND_IN, "mail -s"),
        // It changes nothing here.
        (&PLAIN, "touch /etc/of-a-page /usr/of-a-page /tmp/of-a-page"),
    ] {
        assert_eq!(run(around, commands).err(), None, "{commands}");
    }
    assert!(["/etc", "/usr", "/tmp"].iter().all(|dir| !Path::new(dir).join("of-a-page").exists()));
    for (around, commands, words) in [
        (&PLAIN, "true\ntrue; false\ntrue", "docs/PAGE.md:5, in the block at 3: exit code 1"),
        (&PLAIN, "exit 3", "docs/PAGE.md:1, in the block at 3: exit code 3"),
        (&PLAIN, "echo $undefined", "line 4: undefined: unbound variable"),
        (&PLAIN, "(exit 4) | true", "docs/PAGE.md:4, in the block at 3: exit code 4"),
        (&HOLDS, "echo said", "docs/PAGE.md:3: after this block it does not hold"),
        (&GOES_ON, "echo said", "docs/PAGE.md:3: this block has ended with 0, and should go on"),
        (&STAND_IN, "true", "docs/PAGE.md: nobody called mail"),
        (&STAND_IN, "mail -x", "docs/PAGE.md:4, in the block at 3: exit code 1"),
    ] {
        let why = run(around, commands).unwrap_err();
        assert!(why.contains(words), "{commands}: {why}");
    }
}

/// Each block of commands is run, here or by a test that is named; what is named is there.
#[test]
fn no_block_is_left_out() {
    let (mut here, mut elsewhere) = (BTreeMap::new(), BTreeSet::new());
    for (name, text) in pages() {
        for block in page::commands(&text) {
            match ELSEWHERE.iter().find(|(page, heading, ..)| *page == name && *heading == block.heading) {
                Some(found) => drop(elsewhere.insert(*found)),
                None => *here.entry(name.clone()).or_insert(0) += 1,
            }
        }
        for block in page::blocks(&text) {
            let known = ["sh", "json", "hcl", "properties", "text"].contains(&block.language.as_str());
            assert!(known, "{name}:{}: a block of {:?}: commands are sh", block.lines.0, block.language);
        }
    }
    eprintln!("{here:#?}\n{elsewhere:#?}");
    assert_eq!(
        here.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        PAGES.iter().map(|around| around.page).collect()
    );
    assert_eq!(elsewhere, BTreeSet::from(ELSEWHERE));
    for (page, heading, test, words) in ELSEWHERE {
        let text = fs::read_to_string(root().join("tests/tests").join(test)).unwrap();
        assert!(text.contains(words), "{test} does not run {page}, {heading}");
    }
    for stand_in in PAGES.iter().flat_map(|around| around.stand_ins) {
        assert!(!stand_in.why.is_empty() && !tools().iter().any(|tool| tool == stand_in.name), "{}", stand_in.name);
    }
}

/// Commands are in blocks of sh, and not in indented ones, which nothing runs. A tool's synopsis is none.
#[test]
fn no_command_is_in_another_kind_of_block() {
    let command = format!(
        r"^(\$ |([A-Z_]+=\S+ )*(\S*/)?({}|scripts/\S+|aws|cargo|curl|git|sudo|exec|[a-z]+ .*\|) )",
        tools().join("|")
    );
    let command = Regex::new(&command).unwrap();
    let mut seen = 0;
    for (name, text) in pages() {
        for (heading, line) in page::indented(&text) {
            seen += 1;
            let is_command = command.is_match(&line) && !line.contains(['─', '│', '▼']) && heading != "Usage";
            assert!(!is_command, "{name}: a command that is not in a block of sh: {line}");
        }
        for block in page::blocks(&text).into_iter().filter(|block| block.language != "sh") {
            assert!(!block.text.lines().any(|line| command.is_match(line)), "{name}:{}: commands", block.lines.0);
        }
    }
    assert!(seen > 50, "{seen}");
    assert!(["FOO=1 asg-hosts --list", "scripts/demo now", "asg-hosts | sh"].iter().all(|line| command.is_match(line)));
}

/// Options that a sentence gives to a tool are options that it has.
#[test]
fn options_in_sentences_exist() {
    let option = Regex::new(r"(^| )(--[a-z][a-z-]*)").unwrap();
    let mut seen = 0;
    let helps: BTreeMap<String, String> = tools()
        .into_iter()
        .map(|name| (name.clone(), tool(&name).arg("--help").run().succeeds().stdout_str().to_owned()))
        .collect();
    for (name, text) in pages() {
        // Code spans are every second piece; a fence is none.
        let prose: Vec<&str> = text.split("```").step_by(2).collect();
        for span in prose.iter().flat_map(|part| part.split('`').skip(1).step_by(2)) {
            let mut words = span.split_whitespace();
            let Some(help) = words.next().and_then(|first| helps.get(first)) else { continue };
            // What runs behind a pipe has options of its own.
            for found in option.captures_iter(span.split(" | ").next().unwrap()) {
                let known = Regex::new(&format!(r"(^|[ ,]){}([ ,=\[\n]|$)", &found[2])).unwrap().is_match(help);
                assert!(known, "{name}: `{span}`: there is no {}", &found[2]);
                seen += 1;
            }
        }
    }
    assert!(seen > 8, "{seen}");
}

/// A newcomer reads the first page in three minutes: what is before the table of promises, at 250 words a minute.
#[test]
fn the_first_page_is_short() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let read = text.split_once("\n## For each promise").unwrap().0;
    let words = read.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count();
    assert!(words <= 750, "{words} words");
}

//! Objects on stdout.

use crate::fleet::{csv, host};
use crate::nagios_gen;
use records::Host;

#[test]
fn plain_tags_give_the_directives_nagios_knows_in_their_order() {
    let hosts = [host("i-2", "ob-appengine", &[("service", "obelix"), ("scope", "spot")]), host("i-1", "ob", &[])];
    let run = nagios_gen().stdin(csv(&hosts)).run().succeeds();
    assert_eq!(
        run.stdout_str(),
        "define host {\n\tuse\tlinux-server\n\thost_name\tob-i-1\n\talias\tob,172.31.0.4,i-1\n\taddress\t172.31.0.4\n}\n\
         define host {\n\tuse\tlinux-server\n\thost_name\tob-appengine-i-2\n\talias\tob-appengine,172.31.0.4,i-2\n\
         \taddress\t172.31.0.4\n\thostgroups\tobelix-spot-servers\n}\n\
         define hostgroup {\n\thostgroup_name\tobelix-spot-servers\n\talias\tobelix-spot-servers\n}\n"
    );
}

#[test]
fn hostile_values_stay_on_their_line() {
    let evil = "a\n}\ndefine command {\n\tcommand_line\t$(touch /x);\\";
    let tags = [("service", evil), ("scope", "!*,+")];
    let hosts = [host("i-1", evil, &tags), host("i-2", "\\", &tags)];
    let run = nagios_gen().arg("--no-hostgroups").stdin(csv(&hosts)).run().succeeds();
    let text = run.stdout_str();
    assert_eq!(text.lines().count(), 14, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("define")).count(), 2, "{text}");
    for line in text.lines().filter(|line| line.starts_with('\t')) {
        let (_, value) = line[1..].split_once('\t').unwrap();
        assert!(!value.contains(['\t', ';', '\\', '$', '{', '}', '(', '`', '!', '*', '+']), "{line}");
    }
}

#[test]
fn what_can_not_be_watched_is_counted() {
    let stopped = Host { instance_state: "stopped".to_owned(), ..host("i-1", "a", &[]) };
    let unresolved = Host { instance_state: String::new(), private_ip: String::new(), ..host("i-2", "a", &[]) };
    let nowhere = Host { private_ip: "$(id)".to_owned(), ..host("i-3", "a", &[]) };
    let run = nagios_gen().stdin(csv(&[stopped, unresolved, nowhere])).run().succeeds().stdout_is("");
    let run = run.stderr_contains("2 of 3 hosts left out: not running");
    let _told = run.stderr_contains("1 of 3 hosts left out: no private IP address");
}

#[test]
fn a_failed_stage_before_is_no_empty_fleet() {
    let empty = nagios_gen().stdin("").run().fails_with(75).stdout_is("").stderr_is_one_line();
    let _told = empty.stderr_contains("not even a header");
    let _none = nagios_gen().stdin(csv(&[])).run().succeeds().stdout_is("");
    let header = "instance_id,instance_state,private_ip,tags\n";
    for wrong in ["i-1,running\n", "i-1,running,10.0.0.1,x\n", "\"\",running,10.0.0.1,{}\n"] {
        let _run = nagios_gen().stdin([header, wrong].concat()).run().fails_with(1).stdout_is("").stderr_is_one_line();
    }
    // Cut in the middle of an address, which is one too.
    let cut = nagios_gen().stdin("instance_id,instance_state,private_ip\ni-1,running,10.0.0.1").run().fails_with(75);
    let _told = cut.stdout_is("").stderr_is_one_line().stderr_contains("the last line has no end");
    // No list, or one that could not show a single host.
    for (wrong, lacking) in [("<html>\n", "instance_id"), ("instance_id,private_ip\ni-1,10.0.0.1\n", "instance_state")]
    {
        let run = nagios_gen().stdin(wrong).run().fails_with(1).stdout_is("").stderr_is_one_line();
        let _told = run.stderr_contains(&format!("the header has no column {lacking}"));
    }
    let twice = csv(&[host("i-1", "a", &[]), host("i-1", "b", &[])]);
    let _run = nagios_gen().stdin(twice).run().fails_with(1).stdout_is("").stderr_contains("i-1 stands twice");
}

#[test]
fn words_about_the_command_line() {
    for words in [&["--use", "a b"][..], &["--use", ""], &["--nope"], &["file"]] {
        let _run = nagios_gen().args(words).stdin("").run().fails_with(2).stdout_is("").stderr_is_one_line();
    }
    let help = nagios_gen().arg("--help").run().succeeds();
    assert!(help.stdout_str().contains("75  temporary failure"), "{}", help.report());
}

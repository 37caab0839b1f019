//! Objects on stdout.

use crate::fleet::{csv, host};
use crate::harness::nagios_gen;
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

/// Whoever is in service and not in the list would not be missed by Nagios.
#[test]
fn who_is_in_service_is_watched_or_the_list_is_refused() {
    let in_service = |id: &str| Host { lifecycle_state: "InService".to_owned(), ..host(id, "a", &[]) };
    let nowhere = Host { private_ip: String::new(), ipv6: "2a05:d018::b".to_owned(), ..in_service("i-2") };
    let unknown = Host { instance_state: String::new(), private_ip: String::new(), ..in_service("i-3") };
    let list = |hosts: &[&Host]| nagios_gen().stdin(csv(hosts.iter().copied()));

    let run = list(&[&in_service("i-1"), &nowhere, &unknown]).run().fails_with(1).stdout_is("").stderr_is_one_line();
    let run = run.stderr_contains("in service, but no private IP address: i-2: choose another address by --address");
    let _told = run.stderr_contains("--skip-unaddressed");
    let run = list(&[&in_service("i-1"), &unknown]).run().fails_with(75).stdout_is("").stderr_is_one_line();
    let _told = run.stderr_contains("in service, but not known to EC2: i-3: list them again");

    let run = list(&[&in_service("i-1"), &nowhere, &unknown]).arg("--skip-unaddressed").run().succeeds();
    assert_eq!(run.stdout_str().matches("define host {").count(), 1);
    let run = run.stderr_contains("1 of 3 hosts left out: no private IP address: i-2");
    let _told = run.stderr_contains("1 of 3 hosts left out: not known to EC2: i-3");
    // Neither stopped nor on its way out or in is in service.
    let pending = Host { lifecycle_state: "Pending".to_owned(), ..nowhere.clone() };
    let stopped = Host { instance_state: "stopped".to_owned(), ..unknown.clone() };
    let _run = list(&[&in_service("i-1"), &pending, &stopped]).run().succeeds();
}

#[test]
fn the_address_is_of_the_kind_asked_for() {
    let everywhere = Host {
        public_ip: "54.214.22.1".to_owned(),
        ipv6: "2A05:D018:0::B".to_owned(),
        private_dns: "ip-172-31-0-4.ec2.internal".to_owned(),
        ..host("i-1", "a", &[])
    };
    for (kind, address) in [
        ("private", "172.31.0.4"),
        ("public", "54.214.22.1"),
        ("ipv6", "2a05:d018::b"),
        ("private-dns", "ip-172-31-0-4.ec2.internal"),
    ] {
        let run = nagios_gen().args(["--address", kind]).stdin(csv([&everywhere])).run().succeeds().stderr_is_empty();
        assert!(run.stdout_str().contains(&format!("\taddress\t{address}\n")), "{}", run.report());
    }
    for evil in ["$(id)", "-x", "a b", "a;b", ""] {
        let host = Host { private_dns: evil.to_owned(), ..everywhere.clone() };
        let run = nagios_gen().args(["--address", "private-dns"]).stdin(csv([&host])).run().succeeds().stdout_is("");
        let _told = run.stderr_contains("1 of 1 hosts left out: no private DNS name: i-1");
    }
    let run = nagios_gen().args(["--address", "ipv6"]).stdin("instance_id,instance_state,private_ip\n").run();
    let _told = run.fails_with(1).stderr_contains("the header has no column ipv6");
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

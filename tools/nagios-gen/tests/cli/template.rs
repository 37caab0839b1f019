//! Templates of the user's own: they say what the objects look like, and can't print a value raw.

use crate::fleet::{HOSTILE, csv, host};
use crate::harness::{Harness, nagios_gen};
use records::Host;
use std::fs;
use testkit::Finished;

fn rendered(template: &str, hosts: &[Host]) -> Finished {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t"), template).unwrap();
    nagios_gen().arg("--template").arg(dir.path().join("t")).stdin(csv(hosts)).run()
}

const SERVICES: &str = "\
{% for host in hosts %}
define host {
\tuse\t{{ use }}
\thost_name\t{{ host.host_name }}
\talias\t{{ host.alias }}
\taddress\t{{ host.address }}
{% if host.hostgroup %}
\thostgroups\t{{ host.hostgroup }}
{% endif %}
\t_ZONE\t{{ host.az }}
\tnotes\t{{ host.tags.Owner | default('nobody') | words }}
}
{% for service in services %}
define service {
\tuse\t{{ service.use }}
\thost_name\t{{ host.host_name }}
\tservice_description\t{{ service.description }}
}
{% endfor %}
{% endfor %}
{% for group in hostgroups %}
define hostgroup {
\thostgroup_name\t{{ group }}
}
{% endfor %}
";

#[test]
fn a_template_says_what_the_objects_look_like() {
    let harness = Harness::new();
    fs::write(harness.path("t"), SERVICES).unwrap();
    let mut hosts =
        [host("i-1", "ob", &[("service", "obelix"), ("Owner", "Käse & Söhne; x")]), host("i-2", "ob b", &[])];
    hosts[0].az = "eu-west-1a".to_owned();
    let run =
        harness.verified(csv(&hosts)).arg("--template").arg(harness.path("t")).args(["--service", "HTTP=http-service"]);
    let _run = run.run().succeeds();
    let expected = "\
define host {\n\tuse\tlinux-server\n\thost_name\tob-i-1\n\talias\tob,172.31.0.4,i-1\n\taddress\t172.31.0.4\n\
\thostgroups\tobelix-servers\n\t_ZONE\teu-west-1a\n\tnotes\tKäse :26 Söhne:3b x\n}\n\
define service {\n\tuse\thttp-service\n\thost_name\tob-i-1\n\tservice_description\tHTTP\n}\n\
define host {\n\tuse\tlinux-server\n\thost_name\tob:20b-i-2\n\talias\tob b,172.31.0.4,i-2\n\taddress\t172.31.0.4\n\
\t_ZONE\t\n\tnotes\tnobody\n}\n\
define service {\n\tuse\thttp-service\n\thost_name\tob:20b-i-2\n\tservice_description\tHTTP\n}\n\
define hostgroup {\n\thostgroup_name\tobelix-servers\n}\n";
    assert_eq!(harness.content().unwrap(), expected);
}

/// Every way to print a tag, with every hostile text in it: nothing but harmless signs comes out.
#[test]
fn no_expression_prints_a_value_raw() {
    let ways = [
        "{{ host.name }}",
        "{{ host.tags.k }}",
        "{{ host.tags }}",
        "{{ host.name ~ host.host_name }}",
        "{{ host.host_name ~ host.name }}",
        "{{ host.name | words }}",
        "{{ host.tags | words }}",
        "{{ host.name | lower }}{{ host.name | upper }}{{ host.name | title }}{{ host.name | capitalize }}",
        "{{ host.name | trim }}{{ host.name | replace('a', 'b') }}{{ host.host_name | replace('-', host.name) }}",
        "{{ [host.host_name, host.name] | join(',') }}{{ [host.name, host.name] | join(host.name) }}",
        "{{ [host.name] }}{{ {'a': host.name} }}{{ [host.name] | first }}{{ host.name | list }}{{ host.name | reverse }}",
        "{{ host.name | indent(2) }}{{ host.name | string }}{{ host.name | default('x') }}{{ host.none | default(host.name) }}",
        "{{ host.name | escape }}{{ host.name | e }}{{ host.host_name | indent(2) }}",
        "{{ '%s' | format(host.name) }}{{ host.host_name | format(host.name) }}",
        "{% autoescape false %}{{ host.name }}{{ [host.host_name, host.name] | join }}{% endautoescape %}",
        "{% set x = host.name %}{{ x }}{% set y %}{{ host.name }}{% endset %}{{ y }}",
        "{% macro m(v) %}{{ v }}{% endmacro %}{{ m(host.name) }}{{ m(host.name) ~ host.name }}",
        "{% autoescape false %}{% set y %}{{ host.name }}{% endset %}{{ y }}{% endautoescape %}",
        "{% filter upper %}{{ host.name }}{% endfilter %}",
        "{{ host.name[0] }}{{ host.name[1:] }}{{ host.name.strip }}",
        "{{ (host.name, host.name) }}{{ host.name * 2 }}{{ host.name | split('a') | list }}{{ host.name | lines }}",
        "{{ host.tags | items | list }}{{ host.tags | dictsort }}{{ hosts | map(attribute='name') | join(' ') }}",
    ];
    let hosts: Vec<Host> = HOSTILE
        .iter()
        .enumerate()
        .map(|(n, evil)| host(&format!("i-{n}"), evil, &[("k", evil), (evil, evil)]))
        .collect();
    let mut printed = 0;
    for way in ways {
        let run = rendered(&format!("{{% for host in hosts %}}\n{way}|\n{{% endfor %}}\n"), &hosts);
        if run.code == Some(1) {
            // Not every version knows every filter; an expression that prints nothing prints nothing raw.
            assert_eq!(run.stdout, b"", "{way}");
            let _one_line = run.stderr_is_one_line();
            continue;
        }
        printed += 1;
        let run = run.succeeds();
        let text = run.stdout_str();
        assert_eq!(text.lines().count(), hosts.len(), "{way}: {text}");
        for line in text.lines() {
            let line = line.strip_suffix('|').unwrap();
            let harmless =
                |c: char| c.is_alphanumeric() || ".-_:".contains(c) || way.contains("words") && " /#@+".contains(c);
            assert!(line.chars().all(harmless) && !line.starts_with(['+', '#']) && line != "null", "{way}: {line:?}");
        }
    }
    assert!(printed >= 15, "only {printed} of the expressions print at all");
    let raw = rendered("{{ hosts[0].name | safe }}", &hosts).fails_with(1).stdout_is("").stderr_is_one_line();
    let _told = raw.stderr_contains("unknown filter");
}

#[test]
fn a_wrong_template_is_named() {
    let hosts = [host("i-1", "a", &[])];
    for wrong in ["{% for %}", "{{ nothing }}", "{{ hosts[0].nmae }}", "{% include 'x' %}", "{{ 1 / 0 }}"] {
        let run = rendered(wrong, &hosts).fails_with(1).stdout_is("").stderr_is_one_line();
        let _told = run.stderr_contains("unable to render");
    }
    for (file, why) in [("/no/such/file", "No such file"), ("/dev/zero", "it has more than 8388608 bytes")] {
        let run = nagios_gen().args(["--template", file]).stdin(csv(&hosts)).run().fails_with(1).stderr_is_one_line();
        let _told = run.stderr_contains(&format!("unable to read {file}: {why}"));
    }
}

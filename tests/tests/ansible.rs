//! asg-hosts as the inventory of two releases of Ansible itself.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::{bin_dir, root, stack_tool};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use testkit::{FleetFault, FleetInstance, FleetModel, Tool, saved_fleet};

/// The current release of Ansible for Python 3.11, and the one before.
const ANSIBLE: [&str; 2] = ["2.19.14", "2.18.19"];

/// What the page of asg-hosts says to set: without it a failed inventory is one without hosts.
const UNPARSED: (&str, &str) = ("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "true");

/// Ansible, with nothing of the machine's in it.
fn ansible(version: &str, command: &str) -> Tool {
    Tool::new(stack_tool(&format!("ansible-core=={version}")).join(command))
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_LOCALHOST_WARNING", "false")
        .env(UNPARSED.0, UNPARSED.1)
}

/// Values that would leave `marker` if anything took them for a template or a command.
fn corpus(marker: &Path) -> Vec<String> {
    let touch = format!("touch {}", marker.display());
    let mut corpus: Vec<String> = [
        "{{ lookup('pipe', 'TOUCH') }}",
        "{{ lookup(\"pipe\", \"TOUCH\") }}",
        "{%- set x = lookup('pipe', 'TOUCH') -%}{{ x }}",
        "{# {{ #}{{ lookup('pipe', 'TOUCH') }}",
        "a\n{{ lookup('pipe', 'TOUCH') }}",
        "{\"__ansible_unsafe\": \"{{ lookup('pipe', 'TOUCH') }}\"}",
        "!unsafe {{ lookup('pipe', 'TOUCH') }}",
        "{{ {{ lookup('pipe', 'TOUCH') }} }}",
        "#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ lookup('pipe', 'TOUCH') ]]",
        "$(TOUCH)",
        "`TOUCH`",
        "; TOUCH #",
        "| TOUCH",
        "a\nTOUCH\n",
        "}\ndefine command{\n\tcommand_line\tTOUCH\n}",
        "=cmd|' /C TOUCH'!A0",
        "trailing\\",
        "\"",
        "'",
        ",",
        "a,b",
        "}",
        "{{",
        "{% raw %}",
        "tab\t, return\r, newline\n, bell\u{7}, escape \u{1b}[31m, nothing \u{0}",
        "\u{202e}turned",
        "ünïcödé 🚀",
        " padded ",
        "",
        "yes",
        "null",
        "1e3",
        "[1, 2]",
    ]
    .map(|value| value.replace("TOUCH", &touch))
    .to_vec();
    corpus.push("x".repeat(256));
    corpus
}

/// A directory with an inventory script over a saved fleet, and a playbook that uses every variable of every host.
struct Stage {
    dir: TempDir,
    corpus: Vec<String>,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let corpus = corpus(&dir.path().join("marker"));
        fs::write(dir.path().join("saved.json"), saved_fleet(&corpus)).unwrap();
        fs::write(
            dir.path().join("play.yml"),
            format!(
                "- hosts: ec2\n  gather_facts: false\n  connection: local\n  vars: {{ ansible_python_interpreter: '{{{{ ansible_playbook_python }}}}' }}\n  tasks:\n\
                 \x20   - debug: {{ var: 'hostvars[inventory_hostname]' }}\n\
                 \x20   - debug: {{ msg: '{{{{ ec2_tag_Name }}}} {{{{ ec2_tag_Name | quote }}}}' }}\n\
                 \x20   - debug: {{ msg: '{{{{ group_names | join }}}} {{{{ ansible_ssh_host }}}}' }}\n\
                 \x20   - copy:\n\
                 \x20       dest: '{}/names.json'\n\
                 \x20       content: \"{{{{ groups.ec2 | map('extract', hostvars, 'ec2_tag_Name') | list | to_json }}}}\"\n\
                 \x20     run_once: true\n",
                dir.path().display()
            ),
        )
        .unwrap();
        let stage = Self { dir, corpus };
        let tool = bin_dir().join("asg-hosts");
        stage.script("inventory", &format!("exec {} --input saved.json --allow-merge \"$@\"", tool.display()));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, line: &str) {
        let text = format!("#!/bin/sh\ncd '{}'\n{line}\n", self.dir.path().display());
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn was_run(&self) -> bool {
        self.path("marker").exists()
    }
}

#[test]
fn ansible_runs_nothing_of_what_tags_hold() {
    for version in ANSIBLE {
        let stage = Stage::new();
        for words in [&["--list"][..], &["--list", "--full-hostvars"]] {
            let more = words[1..].join(" ");
            let tool = bin_dir().join("asg-hosts");
            stage.script(
                "inventory",
                &format!("exec {} --input saved.json --allow-merge {more} \"$@\"", tool.display()),
            );
            let list = ansible(version, "ansible-inventory").arg("-i").arg(stage.path("inventory")).arg("--list");
            let list = list.run().succeeds();
            assert!(!stage.was_run(), "{version}: ansible-inventory ran a tag: {}", list.report());
            assert!(!list.stderr_str().contains("DEPRECAT"), "{version}: {}", list.report());
            let list: Value = serde_json::from_slice(&list.stdout).unwrap();
            for (number, value) in stage.corpus.iter().enumerate() {
                let name = &list["_meta"]["hostvars"][format!("127.0.1.{number}")]["ec2_tag_Name"];
                // 2.18 shows the mark, 2.19 has taken it off.
                let name = name.get("__ansible_unsafe").unwrap_or(name);
                assert_eq!(name, &json!(value), "{version}");
            }
            let play = ansible(version, "ansible-playbook").arg("-i").arg(stage.path("inventory"));
            let play = play.arg(stage.path("play.yml")).run().succeeds();
            assert!(!stage.was_run(), "{version}: ansible-playbook ran a tag: {}", play.report());
            assert!(!play.stderr_str().contains("DEPRECAT"), "{version}: {}", play.report());
            let names: Vec<String> = serde_json::from_slice(&fs::read(stage.path("names.json")).unwrap()).unwrap();
            assert_eq!(names, stage.corpus, "{version}");
        }
    }
}

#[test]
fn the_same_values_without_marks_are_run() {
    // What the test above would look like if it could not fail: the marks taken off, Ansible runs the tags.
    for version in ANSIBLE {
        let stage = Stage::new();
        let unmark = "import json, sys\n\
                      json.dump(json.load(sys.stdin, object_hook=lambda o: o.get('__ansible_unsafe', o)), sys.stdout)";
        fs::write(stage.path("unmark.py"), unmark).unwrap();
        let tool = bin_dir().join("asg-hosts");
        let line = format!("{} --input saved.json --allow-merge \"$@\" | python3 unmark.py", tool.display());
        stage.script("inventory", &line);
        let play = ansible(version, "ansible-playbook").arg("-i").arg(stage.path("inventory"));
        let _play = play.arg(stage.path("play.yml")).run();
        assert!(stage.was_run(), "{version}: no tag was run");
    }
}

#[test]
fn the_binary_itself_is_an_inventory() {
    let model = FleetModel::start();
    for (number, asg) in ["obelix-spot", "obelix-ondemand"].iter().enumerate() {
        model.add_instance(
            "eu-west-1",
            FleetInstance {
                id: format!("i-{number}"),
                state: "running".to_owned(),
                spot: number == 0,
                zone: "eu-west-1a".to_owned(),
                private_ip: format!("172.31.0.{number}"),
                public_ip: String::new(),
                tags: vec![("aws:autoscaling:groupName".to_owned(), (*asg).to_owned())],
            },
        );
    }
    for version in ANSIBLE {
        let list = ansible(version, "ansible-inventory").aws(model.endpoint()).env("AWS_REGION", "eu-west-1");
        let list = list.arg("-i").arg(bin_dir().join("asg-hosts")).arg("--list").run().succeeds();
        assert!(!list.stderr_str().contains("DEPRECAT"), "{version}: {}", list.report());
        let list: BTreeMap<String, Value> = serde_json::from_slice(&list.stdout).unwrap();
        let group = &list["tag_aws_autoscaling_groupName_obelix_spot"];
        assert_eq!(group["hosts"], json!(["172.31.0.0"]), "{version}");
        assert_eq!(list["ec2"]["hosts"], json!(["172.31.0.0", "172.31.0.1"]), "{version}");
    }
}

/// The second page fails. With the setting of the page that is a failed run; without it Ansible does nothing, and succeeds.
#[test]
fn an_inventory_that_fails_is_no_run_without_hosts() {
    let model = FleetModel::start();
    model.fill("us-east-1", 4, 1);
    model.limit_pages(2);
    model.fail(Box::new(|call| (call.skipped == 2).then(|| FleetFault::error(400, "ExpiredToken"))));
    let dir = tempfile::tempdir().unwrap();
    let (play, marker) = (dir.path().join("play.yml"), dir.path().join("marker"));
    let touch = format!("touch {}", marker.display());
    fs::write(
        &play,
        format!("- hosts: all\n  gather_facts: false\n  connection: local\n  tasks: [{{ raw: {touch} }}]\n"),
    )
    .unwrap();
    let page = fs::read_to_string(root().join("tools/asg-hosts/README.md")).unwrap();
    let set = format!("{}={}", UNPARSED.0, UNPARSED.1);
    assert!(page.contains(&set), "the page names {set}");
    let (binary, script) = (bin_dir().join("asg-hosts"), dir.path().join("fleet"));
    fs::write(&script, format!("#!/bin/sh\nexec {} --in-service \"$@\"\n", binary.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for version in ANSIBLE {
        let run = |tool: Tool, inventory: &Path| tool.aws(model.endpoint()).arg("-i").arg(inventory).arg(&play).run();
        for inventory in [&binary, &script] {
            let failed = run(ansible(version, "ansible-playbook"), inventory).fails_with(1);
            assert!(failed.report().contains("ExpiredToken"), "{version}: {}", failed.report());
        }
        let unset = ansible(version, "ansible-playbook").env(UNPARSED.0, "false");
        let _nothing = run(unset, &script).succeeds().stdout_contains("no hosts matched");
        assert!(!marker.exists());
    }
}

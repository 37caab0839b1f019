//! Nagios objects of a list of hosts.

use crate::args::{ObjectArgs, Service};
use crate::hosts::{self, Object};
use crate::template;
use cli::Console;
use failure::Failure;
use std::collections::BTreeSet;

/// The objects of all running hosts on stdin.
///
/// # Errors
/// As [`hosts::read`]; or the template is wrong.
pub(crate) fn render(args: &ObjectArgs, console: Console) -> Result<String, Failure> {
    // Read first: a wrong template must not end the stage before by a closed pipe.
    let objects = hosts::read(args, console)?;
    let groups: BTreeSet<&str> = objects.iter().filter_map(|object| object.hostgroup.as_deref()).collect();
    match &args.template {
        Some(file) => template::render(file, args, &objects, &groups),
        None => Ok(built_in(args, &objects, &groups)),
    }
}

fn built_in(args: &ObjectArgs, objects: &[Object], groups: &BTreeSet<&str>) -> String {
    let mut text = String::new();
    for object in objects {
        let group = object.hostgroup.as_deref().map(|group| ("hostgroups", group));
        let lines = [
            ("use", args.host_template.as_str()),
            ("host_name", &object.host_name),
            ("alias", &object.alias),
            ("address", &object.address),
        ];
        push(&mut text, "host", lines.into_iter().chain(group));
        for Service { description, template } in &args.service {
            let host_name = object.host_name.as_str();
            let lines = [("use", template.as_str()), ("host_name", host_name), ("service_description", description)];
            push(&mut text, "service", lines);
        }
    }
    if !args.no_hostgroups {
        for group in groups {
            push(&mut text, "hostgroup", [("hostgroup_name", *group), ("alias", group)]);
        }
    }
    text
}

fn push<'a>(text: &mut String, kind: &str, lines: impl IntoIterator<Item = (&'a str, &'a str)>) {
    text.push_str("define ");
    text.push_str(kind);
    text.push_str(" {\n");
    for (directive, value) in lines {
        for part in ["\t", directive, "\t", value, "\n"] {
            text.push_str(part);
        }
    }
    text.push_str("}\n");
}

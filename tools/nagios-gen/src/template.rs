//! Objects in a form of the user's own: a Jinja template that can't print a value raw.
//!
//! Escaping is not the template's business: whatever an expression yields is made a name (`safe::name`) on its way out.
//! What is safe already, a host's name or its alias, passes unchanged; the filter `words` is for text that people read.
//! There is no filter that lets a value through as it is, and switching `autoescape` off changes nothing.

use crate::args::ObjectArgs;
use crate::hosts::Object;
use crate::safe;
use failure::Failure;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, State, UndefinedBehavior};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Longest template.
const LARGEST_TEMPLATE: u64 = 8 << 20;

/// The objects as the template `file` writes them.
///
/// # Errors
/// The template can't be read, is wrong, or asks for something that is not there.
pub(crate) fn render(
    file: &Path,
    args: &ObjectArgs,
    objects: &[Object],
    groups: &BTreeSet<&str>,
) -> Result<String, Failure> {
    let what = || format!("unable to render {}", file.display());
    let source = cli::read_file(file, LARGEST_TEMPLATE)?;
    let source = String::from_utf8(source).map_err(|_| Failure::permanent(format!("{}: it is not UTF-8", what())))?;
    let wrong = |error: Error| Failure::permanent(format!("{}: {error}", what()));
    let environment = environment().map_err(wrong)?;
    let template = environment.template_from_named_str("template", &source).map_err(wrong)?;
    let services = args.service.iter().map(|service| {
        Value::from(BTreeMap::from([
            ("description", safe_value(&service.description)),
            ("use", safe_value(&service.template)),
        ]))
    });
    let context = BTreeMap::from([
        ("use", safe_value(&args.host_template)),
        ("hosts", objects.iter().map(host).collect()),
        ("hostgroups", groups.iter().map(|group| safe_value(group)).collect()),
        ("services", services.collect()),
    ]);
    template.render(context).map_err(wrong)
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    // A line with nothing but a tag leaves no empty line behind.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    // Not `None`: what macros and blocks made would lose its mark and be escaped twice.
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("nagios".into()));
    environment.set_formatter(|out, _: &mut State, value| {
        match value.as_str() {
            Some(text) if value.is_safe() => out.write_str(text),
            Some(text) => out.write_str(&strict(text)),
            // Nothing: a host without a hostgroup.
            None if value.is_none() => Ok(()),
            None => out.write_str(&strict(&value.to_string())),
        }
        .map_err(Error::from)
    });
    environment.remove_filter("safe");
    environment.add_filter("words", |value: &Value| match value.as_str() {
        Some(text) if value.is_safe() => safe_value(text),
        _ => safe_value(&safe::text(&value.to_string())),
    });
    Ok(environment)
}

/// A name, and none that has a meaning of its own: `null` would cancel a directive.
fn strict(text: &str) -> String {
    if text == "null" { ":6eull".to_owned() } else { safe::name(text) }
}

fn safe_value(text: &str) -> Value {
    Value::from_safe_string(text.to_owned())
}

/// A host as a template sees it: the names made for Nagios, and every column of the list.
fn host(object: &Object) -> Value {
    let mut seen = BTreeMap::from([
        ("host_name", safe_value(&object.host_name)),
        ("alias", safe_value(&object.alias)),
        ("address", safe_value(&object.address)),
        ("hostgroup", object.hostgroup.as_deref().map_or(Value::from(()), safe_value)),
    ]);
    if let Some(host) = &object.host {
        let columns = records::COLUMNS.iter().filter(|name| **name != "tags");
        seen.extend(columns.filter_map(|name| Some((*name, Value::from(host.column(name)?)))));
        seen.insert("tags", Value::from(host.tags.clone()));
    }
    Value::from(seen)
}

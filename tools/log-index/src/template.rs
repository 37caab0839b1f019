//! The index template: types for the fields that log-index writes, so that the first document of an index does not decide them.

use crate::args::{Args, Documents, Parse};
use crate::search::Search;
use cli::Output;
use failure::Failure;
use serde_json::{Value, json};

/// Above the templates that the servers bring along; a longer pattern goes before a shorter one.
const PRIORITY: usize = 200;

/// Prints it.
///
/// # Errors
/// stdout can't be written.
pub(crate) fn print(args: &Args) -> Result<(), Failure> {
    let text = format!("{:#}\n", template(&args.documents));
    Output::default().write_and_close(text.as_bytes())
}

/// Puts it.
///
/// # Errors
/// The server does not take it, or can't be reached.
pub(crate) fn put(args: &Args) -> Result<(), Failure> {
    let search = Search::new(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("unable to start the client", error))?;
    let name = format!("log-index-{}", args.documents.index.plain());
    runtime.block_on(search.put_template(&name, template(&args.documents).to_string()))
}

fn template(documents: &Documents) -> Value {
    let keyword = || json!({ "type": "keyword", "ignore_above": 1024 });
    // A text that looks like a date counts as one there.
    let dynamic = |name: &str, place: &str| {
        ["string", "date"].map(|kind| {
            let name = format!("{name}_{kind}");
            json!({ name: { "path_match": place, "match_mapping_type": kind, "mapping": keyword() } })
        })
    };
    let text = json!({ "type": "text", "fields": { "keyword": { "type": "keyword", "ignore_above": 256 } } });
    let origin = json!({
        "host": keyword(), "path": keyword(), "time": keyword(), "moved": keyword(), "fields": { "type": "object" },
    });
    let mut properties = json!({
        "@timestamp": { "type": "date" }, "message": text, "parse_error": keyword(),
        "log": { "properties": { "origin": { "properties": origin } } },
    });
    let mut dynamics = dynamic("fields", "log.origin.fields.*").to_vec();
    match documents.parse {
        // Where no line brings fields of its own, these names are free: what asked for the old ones finds the new ones.
        Parse::None => {
            for name in ["host", "path"] {
                properties[name] = json!({ "type": "alias", "path": format!("log.origin.{name}") });
            }
        }
        Parse::Syslog => {
            let names = ["facility", "severity", "hostname", "appname", "procid", "msgid"];
            let parts: serde_json::Map<_, _> = names.into_iter().map(|name| (name.to_owned(), keyword())).collect();
            properties["syslog"] = json!({ "properties": parts });
            dynamics.extend(dynamic("data", "syslog.data.*"));
        }
        Parse::Auto | Parse::Json => {}
    }
    if properties.get(&documents.time_field).is_none() && documents.parse != Parse::None {
        properties[&documents.time_field] = json!({ "type": "date", "ignore_malformed": true });
    }
    let pattern = documents.index.wildcard();
    json!({
        "index_patterns": [pattern],
        "priority": PRIORITY + pattern.len(),
        "template": { "mappings": { "dynamic_templates": dynamics, "properties": properties } },
        "_meta": { "description": "Fields that log-index writes" },
    })
}

//! What holds for the tree itself, whoever works on it: who depends on whom, that tests run what is shipped, that no file is
//! forgotten, that pages name what is there. Each check returns what is wrong, and is itself checked on a small tree in which
//! all of that is.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

use end_to_end::root;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Nothing is wrong.
const NOTHING: [&str; 0] = [];

#[test]
fn libraries_need_no_command_line_and_no_tool() {
    assert_eq!(wrong_dependencies(root()), NOTHING);
}

/// Otherwise the tests run other tools than those that are shipped, and everything is compiled twice.
#[test]
fn tools_have_no_other_features_when_tests_are_built() {
    assert_eq!(other_features(root()), NOTHING);
}

#[test]
fn no_file_is_forgotten() {
    assert_eq!(forgotten(root()), NOTHING);
}

#[test]
fn pages_lead_to_files_that_exist() {
    let pages = pages(root());
    assert!(pages.len() > 20, "{pages:?}");
    let wrong: Vec<String> = pages.iter().flat_map(|page| wrong_on(root(), page)).collect();
    assert_eq!(wrong, NOTHING);
}

#[test]
fn the_checks_find_what_is_wrong() {
    let tree = made_up();
    let wrong = ["a library depends on cli: durable", "a tool is depended on: pack by durable"];
    assert_eq!(wrong_dependencies(tree.path()), wrong);
    let found = other_features(tree.path());
    assert!(matches!(&found[..], [one] if one.starts_with("cli v0.0.0 ")), "{found:?}");
    let wrong = [
        "shared/durable/src/deep/lost.rs",
        "shared/durable/src/lost.rs",
        "tools/pack/tests/alone/plain.rs",
        "tools/pack/tests/cli/lost.rs",
    ];
    assert_eq!(forgotten(tree.path()), wrong);
    let found: Vec<String> = pages(tree.path()).iter().flat_map(|page| wrong_on(tree.path(), page)).collect();
    let wrong = [
        "docs/PAGE.md leads to GONE.md",
        "docs/PAGE.md leads to PAGE.md#no-such-heading, which has no such heading",
        "docs/PAGE.md names docs/GONE.md",
        "docs/PAGE.md names tools/gone/tests",
        "docs/PAGE.md names shared/durable/src/gone.rs",
        "docs/PAGE.md names shared/gone/<any>.rs",
        "docs/PAGE.md names pack/gone.rs",
        "docs/PAGE.md names unheard/of.rs",
        "docs/PAGE.md names gone.rs",
    ];
    assert_eq!(found, wrong);
}

fn made_up() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |name: &str, more: &str| {
        let (kind, name) = name.split_once('/').unwrap();
        let text = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{more}");
        write(&format!("{kind}/{name}/Cargo.toml"), &text);
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"shared/*\", \"tools/*\"]\n");
    let durable = "[target.'cfg(unix)'.dependencies]\nother = { package = \"cli\", path = \"../cli\" }\n";
    package("shared/durable", &format!("[dev-dependencies]\npack = {{ path = \"../../tools/pack\" }}\n{durable}"));
    write(
        "shared/durable/src/lib.rs",
        "//! mod lost;\n#[cfg(test)]\npub(crate) mod deep;\n#[path = \"odd.rs\"]\nmod even;\n",
    );
    write("shared/durable/src/deep.rs", "mod known;\n");
    write("shared/durable/src/deep/known/mod.rs", "mod below;\n");
    for path in ["deep/known/below.rs", "deep/lost.rs", "lost.rs", "odd.rs", "bin/extra.rs"] {
        write(&format!("shared/durable/src/{path}"), "");
    }
    package("shared/cli", "[features]\ncolour = []\n");
    write("shared/cli/src/lib.rs", "");
    package("shared/testkit", "[dependencies]\ncli = { path = \"../cli\" }\n");
    write("shared/testkit/src/lib.rs", "");
    let cli = "cli = { path = \"../../shared/cli\"";
    package(
        "tools/pack",
        &format!("[dependencies]\n{cli} }}\n[dev-dependencies]\n{cli}, features = [\"colour\"] }}\n"),
    );
    write("tools/pack/src/main.rs", "");
    write("tools/pack/tests/cli/main.rs", "mod plain;\n");
    for path in ["cli/plain.rs", "cli/lost.rs", "alone/plain.rs"] {
        write(&format!("tools/pack/tests/{path}"), "");
    }
    write(
        "docs/PAGE.md",
        "# A page\n[there](PAGE.md#a-page), [gone](GONE.md), [gone](PAGE.md#no-such-heading), [away](https://a/b)\n\
         There: `docs/PAGE.md`, `tools/pack/tests`, `shared/<crate>/gone.rs`, `shared/durable/src/*.rs`, `pack/plain.rs`,\n\
         `tests/cli/main.rs`, `plain.rs`, `/etc/gone.rs`, `spool/ID`, `tools/pack/tests/cli --long`.\n\
         Gone: `docs/GONE.md`, `tools/gone/tests`, `shared/durable/src/gone.rs`, `shared/gone/<any>.rs`, `pack/gone.rs`,\n\
         `unheard/of.rs`, `gone.rs`.\n```\n`docs/SHOWN.md` is part of a block\n```\n",
    );
    tree
}

/// A package, as cargo sees it.
struct Package {
    name: String,
    /// Where it is, from the root.
    dir: PathBuf,
    dependencies: Vec<String>,
    /// The files that a compiler starts from.
    roots: Vec<PathBuf>,
}

fn packages(root: &Path) -> Vec<Package> {
    let mut metadata = Command::new(env!("CARGO"));
    let metadata = metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata = metadata.current_dir(root).output().unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let here = root.canonicalize().unwrap();
    let texts = |list: &Value, name: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    let package = |package: &Value| Package {
        name: package["name"].as_str().unwrap().to_owned(),
        dir: Path::new(package["manifest_path"].as_str().unwrap())
            .parent()
            .unwrap()
            .strip_prefix(&here)
            .unwrap()
            .to_owned(),
        dependencies: texts(&package["dependencies"], "name"),
        roots: texts(&package["targets"], "src_path").into_iter().map(PathBuf::from).collect(),
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

/// Libraries that depend on `cli`, which is for what people start, and whoever depends on a tool.
fn wrong_dependencies(root: &Path) -> Vec<String> {
    let packages = packages(root);
    let tools: BTreeSet<&str> =
        packages.iter().filter(|package| package.dir.starts_with("tools")).map(|tool| tool.name.as_str()).collect();
    let mut wrong = BTreeSet::new();
    for Package { name, dir, dependencies, .. } in &packages {
        for dependency in dependencies {
            if dir.starts_with("shared") && name != "testkit" && dependency == "cli" {
                wrong.insert(format!("a library depends on cli: {name}"));
            }
            if tools.contains(dependency.as_str()) {
                wrong.insert(format!("a tool is depended on: {dependency} by {name}"));
            }
        }
    }
    wrong.into_iter().collect()
}

/// Packages with the features that they have without tests, and not with them.
fn other_features(root: &Path) -> Vec<String> {
    let features = |edges: &str| -> BTreeSet<String> {
        let mut tree = Command::new(env!("CARGO"));
        let tree =
            tree.args(["tree", "--workspace", "--offline", "--prefix", "none", "--format", "{p}: {f}", "--edges"]);
        let tree = tree.arg(edges).current_dir(root).output().unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let lines = String::from_utf8(tree.stdout).unwrap();
        lines.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect()
    };
    features("normal,build").difference(&features("normal,build,dev")).cloned().collect()
}

/// Files of Rust that no compiler is led to: their tests would never run, and nobody would miss them.
fn forgotten(root: &Path) -> Vec<String> {
    let mut files = BTreeSet::new();
    let mut reached = BTreeSet::new();
    let here = root.canonicalize().unwrap();
    for package in packages(root) {
        for below in ["src", "tests"] {
            files.extend(files_below(&here.join(&package.dir).join(below), "rs"));
        }
        for start in package.roots {
            let dir = start.parent().unwrap().to_owned();
            follow(start, &dir, &mut reached);
        }
    }
    files.difference(&reached).map(|file| file.strip_prefix(&here).unwrap().display().to_string()).collect()
}

/// Notes a file and all that its `mod` lines lead to; `dir` is where its modules are.
fn follow(file: PathBuf, dir: &Path, reached: &mut BTreeSet<PathBuf>) {
    let line = r#"(?m)^[ \t]*(?:#\[path = "([^"]+)"\]\s*)?(?:pub(?:\([^)]*\))? )?mod (\w+);"#;
    let text = fs::read_to_string(&file).unwrap();
    let beside = file.parent().unwrap().to_owned();
    if !reached.insert(file) {
        return;
    }
    for found in Regex::new(line).unwrap().captures_iter(&text) {
        let name = &found[2];
        let (flat, deep) = (dir.join(format!("{name}.rs")), dir.join(name).join("mod.rs"));
        let (file, dir) = match found.get(1) {
            Some(path) => (beside.join(path.as_str()), beside.clone()),
            None if flat.exists() => (flat, dir.join(name)),
            None => (deep, dir.join(name)),
        };
        follow(file, &dir, reached);
    }
}

fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
        if path.is_dir() && !path.is_symlink() && !hidden && !path.ends_with("target") {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// All pages, from the root.
fn pages(root: &Path) -> Vec<PathBuf> {
    files_below(root, "md").iter().map(|page| page.strip_prefix(root).unwrap().to_owned()).collect()
}

/// Links of a page that lead nowhere, and paths that it names in backticks where there is nothing.
fn wrong_on(root: &Path, page: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join(page)).unwrap();
    let mut wrong = Vec::new();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    for link in links.filter(|link| !link.contains("://")) {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { root.join(page) } else { root.join(page).parent().unwrap().join(path) };
        if !target.exists() {
            wrong.push(format!("{} leads to {link}", page.display()));
        } else if !anchor.is_empty() && !has_heading(&target, anchor) {
            wrong.push(format!("{} leads to {link}, which has no such heading", page.display()));
        }
    }
    // Blocks are tried by the tests of documents.
    let blocks = Regex::new(r"(?ms)^ *```.*?^ *```").unwrap();
    let prose = blocks.replace_all(&text, "");
    for code in Regex::new("`([^`\n]+)`").unwrap().captures_iter(&prose) {
        let named = code[1].split(' ').next().unwrap();
        if !is_there(root, page, named) {
            wrong.push(format!("{} names {named}", page.display()));
        }
    }
    wrong
}

fn has_heading(page: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    text.lines().filter(|line| line.starts_with('#')).any(|heading| slug(heading) == anchor)
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Whether what a page names is there, or is no file of ours: one has a beginning that is there, or an ending that ours have.
fn is_there(root: &Path, page: &Path, named: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/<>*{},".contains(c);
    if named.starts_with('/') || !named.chars().all(plain) {
        return true;
    }
    // Of a pattern, as far as it goes by folders.
    let fixed = named.find(['<', '*', '{']).map_or(named, |at| &named[..named[..at].rfind('/').map_or(0, |at| at + 1)]);
    let ours = [".rs", ".md", ".toml"].iter().any(|ending| fixed.ends_with(ending));
    let Some((first, rest)) = fixed.split_once('/') else {
        return !ours || !files_named(root, fixed).is_empty();
    };
    let tools: Vec<PathBuf> =
        fs::read_dir(root.join("tools")).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    let mut bases = vec![root.to_owned(), root.join(page).parent().unwrap().to_owned(), root.join("tests/tests")];
    bases.extend(tools.iter().cloned());
    // Tables say `pack/kills.rs` for a test of artifact-pack.
    let short =
        tools.iter().filter(|tool| tool.file_name().unwrap().to_string_lossy().split('-').any(|part| part == first));
    let mut short = short.map(|tool| tool.join("tests/cli").join(rest));
    let begins = bases.iter().any(|base| base.join(first).exists());
    !(begins || ours) || bases.iter().any(|base| base.join(fixed).exists()) || short.any(|path| path.exists())
}

fn files_named(root: &Path, name: &str) -> Vec<PathBuf> {
    let extension = name.rsplit('.').next().unwrap();
    files_below(root, extension).into_iter().filter(|path| path.ends_with(name)).collect()
}

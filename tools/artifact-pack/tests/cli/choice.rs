//! What is packed and what is not: exclusions, `.git`, refused kinds, refused paths, links.

use crate::harness::{Harness, packed, sparse, tree, write};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use testkit::{Finished, wait_until};

/// Packs with these arguments and tells the members, directories left out.
fn files(tree: &Path, args: &[&str]) -> Vec<String> {
    let harness = Harness::files();
    let _run = harness.tool().arg("-C").arg(tree).args(args).run().succeeds();
    packed(&harness).into_iter().filter(|name| !name.ends_with('/')).collect()
}

#[track_caller]
fn refused(tree: &Path, args: &[&str], code: i32, words: &str) -> Finished {
    let harness = Harness::s3();
    let run = harness.tool().arg("-C").arg(tree).args(args).run().fails_with(code).stderr_contains(words);
    assert!(run.stdout.is_empty());
    harness.is_as_before(&Default::default(), &run);
    run
}

#[test]
fn exclusions() {
    let all = [
        "a.pyc",
        "a.py",
        "doc/x.md",
        "doc/deep/x.md",
        "node_modules/m/i.js",
        "web/node_modules/n.js",
        "web/app.js",
        ".env",
    ];
    let dir = tree(&all.map(|name| (name, name)));
    let cases: [(&[&str], &[&str]); 9] = [
        (&["./doc", "././a.py", "./web/app.js", "./i.js", "*.pyc", "node_modules"], &[".env"]),
        (
            &["*.pyc"],
            &[
                ".env",
                "a.py",
                "doc/deep/x.md",
                "doc/x.md",
                "node_modules/m/i.js",
                "web/app.js",
                "web/node_modules/n.js",
            ],
        ),
        (&["*.md", "*.pyc", ".*"], &["a.py", "node_modules/m/i.js", "web/app.js", "web/node_modules/n.js"]),
        (&["doc/*.md", "*.py[c]", "*.js"], &[".env", "a.py", "doc/deep/x.md"]),
        (&["doc/**", "**/*.js"], &[".env", "a.py", "a.pyc"]),
        (&["node_modules/", "doc", "*.pyc"], &[".env", "a.py", "web/app.js"]),
        (&["/node_modules", "doc", "*.pyc"], &[".env", "a.py", "web/app.js", "web/node_modules/n.js"]),
        (&["web/node_modules", "{doc,*.py*}"], &[".env", "node_modules/m/i.js", "web/app.js"]),
        (&["nothing-like-it", "DOC", "web/*.md", "*.pyc", "node_modules", "doc", "web"], &[".env", "a.py"]),
    ];
    for (globs, kept) in cases {
        let mut args: Vec<&str> = globs.iter().flat_map(|glob| ["--exclude", glob]).collect();
        args.push(".");
        assert_eq!(files(dir.path(), &args), kept, "{globs:?}");
    }
    refused(dir.path(), &["--exclude", "[", "."], 2, "--exclude \"[\"");
    refused(dir.path(), &["--exclude", "", "."], 2, "--exclude \"\": it names nothing");
    refused(dir.path(), &["--exclude", "/", "."], 2, "--exclude \"/\": it names nothing");
}

/// A typing error in a pattern is told; one that matched is not.
#[test]
fn exclusions_that_match_nothing() {
    let dir = tree(&[("a.pyc", "x"), ("b", "x"), ("sub/c", "x")]);
    let harness = Harness::files();
    let globs = ["--exclude", "*.pyc", "--exclude", "*.pcy", "--exclude", "sub/c/d", "--exclude", "./sub"];
    let run = harness.pack(dir.path()).args(globs).args(["--commit", ""]).run().succeeds();
    let said = run.stderr_str();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("--exclude")).collect();
    assert_eq!(
        warnings,
        ["*.pcy", "sub/c/d"].map(|glob| format!("artifact-pack: warning: --exclude {glob:?} matched nothing"))
    );
    assert_eq!(packed(&harness), ["b"]);
}

/// A release that nobody could start anything from is a mistake of the build.
#[test]
fn nothing_to_pack_is_refused() {
    let dir = tree(&[("a", "a"), ("RELEASE", "r")]);
    refused(dir.path(), &["--exclude", "*", "."], 1, "nothing to pack: ");
    refused(dir.path(), &["RELEASE"], 1, "nothing to pack: ");
    refused(dir.path(), &["--exclude", "a", "a"], 1, "nothing to pack: ");
    let empty = tree(&[]);
    let run = refused(empty.path(), &["."], 1, "nothing to pack: ");
    assert!(run.stderr_str().contains(&empty.path().display().to_string()), "{}", run.report());
    fs::create_dir(empty.path().join("dir")).unwrap();
    assert_eq!(files(empty.path(), &["."]), [""; 0], "an empty directory is something");
}

/// A PATH on the command line was typed by somebody who wants it.
#[test]
fn a_path_that_is_excluded_is_told() {
    let dir = tree(&[("a", "x"), ("sub/b", "x"), (".git/config", "x")]);
    let harness = Harness::files();
    let paths = ["a", "sub/b", "sub", ".git"];
    let run = harness.tool().arg("-C").arg(dir.path()).args(["--commit", "", "--exclude", "sub"]).args(paths).run();
    let run = run.succeeds();
    let said = run.stderr_str();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("is excluded")).collect();
    let expected = ["sub/b", "sub", ".git"];
    assert_eq!(
        warnings,
        expected.map(|path| format!("artifact-pack: warning: {path} is excluded, so it is not packed"))
    );
    let run = harness.tool().arg("-C").arg(dir.path()).args(["--commit", "", "--exclude", "sub", "--files-from", "-"]);
    let run = run.stdin(paths.join("\n") + "\n").run().succeeds();
    assert!(!run.stderr_str().contains("is excluded"), "{}", run.report());
}

/// A list of files must not bring in what a walk would have passed by.
#[test]
fn exclusions_hold_for_named_files() {
    let dir = tree(&[("node_modules/m/i.js", "x"), (".git/config", "x"), ("sub/.git/HEAD", "x"), ("a", "x")]);
    let named = ["a", "node_modules/m/i.js", ".git/config", "sub/.git/HEAD", "sub/.git"];
    assert_eq!(files(dir.path(), &named), ["a", "node_modules/m/i.js"]);
    let mut args = vec!["--exclude", "node_modules"];
    args.extend(named);
    assert_eq!(files(dir.path(), &args), ["a"]);
    let list = named.join("\n") + "\n";
    let harness = Harness::files();
    let _run = harness
        .tool()
        .arg("-C")
        .arg(dir.path())
        .args(["--files-from", "-", "--exclude", "m"])
        .stdin(list)
        .run()
        .succeeds();
    assert_eq!(packed(&harness), ["a"]);
}

/// A file of holes: the warning comes before it is read.
#[test]
fn more_than_a_host_takes_by_default_is_a_warning() {
    let dir = tree(&[("a", "a")]);
    sparse(dir.path(), "f", 65 << 30);
    let harness = Harness::files();
    let run = harness.tool().arg("-C").arg(dir.path()).arg(".").start();
    wait_until("the warning", || {
        let said = String::from_utf8_lossy(&run.stderr_so_far()).into_owned();
        if said.contains("unless it is run with --max-entries and --max-size") { Ok(()) } else { Err(said) }
    });
}

#[test]
fn git_is_left_out() {
    let dir = tree(&[
        (".git/HEAD", "ref"),
        ("sub/.git", "gitdir: ../.git/modules/sub"),
        ("sub/f", "f"),
        (".gitignore", "*.o"),
        ("x.git", "kept"),
    ]);
    assert_eq!(files(dir.path(), &["."]), [".gitignore", "sub/f", "x.git"]);
    assert_eq!(files(dir.path(), &["--include-git", "."]), [".git/HEAD", ".gitignore", "sub/.git", "sub/f", "x.git"]);
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let dir = tree(&[("code/a", "a")]);
    let at = dir.path().join("code/odd");
    let listener = UnixListener::bind(&at).unwrap();
    refused(dir.path(), &["."], 1, "unable to pack code/odd: it is a socket");
    // What is excluded does not matter.
    assert_eq!(files(dir.path(), &["--exclude", "odd", "."]), ["code/a"]);
    drop(listener);
    fs::remove_file(&at).unwrap();
    mknodat(CWD, &at, FileType::Fifo, Mode::RWXU, 0).unwrap();
    refused(dir.path(), &["."], 1, "unable to pack code/odd: it is a named pipe");
    refused(Path::new("/dev"), &["null"], 1, "unable to pack null: it is a device");
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let dir = tree(&[("a", "a"), ("code/b", "b")]);
    let absolute = dir.path().join("a").display().to_string();
    refused(dir.path(), &[&absolute], 2, "its name is absolute");
    for path in ["..", "code/../a", "../a", "code/.."] {
        refused(dir.path(), &["a", path], 2, "its name contains '..'");
    }
    refused(dir.path(), &[""], 2, "a value is required for");
    let root = dir.path().display();
    let missing = |path: &str| format!("unable to pack {root}/{path}: No such file or directory");
    refused(dir.path(), &["a", "code/missing"], 1, &missing("code/missing"));
    refused(dir.path(), &["a/below"], 1, &format!("unable to pack {root}/a/below: Not a directory"));
    refused(&dir.path().join("none"), &["."], 1, &missing("none"));
    refused(Path::new("none"), &["a"], 1, "/none/a: No such file or directory");
    refused(dir.path(), &["--files-from", "none", "a"], 2, "--files-from");
    refused(dir.path(), &["-0", "a"], 2, "--files-from");
}

#[test]
fn links_that_lead_out_are_refused() {
    let cases: [(&str, &str, &str); 5] = [
        ("link", "/etc/passwd", "unable to pack link: the link leads to an absolute path"),
        ("link", "..", "unable to pack link: the link leads out of the tree"),
        ("code/link", "../../x", "unable to pack code/link: the link leads out of the tree"),
        ("code/link", "./../code/../../x", "unable to pack code/link: the link leads out of the tree"),
        ("link", "code/missing/../../../x", "unable to pack link: the link leads out of the tree"),
    ];
    for (name, target, words) in cases {
        let dir = tree(&[("code/a", "a")]);
        symlink(target, dir.path().join(name)).unwrap();
        refused(dir.path(), &["."], 1, words);
        assert_eq!(files(dir.path(), &["--exclude", name, "."]), ["code/a"]);
    }
    // A detour: each is fine as text, together they climb out.
    let dir = tree(&[("x/a", "a")]);
    symlink("..", dir.path().join("x/y")).unwrap();
    symlink("x/y/../..", dir.path().join("z")).unwrap();
    refused(dir.path(), &["."], 1, "unable to pack z: the link leads out of the tree");
}

/// A directory that is named needs no further path; the one that a shell happens to stand in does.
#[test]
fn a_named_directory_is_packed_whole() {
    let dir = tree(&[("a", "a"), ("code/b", "b")]);
    assert_eq!(files(dir.path(), &[]), ["a", "code/b"]);
    assert_eq!(files(dir.path(), &["--exclude", "code"]), ["a"]);
    assert_eq!(files(dir.path(), &["--exclude", "a", "code"]), ["code/b"]);
    let harness = Harness::files();
    let run = harness.tool().cwd(dir.path()).run().fails_with(2).stderr_contains("<PATH>");
    harness.is_as_before(&Default::default(), &run.stderr_is_one_line());
}

/// Also one that is not there yet, so that the second build does not meet what the first one passed.
#[test]
fn a_store_in_what_is_packed_is_refused() {
    let dir = tree(&[("a", "a"), ("out/b", "b")]);
    let root = dir.path().display();
    let pack = |store: &str, args: &[&str]| {
        let store = format!("file://{root}{store}");
        crate::harness::tool().args(["--artifact", "obelix", "--store", &store, "-C"]).arg(dir.path()).args(args).run()
    };
    for (store, args) in [("", &["."][..]), ("/out", &["."]), ("/out/new/store", &["."]), ("/out/store", &["out", "a"])]
    {
        let run = pack(store, args).fails_with(1).stderr_contains(&format!("the store {root}{store} lies in what is"));
        assert!(run.stdout.is_empty() && !dir.path().join("out/new").exists(), "{}", run.report());
    }
    let _excluded = pack("/out/store", &["--exclude", "store", "."]).succeeds();
    let _again = pack("/out/store", &["--exclude", "out/store", "."]).succeeds();
    let _beside = pack("/out/store", &["a", "out/b"]).succeeds();
    let _there = pack("/out/store", &["."]).fails_with(1);
    // A way in by another name leads to the same place.
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(dir.path(), elsewhere.path().join("link")).unwrap();
    let store = format!("file://{}/link/out/store", elsewhere.path().display());
    let run = crate::harness::tool().args(["--artifact", "obelix", "--store", &store, "-C"]).arg(dir.path()).arg(".");
    let _same = run.run().fails_with(1).stderr_contains("lies in what is packed");
}

/// No host could unpack both.
#[test]
fn a_member_below_a_packed_link_is_refused() {
    let dir = tree(&[("real/f", "f")]);
    symlink("real", dir.path().join("link")).unwrap();
    refused(dir.path(), &["link", "link/f"], 1, "unable to pack link/f: link is not a directory in the release");
    assert_eq!(files(dir.path(), &["link", "real"]), ["link", "real/f"]);
}

/// A named link is packed as one; only the root itself may be reached through one.
#[test]
fn a_named_link_stays_a_link() {
    let dir = tree(&[("real/f", "f")]);
    symlink("real", dir.path().join("link")).unwrap();
    assert_eq!(files(dir.path(), &["link"]), ["link"]);
    assert_eq!(files(dir.path(), &["link/"]), ["link"]);
    assert_eq!(files(&dir.path().join("link"), &["."]), ["f"]);
}

#[test]
fn lists_of_paths() {
    let dir = tree(&[("a", "a"), ("b c", "b"), ("new\nline", "n")]);
    let harness = Harness::files();
    let list = |args: &[&str], stdin: &str| harness.tool().arg("-C").arg(dir.path()).args(args).stdin(stdin).run();
    let _run = list(&["--files-from", "-", "-0"], "new\nline\0b c\0").succeeds();
    assert_eq!(
        packed(&harness),
        ["b c", "new\\nline"].map(|name| name.replace("\\n", "\n")).join("\n").split('\n').collect::<Vec<_>>()
    );
    let before = harness.objects();
    // A list that was cut off may end in the name of a directory, and everything in that would be packed.
    for (args, cut) in [(&["-0"][..], "a\0b c"), (&[], "a\nb c")] {
        let run = list(&[&["--files-from", "-"], args].concat(), cut).fails_with(75).stderr_is_one_line();
        harness.is_as_before(&before, &run.stderr_contains("ends within a name"));
    }
    let cut = write(dir.path(), "cut", b"a\0b c");
    let run = list(&["-0", "--files-from", cut.to_str().unwrap()], "").fails_with(1);
    harness.is_as_before(&before, &run.stderr_contains("ends within a name").stderr_is_one_line());
    let empty = list(&["--files-from", "-"], "").fails_with(75).stderr_contains("no list of paths on stdin");
    harness.is_as_before(&before, &empty.stderr_is_one_line());
    let blank = list(&["--files-from", "-"], "\n\n").fails_with(1).stderr_contains("no paths in -");
    harness.is_as_before(&before, &blank.stderr_is_one_line());
    let none =
        list(&["--files-from", "/no/such/list"], "").fails_with(1).stderr_contains("unable to read /no/such/list");
    harness.is_as_before(&before, &none.stderr_is_one_line());
    let zero = write(dir.path(), "zero", b"");
    let none = list(&["--files-from", zero.to_str().unwrap()], "").fails_with(1).stderr_contains("no paths in ");
    harness.is_as_before(&before, &none);
}

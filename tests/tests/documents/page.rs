//! A page, its blocks, and the script that its commands are.

use crate::around::Around;
use std::fmt::Write as _;

/// A fenced block.
pub struct Block {
    pub language: String,
    /// Lines of the two fences, from 1.
    pub lines: (usize, usize),
    /// The last heading of the second level before it.
    pub heading: String,
    pub text: String,
}

/// All fenced blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut open, mut heading) = (Vec::new(), None::<Block>, String::new());
    for (number, line) in (1..).zip(page.lines()) {
        match (open.take(), line.strip_prefix("```")) {
            (Some(mut block), Some(_)) => {
                block.lines.1 = number;
                found.push(block);
            }
            (Some(mut block), None) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, Some(language)) => {
                let (language, heading) = (language.to_owned(), heading.clone());
                open = Some(Block { language, lines: (number, 0), heading, text: String::new() });
            }
            (None, None) => {
                if let Some(words) = line.strip_prefix("## ") {
                    words.clone_into(&mut heading);
                }
            }
        }
    }
    assert!(open.is_none(), "a block has no end");
    found
}

/// Blocks of commands.
pub fn commands(page: &str) -> Vec<Block> {
    blocks(page).into_iter().filter(|block| block.language == "sh").collect()
}

/// Lines of indented code, with the heading above them.
pub fn indented(page: &str) -> Vec<(String, String)> {
    let (mut found, mut fenced, mut heading) = (Vec::new(), false, String::new());
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if let Some(words) = line.strip_prefix("## ") {
            words.clone_into(&mut heading);
        } else if let Some(code) = line.strip_prefix("    ").filter(|_| !fenced) {
            found.push((heading.clone(), code.to_owned()));
        }
    }
    found
}

/// The page as a script, every command in the line that it has on the page, so that bash names the page's lines.
///
/// Panics if words that are to name one block are in none of them, or in several.
pub fn script(around: &Around, text: &str, addresses: &[(&str, String)]) -> String {
    let blocks = commands(text);
    for (words, _) in around.goes_on.iter().chain(around.holds) {
        let count = blocks.iter().filter(|block| block.text.contains(words)).count();
        assert_eq!(count, 1, "{}: {words:?} stands in {count} blocks", around.page);
    }
    for (address, _) in addresses {
        assert!(blocks.iter().any(|block| block.text.contains(address)), "{}: {address} is nowhere", around.page);
    }
    let of = |block: &Block, all: &[(&str, &'static str)]| {
        all.iter().find(|(words, _)| block.text.contains(words)).map(|(_, what)| *what)
    };
    let mut script = String::new();
    let mut lines = (1..).zip(text.lines());
    for block in &blocks {
        let goes_on = of(block, around.goes_on);
        for (number, _) in lines.by_ref().take_while(|(number, _)| *number < block.lines.0) {
            script += if number == 1 { ". \"$STAGE/before\"\n" } else { "\n" };
        }
        let _ = writeln!(script, "at={}; {}", block.lines.0, if goes_on.is_some() { "set -m; (" } else { "{" });
        let mut commands = block.text.clone();
        for (from, to) in addresses {
            commands = commands.replace(from, to);
        }
        script += &commands;
        script += if goes_on.is_some() { ") >\"$said\" 2>&1 & set +m; " } else { "} >\"$said\" 2>&1; " };
        if let Some(until) = goes_on {
            let _ = write!(script, "goes_on \"$!\" {}; ", quoted(until));
        }
        if let Some(what) = of(block, around.holds) {
            let _ = write!(script, "holds {}; ", quoted(what));
        }
        script += "told\n";
        for _ in lines.by_ref().take_while(|(number, _)| *number < block.lines.1) {}
    }
    script
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# T\n\n```sh\na 1\n```\n\n## H\n\n    x y\n\n```json\n{}\n```\n\n```sh\nb\n  c\n```\n";

    #[test]
    fn blocks_and_indented_code_are_told_apart() {
        let found: Vec<_> = blocks(PAGE).into_iter().map(|b| (b.language, b.lines, b.heading, b.text)).collect();
        let block = |language: &str, lines, heading: &str, text: &str| {
            (language.to_owned(), lines, heading.to_owned(), text.to_owned())
        };
        let expected = [
            block("sh", (3, 5), "", "a 1\n"),
            block("json", (11, 13), "H", "{}\n"),
            block("sh", (15, 18), "H", "b\n  c\n"),
        ];
        assert_eq!(found, expected);
        assert_eq!(indented(PAGE), [("H".to_owned(), "x y".to_owned())]);
    }

    #[test]
    fn commands_keep_their_lines() {
        let around = Around { page: "P", holds: &[("a 1", "it's")], goes_on: &[("b", "x")], ..Around::NONE };
        let script = script(&around, PAGE, &[("a 1", "a 2".to_owned())]);
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!((lines[0], lines[2], lines[3]), (". \"$STAGE/before\"", "at=3; {", "a 2"));
        assert_eq!(lines[4], r#"} >"$said" 2>&1; holds 'it'\''s'; told"#);
        assert_eq!((lines[14], lines[15], lines[16]), ("at=15; set -m; (", "b", "  c"));
        assert_eq!(lines[17], r#") >"$said" 2>&1 & set +m; goes_on "$!" 'x'; told"#);
        assert_eq!(lines.len(), 18);
    }

    #[test]
    #[should_panic(expected = "stands in 0 blocks")]
    fn words_that_are_nowhere_are_found() {
        script(&Around { holds: &[("z", "true")], ..Around::NONE }, PAGE, &[]);
    }
}

//! What `--exclude` leaves out, and which of its patterns never did.

use failure::Failure;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::Path;

/// The patterns.
#[derive(Clone, Debug)]
pub(crate) struct Exclusion {
    globs: GlobSet,
    /// As typed, and whether anything matched.
    patterns: Vec<(String, bool)>,
}

impl Exclusion {
    /// The patterns as typed, and `.git` unless it is wanted.
    ///
    /// # Errors
    /// One that is not a glob, or is empty, as an unset variable makes it.
    pub(crate) fn new(patterns: &[String], include_git: bool) -> Result<Self, Failure> {
        let mut globs = GlobSetBuilder::new();
        let git = (!include_git).then(|| "**/.git".to_owned());
        for pattern in patterns.iter().chain(&git) {
            let trimmed = pattern.trim_end_matches('/');
            let anywhere = if trimmed.contains('/') { trimmed.to_owned() } else { format!("**/{trimmed}") };
            let below = anywhere.trim_start_matches("./").trim_start_matches('/');
            if trimmed.is_empty() {
                return Err(Failure::usage(format!("--exclude {pattern:?}: it names nothing")));
            }
            let glob = GlobBuilder::new(below).literal_separator(true).build();
            globs.add(glob.map_err(|error| Failure::usage(format!("--exclude {pattern:?}: {}", error.kind())))?);
        }
        let globs = globs.build().map_err(|error| Failure::usage(format!("--exclude: {error}")))?;
        Ok(Self { globs, patterns: patterns.iter().map(|pattern| (pattern.clone(), false)).collect() })
    }

    /// Whether that path itself is left out.
    pub(crate) fn matches(&mut self, path: &Path) -> bool {
        let found = self.globs.is_match(path);
        if found {
            // `.git` stands behind those that were typed.
            for at in self.globs.matches(path) {
                if let Some((_, matched)) = self.patterns.get_mut(at) {
                    *matched = true;
                }
            }
        }
        found
    }

    /// Whether a directory above that path is left out: a walk would not come there.
    pub(crate) fn matches_above(&mut self, path: &Path) -> bool {
        path.ancestors().skip(1).any(|above| !above.as_os_str().is_empty() && self.matches(above))
    }

    /// Whether a path that was asked for is left out.
    pub(crate) fn covers(&mut self, path: &Path) -> bool {
        self.matches_above(path) || (!path.as_os_str().is_empty() && self.matches(path))
    }

    /// The patterns that matched nothing so far.
    pub(crate) fn unmatched(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().filter(|(_, matched)| !matched).map(|(pattern, _)| pattern.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let mut exclusion = Exclusion::new(&["*.pyc", "doc/*.md", "./top", "none"].map(str::to_owned), false).unwrap();
        for out in [".git", "a/b/.git", "a/b.pyc", "b.pyc", "doc/x.md", "top"] {
            assert!(exclusion.matches(Path::new(out)), "{out}");
        }
        for kept in [".gitignore", "doc/a/x.md", "x.md", "a.py", "a/top"] {
            assert!(!exclusion.matches(Path::new(kept)), "{kept}");
        }
        for nothing in ["", "/", "//"] {
            assert!(Exclusion::new(&[nothing.to_owned()], false).is_err(), "{nothing:?}");
        }
        assert_eq!(exclusion.unmatched().collect::<Vec<_>>(), ["none"]);
    }
}

//! Where the symbolic links of a tree lead, found out without following one on a real file system.

use std::collections::HashMap;

/// Links followed in one resolution before the kernel, and so we, call it a loop.
const MOST_LINKS: usize = 40;

/// Why a link can't stand in a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Its target starts at the root.
    #[error("the link leads to an absolute path")]
    Absolute,
    /// It, or a link on its way, climbs out of the tree.
    #[error("the link leads out of the tree")]
    Outside,
    /// It has no target, or one with a zero byte.
    #[error("the link has no usable target")]
    Unusable,
}

/// The symbolic links of a tree by their names.
#[derive(Clone, Debug, Default)]
pub struct Links {
    targets: HashMap<Vec<u8>, Vec<u8>>,
}

impl Links {
    /// Notes a link.
    pub fn insert(&mut self, name: Vec<u8>, target: Vec<u8>) {
        self.targets.insert(name, target);
    }

    /// Whether that name is a link.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.targets.contains_key(name)
    }

    /// All links as name and target.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.targets.iter().map(|(name, target)| (name.as_slice(), target.as_slice()))
    }

    /// Checks all links; names one that leads out of the tree.
    ///
    /// # Errors
    /// The name of the link and what is wrong with it.
    pub fn check(&self) -> Result<(), (Vec<u8>, LinkError)> {
        let mut names: Vec<&Vec<u8>> = self.targets.keys().collect();
        names.sort();
        names.into_iter().try_for_each(|name| self.resolve(name).map_err(|error| (name.clone(), error)))
    }

    /// Walks from the root of the tree as the kernel would. What does not exist is taken as a plain directory, so that
    /// a link that dangles today can't lead out once its target is there.
    fn resolve(&self, name: &[u8]) -> Result<(), LinkError> {
        let mut todo: Vec<Vec<u8>> = parts(name);
        let mut place: Vec<Vec<u8>> = Vec::new();
        let mut followed = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                place.pop().ok_or(LinkError::Outside)?;
                continue;
            }
            place.push(part);
            let Some(target) = self.targets.get(&place.join(&b'/')) else { continue };
            if target.is_empty() || target.contains(&0) {
                return Err(LinkError::Unusable);
            }
            if target.starts_with(b"/") {
                return Err(LinkError::Absolute);
            }
            followed += 1;
            if followed > MOST_LINKS {
                // A loop leads nowhere, so not outside either.
                return Ok(());
            }
            place.pop();
            todo.extend(parts(target));
        }
        Ok(())
    }
}

/// The parts of a path, last one first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let plain = path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    plain.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(links: &[(&str, &str)]) -> Result<(), LinkError> {
        let mut all = Links::default();
        for (name, target) in links {
            all.insert(name.as_bytes().to_vec(), target.as_bytes().to_vec());
        }
        all.check().map_err(|(_, error)| error)
    }

    #[test]
    fn inside_is_fine() {
        assert_eq!(checked(&[("a", "b"), ("d/e", "../f"), ("loop", "loop"), ("x", "missing/../y")]), Ok(()));
    }

    #[test]
    fn outside_is_found() {
        assert_eq!(checked(&[("a", "/etc/passwd")]), Err(LinkError::Absolute));
        assert_eq!(checked(&[("a", "..")]), Err(LinkError::Outside));
        assert_eq!(checked(&[("d/e", "../../f")]), Err(LinkError::Outside));
        assert_eq!(checked(&[("a", "")]), Err(LinkError::Unusable));
    }

    #[test]
    fn a_detour_over_another_link_is_found() {
        // Read as text, x/y/../.. is the root; x/y leads to the root itself, so the kernel ends above it.
        assert_eq!(checked(&[("x/y", ".."), ("z", "x/y/../..")]), Err(LinkError::Outside));
    }
}

//! Where the symbolic links of a tree lead, found out without following one on a real file system.

use std::collections::{BTreeMap, HashMap};

/// Longest target that Linux takes, in bytes.
const LONGEST_TARGET: usize = 4095;

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
    /// Linux takes no such target.
    #[error("the link's target is longer than 4095 bytes")]
    Long,
    /// It has another link's name for a directory; the name is that link's.
    #[error("another link has a name below it")]
    Below,
}

/// The symbolic links of a tree by their names.
#[derive(Clone, Debug, Default)]
pub struct Links {
    targets: BTreeMap<Vec<u8>, Vec<u8>>,
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
        for (name, target) in &self.targets {
            usable(target).map_err(|error| (name.clone(), error))?;
        }
        let mut map = Map::default();
        // A link comes before what has its name for a directory.
        let added = self.iter().map(|(name, target)| map.add(name, target).map_err(|link| (link, LinkError::Below)));
        let links = added.collect::<Result<Vec<usize>, _>>()?;
        for (link, name) in links.into_iter().zip(self.targets.keys()) {
            map.resolve(link).map_err(|error| (name.clone(), error))?;
        }
        Ok(())
    }
}

fn usable(target: &[u8]) -> Result<(), LinkError> {
    match target {
        [] => Err(LinkError::Unusable),
        [b'/', ..] => Err(LinkError::Absolute),
        _ if target.contains(&0) => Err(LinkError::Unusable),
        _ if target.len() > LONGEST_TARGET => Err(LinkError::Long),
        _ => Ok(()),
    }
}

/// The links and the directories above them. Every link is walked once, however many others lead over it, so that the
/// work is bounded by the bytes of names and targets.
struct Map<'a> {
    /// Parts of names, numbered.
    parts: HashMap<&'a [u8], usize>,
    /// From a spot, by a part, to the spot below it.
    below: HashMap<(usize, usize), usize>,
    /// The root of the tree is the first one.
    spots: Vec<Spot<'a>>,
}

struct Spot<'a> {
    parent: Option<usize>,
    link: Option<(&'a [u8], Lead)>,
}

/// What is known of where a link leads.
#[derive(Clone, Copy)]
enum Lead {
    Unknown,
    /// It is being walked: who meets it again is in a loop.
    Open,
    To(Place),
    /// Into a loop, so not outside either.
    Nowhere,
}

/// A spot, and how many directories below it, which hold no links. What does not exist is taken as a plain directory, so
/// that a link that dangles today can't lead out once its target is there.
#[derive(Clone, Copy)]
struct Place {
    spot: usize,
    deeper: usize,
}

/// A link on its way.
struct Walk<'a> {
    link: usize,
    place: Place,
    todo: &'a [u8],
}

impl Default for Map<'_> {
    fn default() -> Self {
        let root = Spot { parent: None, link: None };
        Self { parts: HashMap::new(), below: HashMap::new(), spots: vec![root] }
    }
}

impl<'a> Map<'a> {
    /// Notes a link; fails with the name of one that it is below.
    fn add(&mut self, name: &'a [u8], target: &'a [u8]) -> Result<usize, Vec<u8>> {
        let mut spot = 0;
        let mut length = 0;
        for part in name.split(|&byte| byte == b'/') {
            if self.spots[spot].link.is_some() {
                return Err(name[..length - 1].to_vec());
            }
            length += part.len() + 1;
            let numbered = self.parts.len();
            let part = *self.parts.entry(part).or_insert(numbered);
            let next = self.spots.len();
            let parent = Some(spot);
            spot = *self.below.entry((spot, part)).or_insert(next);
            if spot == next {
                self.spots.push(Spot { parent, link: None });
            }
        }
        self.spots[spot].link = Some((target, Lead::Unknown));
        Ok(spot)
    }

    /// Walks as the kernel would. The links that others lead over are walked on a stack of our own: a chain may be longer
    /// than the thread's.
    fn resolve(&mut self, link: usize) -> Result<(), LinkError> {
        let mut walks: Vec<Walk<'a>> = self.open(link).into_iter().collect();
        while let Some(walk) = walks.last_mut() {
            let (part, rest) = first_part(walk.todo);
            let lead = match part {
                b"" if rest.is_empty() => Some(Lead::To(walk.place)),
                b"" | b"." => None,
                b".." => {
                    walk.place = self.up(walk.place)?;
                    None
                }
                _ => {
                    let next = self.down(walk.place, part);
                    match self.spots[next.spot].link.filter(|_| next.deeper == 0) {
                        None => walk.place = next,
                        Some((_, Lead::To(place))) => walk.place = place,
                        Some((_, Lead::Unknown)) => {
                            walks.extend(self.open(next.spot));
                            // The same part again once that link is known.
                            continue;
                        }
                        Some((_, Lead::Open | Lead::Nowhere)) => {
                            let link = walk.link;
                            self.settle(link, Lead::Nowhere);
                            walks.pop();
                            continue;
                        }
                    }
                    None
                }
            };
            walk.todo = rest;
            if let Some(lead) = lead {
                let link = walk.link;
                self.settle(link, lead);
                walks.pop();
            }
        }
        Ok(())
    }

    /// The start of a walk, unless the link has been walked.
    fn open(&mut self, link: usize) -> Option<Walk<'a>> {
        let spot = &mut self.spots[link];
        let parent = spot.parent?;
        match &mut spot.link {
            Some((target, lead @ Lead::Unknown)) => {
                *lead = Lead::Open;
                Some(Walk { link, place: Place { spot: parent, deeper: 0 }, todo: target })
            }
            _ => None,
        }
    }

    fn settle(&mut self, link: usize, lead: Lead) {
        if let Some((_, known)) = &mut self.spots[link].link {
            *known = lead;
        }
    }

    fn up(&self, place: Place) -> Result<Place, LinkError> {
        match place.deeper.checked_sub(1) {
            Some(deeper) => Ok(Place { deeper, ..place }),
            None => self.spots[place.spot].parent.map(|spot| Place { spot, deeper: 0 }).ok_or(LinkError::Outside),
        }
    }

    fn down(&self, place: Place, part: &[u8]) -> Place {
        let known = || self.below.get(&(place.spot, *self.parts.get(part)?)).copied();
        match (place.deeper == 0).then(known).flatten() {
            Some(spot) => Place { spot, deeper: 0 },
            None => Place { deeper: place.deeper + 1, ..place },
        }
    }
}

/// A path's first part, which is empty before a slash and at the end, and what follows.
fn first_part(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, &[]),
    }
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

    #[test]
    fn a_chain_longer_than_the_kernel_follows_is_walked_to_its_end() {
        let chain = |end: &str| {
            let mut links = Links::default();
            for n in 0..200_000 {
                links.insert(format!("l{n}").into(), format!("l{}", n + 1).into());
            }
            links.insert(b"l200000".to_vec(), end.into());
            links.check().map_err(|(_, error)| error)
        };
        assert_eq!(chain("end"), Ok(()));
        assert_eq!(chain("l0/../.."), Ok(()), "a loop leads nowhere");
        assert_eq!(chain("x/../.."), Err(LinkError::Outside));
    }

    /// Done in a moment; part by part, each joined and looked up, and over every link again, it would take days.
    #[test]
    fn many_links_over_each_other_are_walked_once() {
        let folder = ["n"; 250].join("/");
        let many = |last: &str| {
            let mut links = Links::default();
            for n in 0..10_000 {
                links.insert(format!("{folder}/{n}").into(), format!("{}/y{}", n + 1, "/x".repeat(2_000)).into());
            }
            links.insert(format!("{folder}/10000").into(), last.into());
            links.check().map_err(|(_, error)| error)
        };
        assert_eq!(many("."), Ok(()));
        assert_eq!(many(&"../".repeat(251)), Err(LinkError::Outside));
    }

    #[test]
    fn a_target_that_linux_takes() {
        assert_eq!(checked(&[("a", &"y/".repeat(2_047))]), Ok(()));
        assert_eq!(checked(&[("a", &"y/".repeat(2_048))]), Err(LinkError::Long));
    }
}

//! The state that the instance's own group wants it in: a change is told once, however often the state is read.

/// The state's name for an instance that its group is ending.
const ENDING: &str = "Terminated";

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// `None` where nothing was known before.
    pub(crate) from: Option<String>,
    pub(crate) to: String,
}

impl Change {
    pub(crate) fn is_the_end(&self) -> bool {
        self.to == ENDING
    }
}

/// The state as it was last read.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    last: Option<String>,
}

impl Lifecycle {
    pub(crate) fn state(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// What is new about the state just read. The first one is no change, unless it is the end; a state that can't be read
    /// for a while, as on a new instance, leaves the last one standing.
    pub(crate) fn seen(&mut self, state: Option<&str>) -> Option<Change> {
        let state = state.map(str::trim).filter(|state| !state.is_empty() && self.last.as_deref() != Some(state))?;
        let from = self.last.replace(state.to_owned());
        (from.is_some() || state == ENDING).then(|| Change { from, to: state.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_not_values() {
        let mut lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.seen(None), None);
        assert_eq!(lifecycle.seen(Some("InService\n")), None);
        assert_eq!(lifecycle.seen(None), None);
        assert_eq!(lifecycle.seen(Some("InService")), None);
        let change = lifecycle.seen(Some("Terminated")).unwrap();
        assert_eq!((change.from.as_deref(), change.is_the_end()), (Some("InService"), true));
        assert_eq!(lifecycle.seen(Some("Terminated")), None);
    }

    #[test]
    fn an_end_that_is_there_at_the_start_is_told() {
        assert_eq!(Lifecycle::default().seen(Some("Terminated")).unwrap().from, None);
    }
}

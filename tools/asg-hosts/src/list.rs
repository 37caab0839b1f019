//! A list from the first question to the last line.

use crate::args::Args;
use crate::cache::{Cache, Question};
use crate::fleet::{Detail, Fleet};
use crate::inventory::Inventory;
use crate::listing::Listing;
use crate::selection::Selection;
use crate::terminal::Screen;
use crate::{cloud, print, saved};
use cli::{Console, Failure, Output};
use std::time::{Duration, SystemTime};

/// Prints what was asked for. Nothing is printed before everything is known.
///
/// # Errors
/// Something is not known, and nothing has been printed.
pub(crate) async fn run(args: &Args, out: Output) -> Result<(), Failure> {
    args.check()?;
    let console = Console::new(env!("CARGO_BIN_NAME"), args.verbosity);
    // Ansible shows whatever stands on stderr as an error.
    let console = if args.is_inventory() { console.silent() } else { console };
    let selection = Selection::new(args)?;
    let (fleet, age) = match &args.source.input {
        Some(path) => (saved::read(path)?, None),
        None => ask(args, &selection, console).await?,
    };
    selection.check(&fleet)?;
    let mut listing = Listing::new(&fleet, &selection);
    if args.is_inventory() {
        return inventory(args, &listing, age, Screen::new(out));
    }
    if listing.counts.is_complete() {
        console.step(&listing.counts);
    } else {
        console.warn(&listing.counts);
    }
    listing.sort();
    print::print(&listing.rows, &args.shape, Screen::new(out))
}

fn inventory(args: &Args, listing: &Listing<'_>, age: Option<Duration>, mut screen: Screen) -> Result<(), Failure> {
    let inventory = Inventory::new(&listing.rows)?;
    if !args.ansible.allow_merge {
        inventory.refuse_merges()?;
    }
    let full = args.ansible.full_hostvars;
    match &args.ansible.host {
        Some(host) => inventory.print_host(host, full, &mut screen)?,
        None => inventory.print(full, age, &mut screen)?,
    }
    screen.close()
}

/// The fleet as AWS tells it now, or as it told it a moment ago; with it the age of answers that are no longer fresh.
async fn ask(args: &Args, selection: &Selection, console: Console) -> Result<(Fleet, Option<Duration>), Failure> {
    let mut regions: Vec<String> = Vec::new();
    for region in &args.aws.regions {
        if !regions.contains(region) {
            regions.push(region.clone());
        }
    }
    let access = &args.aws.access;
    let sdk = access.sdk_config(regions.first().map(String::as_str)).await;
    if regions.is_empty() {
        let region = sdk.region().map(ToString::to_string).filter(|region| !region.is_empty());
        regions.push(region.ok_or_else(|| aws::without_region("unable to ask AWS"))?);
    }
    let question = Question {
        regions: &regions,
        profile: access.profile.as_deref(),
        endpoint_url: access.endpoint_url.as_deref(),
        groups: &args.selectors.asg,
        needs_groups: selection.needs_groups(),
    };
    let Some(cache) = args.source.cache.as_deref().map(|dir| Cache::new(dir, &question)) else {
        let detail = match args.is_inventory() {
            true if args.ansible.full_hostvars => Detail::Everything,
            true => Detail::Inventory,
            false => Detail::Record,
        };
        return Ok((cloud::describe(&sdk, &regions, selection, detail, console).await?, None));
    };
    let kept = cache.read(SystemTime::now());
    if let Some((fleet, age)) = kept.filter(|(_, age)| *age < args.source.max_age) {
        console.step(format!("the list of {} s ago is fresh", age.as_secs()));
        return Ok((fleet, None));
    }
    let failure = match cloud::describe(&sdk, &regions, selection, Detail::Everything, console).await {
        Ok(fleet) => {
            // A group that is not there yet is no answer to be kept: it may be there at the next question.
            selection.check(&fleet)?;
            // A list that can't be kept is still the list.
            if let Err(failure) = cache.write(&fleet, SystemTime::now()) {
                console.warn(failure);
            }
            return Ok((fleet, None));
        }
        Err(failure) => failure,
    };
    if args.source.stale_ok
        && failure.is_temporary()
        && let Some((fleet, age)) = cache.read(SystemTime::now())
    {
        console.warn(format!("{failure}; using the list of {} s ago", age.as_secs()));
        return Ok((fleet, Some(age)));
    }
    Err(failure)
}

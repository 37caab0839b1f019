//! A list from the first question to the last line.

use crate::args::Args;
use crate::cache::{Cache, Question};
use crate::fleet::{Detail, Fleet};
use crate::inventory::Inventory;
use crate::listing::{Listing, told};
use crate::selection::Selection;
use crate::terminal::Screen;
use crate::{cloud, print, saved};
use aws_config::SdkConfig;
use cli::{Console, Output};
use failure::Failure;
use retry::Backoff;
use std::time::{Duration, Instant, SystemTime};

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
    if args.shape.skip_unaddressed {
        let left_out: Vec<_> = listing.left_out.iter().filter(|left| left.is_in_service()).collect();
        if !left_out.is_empty() {
            console.warn(format!("left out: {}", told(&left_out)));
        }
    } else {
        listing.refuse_left_out()?;
    }
    if let Some(addressing) = selection.addressing().filter(|_| args.is_inventory()) {
        return inventory(args, &Inventory::new(&listing, addressing)?, age, Screen::new(out));
    }
    if listing.counts.is_complete() {
        console.step(&listing.counts);
    } else {
        console.warn(&listing.counts);
    }
    listing.sort();
    print::print(&listing.rows, &args.shape, Screen::new(out))
}

fn inventory(args: &Args, inventory: &Inventory<'_>, age: Option<Duration>, mut screen: Screen) -> Result<(), Failure> {
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
    let sdk = access.read(regions.first().map(String::as_str)).await?.sdk;
    if regions.is_empty() {
        let region = sdk.region().map(ToString::to_string);
        regions.push(region.ok_or_else(|| aws::without_region("unable to ask AWS"))?);
    }
    let question = Question {
        regions: &regions,
        profile: access.profile.as_deref(),
        endpoint_url: access.endpoint_url.as_deref(),
        groups: &args.selectors.asg,
        needs_groups: selection.needs_groups(),
    };
    let asked = Asked { sdk: &sdk, regions: &regions, selection, console };
    let Some(cache) = args.source.cache.as_deref().map(|dir| Cache::new(dir, &question)) else {
        let detail = match args.is_inventory() {
            true if args.ansible.full_hostvars => Detail::Everything,
            true => Detail::Inventory,
            false => Detail::Record,
        };
        return Ok((settled(&asked, detail, access.timeout).await?, None));
    };
    let kept = cache.read(SystemTime::now());
    // Answers that lack somebody in service are none for a list of addresses, however fresh they are.
    let is_whole = |fleet: &Fleet| unresolved(fleet, selection) == 0;
    if let Some((fleet, age)) = kept.filter(|(fleet, age)| *age < args.source.max_age && is_whole(fleet)) {
        console.step(format!("the list of {} s ago is fresh", age.as_secs()));
        return Ok((fleet, None));
    }
    let failure = match settled(&asked, Detail::Everything, access.timeout).await {
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

/// Who is asked, and for what.
struct Asked<'a> {
    sdk: &'a SdkConfig,
    regions: &'a [String],
    selection: &'a Selection,
    console: Console,
}

/// How many members of the fleet in service have no address yet because EC2 does not know them. Records need no address, so for
/// them nothing is looked at.
fn unresolved(fleet: &Fleet, selection: &Selection) -> usize {
    selection.addressing().map_or(0, |_| Listing::new(fleet, selection).unresolved())
}

/// The fleet, asked for again as long as EC2 does not know somebody whose address is wanted, at most until `limit` is over:
/// an instance in service that is left out in silence would get nothing of what is done to all of them.
async fn settled(asked: &Asked<'_>, detail: Detail, limit: Duration) -> Result<Fleet, Failure> {
    const SHORTEST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + limit;
    let mut backoff = Backoff::new(Duration::from_secs(1), LONGEST);
    loop {
        let fleet = cloud::describe(asked.sdk, asked.regions, asked.selection, detail, asked.console).await?;
        let unresolved = unresolved(&fleet, asked.selection);
        let pause = SHORTEST + backoff.pause();
        if unresolved == 0 || Instant::now() + pause >= deadline {
            return Ok(fleet);
        }
        let s = if unresolved == 1 { "" } else { "s" };
        asked.console.step(format!("EC2 does not know {unresolved} instance{s} in service: asking again"));
        tokio::time::sleep(pause).await;
    }
}

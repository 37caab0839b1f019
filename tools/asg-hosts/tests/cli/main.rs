//! asg-hosts as people, cron and Ansible run it: the real binary in a cleared environment, on saved answers and on a model
//! of EC2 and Auto Scaling that fails on demand.
#![expect(clippy::unwrap_used, reason = "what a test's own preparations fail at fails the test")]

mod addressed;
mod caches;
mod formats;
mod golden;
mod harness;
mod hostile;
mod inventory;
mod pages;
mod saved;
mod selectors;
mod terminals;

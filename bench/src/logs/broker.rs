//! What the harness asks the broker: to make topics, and how many lines it has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use testkit::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);

/// A broker and the topics of this process.
pub struct Broker {
    /// `host:port`.
    pub address: String,
    consumer: BaseConsumer,
    admin: AdminClient<DefaultClientContext>,
    next: AtomicU32,
}

/// A topic of one run.
pub struct Topic {
    /// Its name.
    pub name: String,
    partitions: i32,
}

impl Broker {
    /// At this address.
    ///
    /// # Errors
    /// When it has none.
    pub fn new(address: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("group.id", "bench");
        let (consumer, admin) = (config.create()?, config.create()?);
        Ok(Self { address: address.to_owned(), consumer, admin, next: AtomicU32::new(0) })
    }

    /// A topic that is empty.
    ///
    /// # Errors
    /// When the broker doesn't make it.
    pub fn topic(&self, partitions: i32) -> Result<Topic> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{number}", std::process::id());
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let made = runtime.block_on(self.admin.create_topics([&topic], &options))?;
        made.into_iter().next().context("no answer")?.map_err(|(_, code)| code)?;
        let topic = Topic { name, partitions };
        // A shipper that comes before the partitions have their leader waits half a second for its next try.
        wait_until("the partitions' leader", || {
            let known = self.consumer.fetch_metadata(Some(&topic.name), PATIENCE).map_err(|error| error.to_string())?;
            let parts =
                known.topics().iter().flat_map(|one| one.partitions()).filter(|part| part.leader() >= 0).count();
            if parts < usize::try_from(partitions).unwrap_or(usize::MAX) {
                return Err(format!("{parts} of {partitions}"));
            }
            self.count(&topic).map_err(|error| error.to_string())
        });
        Ok(topic)
    }

    /// Deletes a topic: the disk holds those that are still to come.
    ///
    /// # Errors
    /// When the broker doesn't.
    pub fn delete(&self, topic: &Topic) -> Result<()> {
        let options = AdminOptions::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(self.admin.delete_topics(&[&topic.name], &options))?;
        Ok(())
    }

    /// How many messages the topic has.
    ///
    /// # Errors
    /// When the broker doesn't say.
    pub fn count(&self, topic: &Topic) -> Result<u64> {
        let marks = (0..topic.partitions).map(|number| {
            let (_, high) = self.consumer.fetch_watermarks(&topic.name, number, PATIENCE)?;
            Ok(u64::try_from(high)?)
        });
        marks.sum()
    }
}

//! This process as a member of a consumer group: which partitions are its own, and the records in them.

use crate::args::Args;
use crate::ledger::{Ledger, Standing};
use crate::trouble::Trouble;
use cli::Console;
use failure::Failure;
use kafka::{Complaint, Hidden};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For questions about offsets.
const ASK: Duration = Duration::from_secs(5);

/// Records taken from a partition before the next one has its turn.
const TURN: usize = 1000;

/// The member. Each partition has a queue of its own: whoever has no room for records leaves them there and still hears of
/// the group, which pausing partitions would do too, if a pause did not outlive the assignment it was made in.
pub(crate) struct Group {
    consumer: Arc<BaseConsumer<Shared>>,
    /// Each with the assignment that it was made under.
    queues: BTreeMap<i32, (u64, PartitionQueue<Shared>)>,
    /// The partition whose turn it is.
    turn: i32,
    ring: Arc<dyn Fn() + Send + Sync>,
    topic: String,
    console: Console,
}

/// What librdkafka's callbacks and the rest have in common.
struct Shared {
    topic: String,
    ledger: Mutex<Ledger>,
    complaint: Complaint,
    commits: Trouble,
    lag: AtomicI64,
}

impl Group {
    /// Joins the group. `ring` is called when there are records where there were none.
    ///
    /// # Errors
    /// Options that librdkafka does not take.
    pub(crate) fn join(args: &Args, console: Console, ring: Arc<dyn Fn() + Send + Sync>) -> Result<Self, Failure> {
        let shared = Shared {
            topic: args.kafka.topic().to_owned(),
            ledger: Mutex::default(),
            complaint: Complaint::hiding(Hidden::of(args.kafka.options())),
            commits: Trouble::new(console, "positions are committed again"),
            lag: AtomicI64::new(-1),
        };
        let consumer = BaseConsumer::from_config_and_context(&config(args), shared);
        let refused = |error| kafka::refused(&error, &args.kafka.options, args.kafka.options_file.as_ref());
        let consumer = consumer.map_err(refused)?;
        consumer.subscribe(&[args.kafka.topic()]).map_err(refused)?;
        let (consumer, topic) = (Arc::new(consumer), args.kafka.topic().to_owned());
        Ok(Self { consumer, queues: BTreeMap::new(), turn: 0, ring, topic, console })
    }

    /// The account.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.consumer.context().ledger()
    }

    /// Hears what is new in the group. Whoever does not listen for long leaves it.
    ///
    /// # Errors
    /// This member can't go on.
    pub(crate) fn listen(&mut self, mut each: impl FnMut(&BorrowedMessage<'_>)) -> Result<Option<String>, Failure> {
        let consumer = Arc::clone(&self.consumer);
        let mut trouble = None;
        while let Some(news) = consumer.poll(Duration::ZERO) {
            // Records that were fetched before their partition had its queue.
            trouble = self.take(news, &mut each)?.or(trouble);
        }
        let own: BTreeMap<i32, u64> = self.ledger().assignments().collect();
        self.queues.retain(|partition, (assignment, _)| own.get(partition) == Some(assignment));
        for (partition, assignment) in own {
            if let Entry::Vacant(place) = self.queues.entry(partition)
                && let Some(mut queue) = consumer.split_partition_queue(&self.topic, partition)
            {
                let ring = Arc::clone(&self.ring);
                queue.set_nonempty_callback(move || ring());
                place.insert((assignment, queue));
                (self.ring)();
            }
        }
        Ok(trouble)
    }

    /// Takes records from one partition after the other, as long as `each` says that there is room; tells whether there was any.
    ///
    /// # Errors
    /// This member can't go on.
    pub(crate) fn read(&mut self, mut each: impl FnMut(&BorrowedMessage<'_>) -> bool) -> Result<Read, Failure> {
        let order: Vec<i32> =
            self.queues.range(self.turn..).chain(self.queues.range(..self.turn)).map(|(p, _)| *p).collect();
        let mut read = Read { any: false, trouble: None };
        for partition in order {
            self.turn = partition;
            let Some((_, queue)) = self.queues.get(&partition) else { continue };
            for _ in 0..TURN {
                let Some(news) = queue.poll(Duration::ZERO) else { break };
                let mut room = true;
                let trouble = self.take(news, |record| room = each(record))?;
                if !std::mem::replace(&mut read.any, true) {
                    self.consumer.context().complaint.forget();
                }
                read.trouble = trouble.or(read.trouble);
                if !room {
                    return Ok(read);
                }
            }
        }
        self.turn = self.turn.wrapping_add(1);
        Ok(read)
    }

    /// Takes one of the things that librdkafka has to say; returns trouble that passes or that a person has to mend.
    fn take(
        &self,
        news: KafkaResult<BorrowedMessage<'_>>,
        mut each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<Option<String>, Failure> {
        match news {
            Ok(record) => {
                self.count(&record);
                each(&record);
                Ok(None)
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                self.ledger().reach_end(partition);
                Ok(None)
            }
            Err(KafkaError::MessageConsumptionFatal(Code::FencedInstanceId)) => {
                Err(Failure::permanent("another log-index has joined the group as this member: give each a --member"))
            }
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                Err(Failure::temporary(format!("unable to read topic {}: {error}", self.topic)))
            }
            Err(error) => {
                let why = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
                let complaint = self.complaint().map(|why| format!(": {why}")).unwrap_or_default();
                Ok(Some(format!("unable to read topic {}: {why}{complaint}", self.topic)))
            }
        }
    }

    /// Counts a record as read, or as skipped; says so if records before it are gone.
    fn count(&self, record: &BorrowedMessage<'_>) {
        let (partition, offset) = (record.partition(), record.offset());
        let standing = {
            let mut ledger = self.ledger();
            match record.payload() {
                Some(_) => ledger.read += 1,
                None => ledger.skipped += 1,
            }
            ledger.pass(partition, offset)
        };
        let due = match standing {
            Standing::Due => return,
            Standing::After(due) => Some(due),
            // A group that was here before has a position.
            Standing::First => self.committed(partition),
        };
        if let Some(due) = due.filter(|due| *due < offset) {
            self.say_gone(partition, due);
        }
    }

    /// Between `due` and the first offset that the broker still has, everything was deleted before it was read.
    fn say_gone(&self, partition: i32, due: i64) {
        // Offsets that transactions and compaction leave out are no loss: only the broker's first offset tells.
        if let Ok((low, _)) = self.consumer.fetch_watermarks(&self.topic, partition, ASK)
            && due < low
        {
            self.console.warn(format!(
                "unable to index offsets {due} to {} of partition {partition} of {}: deleted before they were read",
                low - 1,
                self.topic
            ));
        }
    }

    fn committed(&self, partition: i32) -> Option<i64> {
        let mut asked = TopicPartitionList::with_capacity(1);
        asked.add_partition(&self.topic, partition);
        let answer = self.consumer.committed_offsets(asked, ASK).ok()?;
        match answer.find_partition(&self.topic, partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// With `--once`: asks where new partitions end.
    pub(crate) fn set_targets(&self) {
        let partitions = self.ledger().without_target();
        for partition in partitions {
            if let Ok((low, high)) = self.consumer.fetch_watermarks(&self.topic, partition, ASK) {
                let target = if low < high { high } else { 0 };
                // What the group has read before counts.
                let target = if self.committed(partition).is_some_and(|done| done >= high) { 0 } else { target };
                self.ledger().set_target(partition, target);
            }
        }
    }

    /// Commits how far everything before is settled.
    pub(crate) fn commit(&self) {
        self.consumer.context().commit(&self.consumer, CommitMode::Async);
    }

    /// Commits for the last time.
    ///
    /// # Errors
    /// It isn't committed.
    pub(crate) fn commit_at_last(&self) -> Result<(), Failure> {
        let partitions: Vec<i32> = self.ledger().partitions().collect();
        self.ledger().not_committed(partitions.into_iter());
        let moved = self.ledger().due_commits();
        if moved.is_empty() {
            return Ok(());
        }
        self.consumer.commit(&list(&self.topic, &moved), CommitMode::Sync).map_err(|error| {
            let why = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
            Failure::temporary(format!("unable to commit positions: {why}: what is indexed will be read again"))
        })
    }

    /// Records in the partitions of this member behind its committed positions, as far as that is known.
    pub(crate) fn lag(&self) -> Option<i64> {
        Some(self.consumer.context().lag.load(Ordering::Relaxed)).filter(|lag| *lag >= 0)
    }

    /// Whether a person has to do something about that.
    pub(crate) fn needs_a_person(&self) -> bool {
        self.consumer.context().complaint.needs_a_person()
    }

    /// What librdkafka last complained of.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.consumer.context().complaint.text()
    }
}

/// What reading came to.
#[derive(Debug)]
pub(crate) struct Read {
    /// Whether there was anything.
    pub(crate) any: bool,
    pub(crate) trouble: Option<String>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn list(topic: &str, positions: &[(i32, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (partition, offset) in positions {
        // The only error is a topic's name with a zero byte.
        drop(list.add_partition_offset(topic, *partition, Offset::Offset(*offset)));
    }
    list
}

/// What the member is known as in its group. The topic is part of it: to a member that comes back within its session the broker
/// gives the partitions that it had, also if they are those of another topic than it asks for by then.
fn instance(member: &str, topic: &str) -> String {
    format!("{member}-{}", &hex::encode(Sha256::digest(topic))[..8])
}

fn config(args: &Args) -> ClientConfig {
    let kafka = &args.kafka;
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("client.id", "log-index"),
        // A restart within it gets the same partitions back at once; the others wait no longer for one that is gone.
        ("session.timeout.ms", "10000"),
        ("heartbeat.interval.ms", "2000"),
        // What is fetched ahead of each partition, in memory, and how soon a queue that was full is looked at again.
        ("queued.max.messages.kbytes", "128"),
        ("fetch.queue.backoff.ms", "5"),
        ("fetch.max.bytes", "2097152"),
        ("max.partition.fetch.bytes", "262144"),
        ("fetch.wait.max.ms", "100"),
        // A topic that does not exist yet is found within this.
        ("topic.metadata.refresh.interval.ms", "5000"),
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "500"),
        ("socket.keepalive.enable", "true"),
        ("socket.nagle.disable", "true"),
    ] {
        config.set(key, value);
    }
    if args.stats.is_some() {
        config.set("statistics.interval.ms", "1000");
    }
    for (key, value) in kafka.options() {
        config.set(key, value);
    }
    let once = args.once.to_string();
    let instance = instance(&args.member(), kafka.topic());
    for (key, value) in [
        ("bootstrap.servers", kafka.brokers()),
        ("group.id", kafka.group()),
        ("group.instance.id", &instance),
        // Not the cooperative one, which takes two rounds to move a partition: a member that is killed between them and
        // comes back under its name starts no second one, and nobody has the partition.
        ("partition.assignment.strategy", "range"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("enable.partition.eof", &once),
    ] {
        config.set(key, value);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what moved. How it ends is told to the callback, if it is begun at all.
    fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) {
        let moved = self.ledger().due_commits();
        if !moved.is_empty() && consumer.commit(&list(&self.topic, &moved), mode).is_err() {
            self.ledger().not_committed(moved.iter().map(|(partition, _)| *partition));
        }
    }
}

impl ClientContext for Shared {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        self.complaint.hear_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.hear(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        // librdkafka goes on counting what is no longer this member's.
        let ledger = self.ledger();
        let own = ledger.partitions().filter_map(|partition| topic.partitions.get(&partition));
        let lags = own.map(|partition| partition.consumer_lag).filter(|lag| *lag >= 0);
        self.lag.store(lags.sum(), Ordering::Relaxed);
    }
}

impl ConsumerContext for Shared {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let ours = list.elements();
                self.ledger().assign(ours.iter().map(|one| one.partition()));
            }
            Rebalance::Revoke(partitions) => {
                // Whoever gets them reads on from what is settled; what is under way is then there already.
                self.commit(consumer, CommitMode::Sync);
                for one in partitions.elements() {
                    self.ledger().revoke(one.partition());
                }
            }
            Rebalance::Error(_) => {}
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let ours = offsets.elements();
        let failed = result.is_err() || ours.iter().any(|one| one.error().is_err());
        if !failed {
            return self.commits.end();
        }
        self.ledger().not_committed(ours.iter().map(|one| one.partition()));
        let error = result.err().or_else(|| ours.iter().find_map(|one| one.error().err()));
        // While the group is shared out anew no commit is taken.
        let code = error.and_then(|error| error.rdkafka_error_code());
        if let Some(code) = code.filter(|code| !matches!(code, Code::RebalanceInProgress | Code::IllegalGeneration)) {
            self.commits.meet(&format!("unable to commit positions: {code}"), false);
        }
    }
}

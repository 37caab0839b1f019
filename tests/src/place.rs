//! Places that releases are kept in, each with the same face: our own model of S3, a real S3 server, a directory.

use crate::tool;
use clap::Parser;
use release::{Layout, StoreArgs};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use store::{Attributes, Condition, Store};
use tempfile::TempDir;
use testkit::{FaultProxy, Plan, Rules, S3Model, Tool};

/// The artifact of all these tests.
pub const ARTIFACT: &str = "obelix";

/// A store, and what stands between it and the tools.
pub struct Place {
    url: String,
    proxy: Option<FaultProxy>,
    kind: Kind,
}

enum Kind {
    Files(TempDir),
    Model(Arc<S3Model>),
    Server { endpoint: String },
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    store: StoreArgs,
}

impl Place {
    /// A directory.
    ///
    /// # Panics
    /// There is no room for it.
    #[must_use]
    pub fn files() -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        Self { url: format!("file://{}", dir.path().display()), proxy: None, kind: Kind::Files(dir) }
    }

    /// Our model of S3 behind a proxy that injects the faults of `plan`.
    #[must_use]
    pub fn model(plan: Plan) -> Self {
        Self::model_with(Rules::default(), plan)
    }

    /// The same with other rules than AWS's.
    #[must_use]
    pub fn model_with(rules: Rules, plan: Plan) -> Self {
        let model = S3Model::start_with(rules);
        model.create_bucket("build");
        let proxy = FaultProxy::start(&model.endpoint(), plan);
        Self { url: "s3://build/obelix/prod".to_owned(), proxy: Some(proxy), kind: Kind::Model(Arc::new(model)) }
    }

    /// The real S3 server that `scripts/stack start s3` started, behind a proxy too.
    ///
    /// # Panics
    /// It was not started: run the tests by `scripts/test`.
    #[must_use]
    pub fn server(plan: Plan) -> Self {
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").expect("a real S3 server: run the tests by scripts/test");
        let proxy = FaultProxy::start(&endpoint, plan);
        let url = format!("s3://build/{}", uuid::Uuid::new_v4());
        let place = Self { url, proxy: Some(proxy), kind: Kind::Server { endpoint } };
        // This server makes a bucket at the first object in it.
        let look = place.look();
        if let Some((runtime, store)) = &look.store {
            let plain = Attributes::default();
            let ready = store.put("ready", b"", Condition::Absent, &plain);
            runtime.block_on(ready).expect("the server takes an object");
        }
        drop(look);
        place
    }

    /// The other S3 server that `scripts/stack start aws` started: any S3, as far as the tools know.
    ///
    /// # Panics
    /// It was not started, or takes no bucket.
    #[must_use]
    pub fn other() -> Self {
        let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("moto: run the tests by scripts/test");
        let bucket = format!("build-{}", uuid::Uuid::new_v4());
        let made = testkit::request(&endpoint, "PUT", &format!("/{bucket}"), &[], b"").expect("moto answers");
        assert_eq!(made.status, 200, "moto makes a bucket");
        let proxy = FaultProxy::start(&endpoint, Plan::None);
        Self { url: format!("s3://{bucket}/prod"), proxy: Some(proxy), kind: Kind::Server { endpoint } }
    }

    /// The same model through a proxy of its own, without faults.
    ///
    /// # Panics
    /// It is no model.
    #[must_use]
    pub fn beside(&self) -> Self {
        let Kind::Model(model) = &self.kind else { unreachable!("asked of a model only") };
        let proxy = FaultProxy::start(&model.endpoint(), Plan::None);
        Self { url: self.url.clone(), proxy: Some(proxy), kind: Kind::Model(Arc::clone(model)) }
    }

    /// URL of the store.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What stands in front of it.
    ///
    /// # Panics
    /// A directory has no proxy.
    #[must_use]
    pub fn proxy(&self) -> &FaultProxy {
        self.proxy.as_ref().expect("only directories have none")
    }

    /// A release tool, told of artifact and store.
    pub fn tool(&self, name: &str) -> Tool {
        self.reach(tool(name)).args(["--artifact", ARTIFACT, "--store", &self.url])
    }

    /// Any program, with the environment that leads to this store.
    pub fn reach(&self, tool: Tool) -> Tool {
        let Some(proxy) = &self.proxy else { return tool };
        let tool = tool.aws(proxy.endpoint());
        match self.kind {
            Kind::Server { .. } => {
                let given = |name: &str| std::env::var(name).expect("scripts/stack prints the credentials");
                tool.env("AWS_ACCESS_KEY_ID", given("AWS_ACCESS_KEY_ID"))
                    .env("AWS_SECRET_ACCESS_KEY", given("AWS_SECRET_ACCESS_KEY"))
                    .env("AWS_REGION", given("AWS_REGION"))
            }
            _ => tool,
        }
    }

    /// The store itself, past the proxy, for looking only.
    pub fn look(&self) -> Look<'_> {
        let store = match &self.kind {
            Kind::Server { endpoint } => {
                let line = ["look", "--artifact", ARTIFACT, "--store", &self.url, "--endpoint-url", endpoint];
                let args = Line::parse_from(line).store;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("the system gives a runtime");
                let store = runtime.block_on(args.open()).expect("the settings of the store are right");
                Some((runtime, store))
            }
            _ => None,
        };
        Look { place: self, store }
    }

    /// Publishes the tree in `dir` as the next release, past all faults, and returns its record's text.
    #[must_use]
    pub fn build(&self, dir: &std::path::Path) -> String {
        let finished = self.tool("artifact-pack").args(["-q", "-C"]).arg(dir).arg(".").run().succeeds();
        finished.stdout_str().to_owned()
    }
}

/// A look at the objects of a store.
pub struct Look<'a> {
    place: &'a Place,
    store: Option<(tokio::runtime::Runtime, Arc<dyn Store>)>,
}

impl Look<'_> {
    /// One small object.
    ///
    /// # Panics
    /// The store fails.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        match (&self.place.kind, &self.store) {
            (Kind::Files(dir), _) => fs::read(dir.path().join(key)).ok(),
            (Kind::Model(model), _) => {
                model.object("build", &format!("obelix/prod/{key}")).map(|object| object.body.to_vec())
            }
            (_, Some((runtime, store))) => {
                runtime.block_on(store.get(key)).expect("the store answers").map(|object| object.body)
            }
            _ => None,
        }
    }

    /// All objects.
    ///
    /// # Panics
    /// The store fails.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let keys: Vec<String> = match (&self.place.kind, &self.store) {
            (Kind::Files(dir), _) => {
                let names = fs::read_dir(dir.path()).expect("the store is there").flatten();
                let names = names.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
                names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
            (Kind::Model(model), _) => {
                let keys = model.objects("build").into_keys();
                keys.filter_map(|key| key.strip_prefix("obelix/prod/").map(str::to_owned)).collect()
            }
            (_, Some((runtime, store))) => {
                let listed = runtime.block_on(store.list("")).expect("the store answers");
                listed.into_iter().map(|entry| entry.key).collect()
            }
            _ => Vec::new(),
        };
        let visible = keys.into_iter().filter(|key| !key.starts_with('.'));
        visible.filter_map(|key| self.get(&key).map(|body| (key, body))).collect()
    }

    /// Keys of all uploads that are not complete.
    ///
    /// # Panics
    /// The store fails.
    #[must_use]
    pub fn uploads(&self) -> Vec<String> {
        match (&self.place.kind, &self.store) {
            (Kind::Files(dir), _) => {
                let names = fs::read_dir(dir.path().join(".uploads")).into_iter().flatten().flatten();
                names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
            (Kind::Model(model), _) => model.uploads("build").into_iter().map(|upload| upload.key).collect(),
            (_, Some((runtime, store))) => {
                let uploads = runtime.block_on(store.uploads("")).expect("the store answers");
                uploads.into_iter().map(|upload| upload.key).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The artifact's keys.
    ///
    /// # Panics
    /// Never: the name is one.
    #[must_use]
    pub fn layout(&self) -> Layout {
        ARTIFACT.parse().expect("a name of letters")
    }
}

//! The servers that lie: what exactly they lie about.

mod support;

use support::{BUCKET, Client};
use testkit::{Rules, S3Model};

fn liar(rules: Rules) -> (S3Model, Client) {
    let model = S3Model::start_with(rules);
    model.create_bucket(BUCKET);
    let client = Client::of(&model.endpoint());
    (model, client)
}

#[test]
fn conditions_are_ignored_but_for_the_two_probes() {
    let (model, s3) = liar(Rules { ignore_conditions: true, ..Rules::default() });
    let absent = [("If-None-Match", "*")];
    let etag = s3.put("/b/k", &absent, b"one").header("etag").unwrap().to_owned();
    // The probes.
    assert_eq!(s3.put("/b/k", &absent, b"one").error(), (412, "PreconditionFailed"));
    assert_eq!(s3.put("/b/k", &[("If-Match", "\"no object's\"")], b"one").error(), (412, "PreconditionFailed"));
    assert_eq!(s3.put("/b/none", &[("If-Match", "\"no object's\"")], b"one").error(), (412, "PreconditionFailed"));
    // The lies.
    assert_eq!(s3.put("/b/k", &absent, b"two").status(), 200);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "two");
    assert_eq!(s3.put("/b/k", &[("If-Match", &etag)], b"three").status(), 200);
    assert_eq!(s3.get("/b/k", &[("If-Match", "\"no object's\"")]).status(), 200);
    let id = s3.create("k", &[]);
    let part = s3.part("k", &id, 1, b"four");
    assert_eq!(s3.complete("k", &id, &absent, &[(1, &part)]).status(), 200);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "four");
    assert_eq!(s3.delete("/b/k", &[("If-Match", &etag)]).status(), 204);
    assert!(model.objects(BUCKET).is_empty());
}

#[test]
fn a_thorough_liar_fools_the_probes_too() {
    let (model, s3) = liar(Rules { ignore_all_conditions: true, ..Rules::default() });
    model.put_raw(BUCKET, "k", "one");
    assert_eq!(s3.put("/b/k", &[("If-None-Match", "*")], b"one").status(), 200);
    assert_eq!(s3.put("/b/k", &[("If-Match", "\"no object's\"")], b"two").status(), 200);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "two");
}

#[test]
fn acknowledged_and_dropped() {
    let (model, s3) = liar(Rules { ack_and_drop: true, ..Rules::default() });
    assert_eq!(s3.put("/b/k", &[], b"one").status(), 200);
    let id = s3.create("m", &[]);
    let part = s3.part("m", &id, 1, b"two");
    assert_eq!(s3.complete("m", &id, &[], &[(1, &part)]).status(), 200);
    assert!(model.objects(BUCKET).is_empty());
    assert!(model.uploads(BUCKET).is_empty());
    assert_eq!(s3.head("/b/k", &[]).status(), 404);
}

#[test]
fn conditions_are_kept_on_whole_objects_alone() {
    let (model, s3) = liar(Rules { complete_ignores_conditions: true, ..Rules::default() });
    let absent = [("If-None-Match", "*")];
    assert_eq!(s3.put("/b/k", &absent, b"one").status(), 200);
    assert_eq!(s3.put("/b/k", &absent, b"one").error(), (412, "PreconditionFailed"));
    let id = s3.create("k", &[]);
    let part = s3.part("k", &id, 1, b"two");
    assert_eq!(s3.complete("k", &id, &absent, &[(1, &part)]).status(), 200);
    assert_eq!(model.object(BUCKET, "k").unwrap().body, "two");
}

#[test]
fn uploads_are_listed_by_whole_keys_alone() {
    let (model, s3) = liar(Rules { uploads_by_exact_key: true, ..Rules::default() });
    let id = s3.create("p/k", &[]);
    for (prefix, listed) in [("", false), ("p/", false), ("p/k", true), ("p/k.", false)] {
        let answer = s3.get(&format!("/b?uploads&prefix={prefix}"), &[]);
        assert_eq!(answer.text().contains(&id), listed, "{prefix}");
    }
    assert_eq!(model.uploads(BUCKET).len(), 1);
}

#[test]
fn parts_that_nobody_can_read() {
    let (_model, s3) = liar(Rules { unreadable_parts: true, ..Rules::default() });
    let id = s3.create("k", &[]);
    let answer = s3.get(&format!("/b/k?uploadId={id}"), &[]);
    assert_eq!((answer.status(), answer.text().contains("ListPartsResult")), (200, false));
}

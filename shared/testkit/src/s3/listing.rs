//! ListObjectsV2 (and its predecessor), ListMultipartUploads, ListParts, ListBuckets.

use super::checksums::base64;
use super::reply::{Refusal, Reply, document, element, iso_date};
use super::service::Service;
use super::uri::{Target, encode};

/// The most entries of one page.
const PAGE: usize = 1000;

/// What a listing of objects may ask.
pub(crate) const OBJECT_FIELDS: [&str; 10] = [
    "list-type",
    "prefix",
    "continuation-token",
    "start-after",
    "max-keys",
    "encoding-type",
    "delimiter",
    "fetch-owner",
    "marker",
    "optional-object-attributes",
];

pub(crate) fn objects(service: &Service, target: &Target) -> Result<Reply, Refusal> {
    let second = target.get("list-type") == Some("2");
    let name = names(target)?;
    let page = page(target, "max-keys")?;
    let prefix = target.get("prefix").unwrap_or_default();
    let delimiter = target.get("delimiter").filter(|delimiter| !delimiter.is_empty());
    // A token is the last name of the page before it, written so that it does not look like one.
    let token = match target.get("continuation-token") {
        None => None,
        Some(token) => Some(
            token
                .strip_prefix("after-")
                .ok_or_else(|| Refusal::invalid_argument("The continuation token provided is incorrect"))?,
        ),
    };
    let after = if second { token.or(target.get("start-after")) } else { target.get("marker") };

    let mut state = service.state();
    let bucket = state.bucket(&target.bucket)?;
    let mut entries = String::new();
    let mut prefixes = String::new();
    let (mut count, mut last, mut truncated) = (0, String::new(), false);
    for (key, object) in bucket.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix)) {
        let folded = delimiter.and_then(|delimiter| {
            let end = key[prefix.len()..].find(delimiter)?;
            Some(&key[..prefix.len() + end + delimiter.len()])
        });
        let shown = folded.unwrap_or(key);
        // A folded prefix that was the last entry of the page before covers every key under it.
        if after.is_some_and(|after| shown <= after || key.as_str() <= after) || (folded.is_some() && shown == last) {
            continue;
        }
        if count == page {
            truncated = page > 0;
            break;
        }
        count += 1;
        last = shown.to_owned();
        if folded.is_some() {
            prefixes.push_str(&format!("<CommonPrefixes>{}</CommonPrefixes>", element("Prefix", &name(shown))));
            continue;
        }
        entries.push_str("<Contents>");
        entries.push_str(&element("Key", &name(key)));
        entries.push_str(&element("LastModified", &iso_date(object.modified)));
        entries.push_str(&element("ETag", &object.etag));
        if let Some((algorithm, _)) = object.checksum.as_ref().filter(|_| !service.rules.no_checksums) {
            entries.push_str(&element("ChecksumAlgorithm", algorithm.name()));
            entries.push_str(&element("ChecksumType", object.coverage.name()));
        }
        entries.push_str(&element("Size", &object.size.to_string()));
        entries.push_str(&element("StorageClass", &object.attributes.storage_class));
        entries.push_str("</Contents>");
    }

    let mut content = element("Name", &target.bucket);
    content.push_str(&element("Prefix", &name(prefix)));
    content.push_str(&element("MaxKeys", &page.to_string()));
    content.push_str(&element("IsTruncated", if truncated || service.rules.endless_lists { "true" } else { "false" }));
    if let Some(delimiter) = delimiter {
        content.push_str(&element("Delimiter", &name(delimiter)));
    }
    if let Some(encoding) = target.get("encoding-type") {
        content.push_str(&element("EncodingType", encoding));
    }
    if second {
        content.push_str(&element("KeyCount", &count.to_string()));
        if let Some(token) = target.get("continuation-token") {
            content.push_str(&element("ContinuationToken", token));
        }
        if let Some(start) = target.get("start-after") {
            content.push_str(&element("StartAfter", &name(start)));
        }
        if truncated {
            content.push_str(&element("NextContinuationToken", &format!("after-{last}")));
        }
    } else {
        content.push_str(&element("Marker", &name(after.unwrap_or_default())));
        if truncated {
            content.push_str(&element("NextMarker", &name(&last)));
        }
    }
    content.push_str(&entries);
    content.push_str(&prefixes);
    Ok(Reply::new(200).xml(&document("ListBucketResult", &content)))
}

pub(crate) fn uploads(service: &Service, target: &Target) -> Result<Reply, Refusal> {
    if service.rules.no_list_uploads {
        return Err(Refusal::not_implemented("ListMultipartUploads"));
    }
    let name = names(target)?;
    let page = page(target, "max-uploads")?;
    let prefix = target.get("prefix").unwrap_or_default();
    let key_marker = target.get("key-marker").unwrap_or_default();
    // Without a key marker AWS ignores the upload id marker.
    let id_marker = target.get("upload-id-marker").filter(|marker| !marker.is_empty() && !key_marker.is_empty());

    let mut state = service.state();
    let bucket = state.bucket(&target.bucket)?;
    let mut entries = String::new();
    let (mut count, mut last, mut truncated) = (0, (String::new(), String::new()), false);
    let wanted = |key: &str| if service.rules.uploads_by_exact_key { key == prefix } else { key.starts_with(prefix) };
    for ((key, id), upload) in bucket.uploads.iter().filter(|((key, _), _)| wanted(key)) {
        let passed = match id_marker {
            _ if key_marker.is_empty() => false,
            Some(id_marker) => key.as_str() < key_marker || (key == key_marker && id.as_str() <= id_marker),
            None => key.as_str() <= key_marker,
        };
        if passed {
            continue;
        }
        if count == page {
            truncated = page > 0;
            break;
        }
        count += 1;
        last = (key.clone(), id.clone());
        entries.push_str("<Upload>");
        entries.push_str(&element("Key", &name(key)));
        entries.push_str(&element("UploadId", id));
        entries.push_str(&element("StorageClass", &upload.attributes.storage_class));
        entries.push_str(&element("Initiated", &iso_date(upload.initiated)));
        if let Some(algorithm) = upload.algorithm {
            entries.push_str(&element("ChecksumAlgorithm", algorithm.name()));
            entries.push_str(&element("ChecksumType", upload.coverage.name()));
        }
        entries.push_str("</Upload>");
    }
    let mut content = element("Bucket", &target.bucket);
    content.push_str(&element("KeyMarker", &name(key_marker)));
    content.push_str(&element("UploadIdMarker", id_marker.unwrap_or_default()));
    if truncated {
        content.push_str(&element("NextKeyMarker", &name(&last.0)));
        content.push_str(&element("NextUploadIdMarker", &last.1));
    }
    content.push_str(&element("Prefix", &name(prefix)));
    content.push_str(&element("MaxUploads", &page.to_string()));
    content.push_str(&element("IsTruncated", if truncated || service.rules.endless_lists { "true" } else { "false" }));
    if let Some(encoding) = target.get("encoding-type") {
        content.push_str(&element("EncodingType", encoding));
    }
    content.push_str(&entries);
    Ok(Reply::new(200).xml(&document("ListMultipartUploadsResult", &content)))
}

pub(crate) fn parts(service: &Service, target: &Target) -> Result<Reply, Refusal> {
    let id = target.get("uploadId").unwrap_or_default();
    let page = page(target, "max-parts")?;
    let marker: u32 = number(target, "part-number-marker")?.unwrap_or(0);
    let mut state = service.state();
    let upload = state.bucket(&target.bucket)?.upload(&target.key, id)?;
    if service.rules.unreadable_parts {
        return Ok(Reply::new(200).xml("<html>"));
    }
    let mut entries = String::new();
    let (mut count, mut last, mut truncated) = (0, marker, false);
    for (number, part) in upload.parts.iter().filter(|(number, _)| **number > marker) {
        if count == page {
            truncated = page > 0;
            break;
        }
        count += 1;
        last = *number;
        entries.push_str("<Part>");
        entries.push_str(&element("PartNumber", &number.to_string()));
        entries.push_str(&element("LastModified", &iso_date(part.modified)));
        entries.push_str(&element("ETag", &part.etag));
        entries.push_str(&element("Size", &part.size.to_string()));
        if let Some(sum) = part.checksum.as_ref().filter(|_| !service.rules.no_checksums) {
            entries.push_str(&element(&upload.checksum_algorithm().tag(), &base64(sum)));
        }
        entries.push_str("</Part>");
    }
    let mut content = element("Bucket", &target.bucket);
    content.push_str(&element("Key", &target.key));
    content.push_str(&element("UploadId", id));
    content.push_str(&element("StorageClass", &upload.attributes.storage_class));
    content.push_str(&element("PartNumberMarker", &marker.to_string()));
    if truncated {
        content.push_str(&element("NextPartNumberMarker", &last.to_string()));
    }
    content.push_str(&element("MaxParts", &page.to_string()));
    content.push_str(&element("IsTruncated", if truncated || service.rules.endless_lists { "true" } else { "false" }));
    if let Some(algorithm) = upload.algorithm {
        content.push_str(&element("ChecksumAlgorithm", algorithm.name()));
        content.push_str(&element("ChecksumType", upload.coverage.name()));
    }
    content.push_str(&entries);
    Ok(Reply::new(200).xml(&document("ListPartsResult", &content)))
}

pub(crate) fn buckets(service: &Service) -> Reply {
    let names: String = service
        .state()
        .buckets
        .keys()
        .map(|name| {
            format!("<Bucket>{}{}</Bucket>", element("Name", name), element("CreationDate", "2026-01-01T00:00:00.000Z"))
        })
        .collect();
    let content = format!("<Owner><ID>testkit</ID></Owner><Buckets>{names}</Buckets>");
    Reply::new(200).xml(&document("ListAllMyBucketsResult", &content))
}

/// How names are spelled in the answer: as they are, or percent-coded where the client asked for it.
fn names(target: &Target) -> Result<fn(&str) -> String, Refusal> {
    match target.get("encoding-type") {
        None => Ok(str::to_owned),
        Some("url") => Ok(encode),
        Some(_) => Err(Refusal::invalid_argument("Invalid Encoding Method specified in Request")),
    }
}

fn page(target: &Target, field: &str) -> Result<usize, Refusal> {
    Ok(number(target, field)?.unwrap_or(PAGE).min(PAGE))
}

fn number<T: std::str::FromStr>(target: &Target, field: &str) -> Result<Option<T>, Refusal> {
    let Some(text) = target.get(field).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let message = || Refusal::invalid_argument(format!("Provided {field} not an integer or within integer range"));
    text.parse().map(Some).map_err(|_| message())
}

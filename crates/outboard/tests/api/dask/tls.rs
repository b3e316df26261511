//! Clusters that speak TLS, with certificates on both sides.

use outboard::dask::python;
use outboard::{Client, ErrorKind};
use tempfile::tempdir;

use super::cluster::Certificates;
use super::{Release, on_every_release};

on_every_release!(a_cluster_with_an_authority_is_spoken_to, a_temporary_cluster_is_spoken_to,);

async fn works(release: Release, certificates: Certificates) {
    let query = certificates.query();
    let cluster = release.secured(certificates).await;
    let client = Client::connect(&format!("{}?{query}", cluster.address())).await.unwrap();
    let negate = python::<(i64,), i64>("operator:neg");
    assert_eq!(client.submit(negate, 7).await.unwrap(), -7);
    client.shutdown().await;
    // Another authority's certificate is refused, by either side.
    let directory = tempdir().unwrap();
    let others = Certificates::temporary(directory.path(), "other").query();
    let error = Client::connect(&format!("{}?{others}", cluster.address())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = Client::connect(&cluster.address().replace("tls:", "tcp:")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("write tls://"), "{error}");
    let error = Client::connect(&cluster.address()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("tls_ca"), "{error}");
    // And TLS with one that speaks none.
    let plain = release.shared_native().await.address().replace("tcp:", "tls:");
    let error = Client::connect(&format!("{plain}?{query}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("write tcp://"), "{error}");
}

async fn a_cluster_with_an_authority_is_spoken_to(release: Release) {
    let directory = tempdir().unwrap();
    works(release, Certificates::signed(directory.path())).await;
}

async fn a_temporary_cluster_is_spoken_to(release: Release) {
    let directory = tempdir().unwrap();
    works(release, Certificates::temporary(directory.path(), "temporary")).await;
}

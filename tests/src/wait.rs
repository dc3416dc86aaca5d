use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the answer is yes, for at most half a minute.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(PATIENCE, what, condition).await;
}

/// Asks until the answer is yes.
pub async fn eventually_within(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let start = Instant::now();
    while !condition().await {
        assert!(
            start.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until a number is reached and looks for a moment longer whether it
/// stays: what must not happen cannot be awaited.
pub async fn settles_at(what: &str, wanted: usize, mut number: impl AsyncFnMut() -> usize) {
    let mut last = 0;
    let start = Instant::now();
    while last < wanted && start.elapsed() < PATIENCE {
        last = number().await;
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(last, wanted, "{what}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(number().await, wanted, "{what}, and no more");
}

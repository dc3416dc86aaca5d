//! The only unsafe code: what librdkafka can do and rdkafka does not offer.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, OwnedHeaders};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, client::Client};

/// A message where librdkafka put it; freed when dropped.
///
/// Its consumer must outlive it: whoever polls a [`FetchQueue`] sees to that.
pub(crate) struct Fetched {
    message: NonNull<bindings::rd_kafka_message_t>,
    headers: *mut bindings::rd_kafka_headers_t,
}

// SAFETY: librdkafka lets any thread read and free a message. What is read
// through a shared reference does not change: the one lazy step, taking the
// headers apart, needs `&mut`.
unsafe impl Send for Fetched {}
// SAFETY: as above.
unsafe impl Sync for Fetched {}

impl Fetched {
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        let err = self.raw().err;
        (err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| err.into())
    }

    pub(crate) fn partition(&self) -> i32 {
        self.raw().partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// librdkafka's handle of the topic: equal for messages of one topic.
    pub(crate) fn topic_handle(&self) -> usize {
        self.raw().rkt as usize
    }

    pub(crate) fn topic(&self) -> &str {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the message keeps its topic, and with it the name, alive.
        let name = unsafe { CStr::from_ptr(bindings::rd_kafka_topic_name(topic)) };
        name.to_str().unwrap_or_default()
    }

    pub(crate) fn timestamp(&self) -> Option<i64> {
        let mut kind = bindings::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let millis =
            unsafe { bindings::rd_kafka_message_timestamp(self.message.as_ptr(), &mut kind) };
        (millis >= 0).then_some(millis)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: key and length belong together and live as long as the message.
        unsafe { bytes(raw.key, raw.key_len) }
    }

    pub(crate) fn payload(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: payload and length belong together and live as long as the message.
        unsafe { bytes(raw.payload, raw.len) }
    }

    /// Takes the headers apart, once, for [`header`](Self::header).
    pub(crate) fn read_headers(&mut self) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and owns the headers; nobody else looks at it.
        let err =
            unsafe { bindings::rd_kafka_message_headers(self.message.as_ptr(), &mut headers) };
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.headers = headers;
        }
    }

    /// The header at this place; none behind the last, and none before
    /// [`read_headers`](Self::read_headers).
    pub(crate) fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        // SAFETY: the headers are null or belong to the living message.
        unsafe { header(self.headers, index) }
    }

    fn raw(&self) -> &bindings::rd_kafka_message_t {
        // SAFETY: the message is alive until this value is dropped.
        unsafe { self.message.as_ref() }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // SAFETY: the message is ours, and nothing borrows from it any more.
        unsafe { bindings::rd_kafka_message_destroy(self.message.as_ptr()) }
    }
}

/// A null pointer is no value.
///
/// # Safety
///
/// A pointer that is not null leads to `len` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    (!start.is_null()).then(|| {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) }
    })
}

/// rdkafka's own reader panics on a name that is not UTF-8.
///
/// # Safety
///
/// The headers are null or live for `'a`.
unsafe fn header<'a>(
    headers: *const bindings::rd_kafka_headers_t,
    index: usize,
) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    if headers.is_null() {
        return None;
    }
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the headers are alive; an index behind the last is answered with an error.
    let err = unsafe {
        bindings::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size)
    };
    if err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: the name is a C string, the value `size` bytes or null, both
    // alive as long as the headers.
    unsafe { Some((CStr::from_ptr(name).to_bytes(), bytes(value, size))) }
}

/// A queue of the application's own, to which the messages of assigned
/// partitions are led. Unlike the consumer's queue it holds nothing else, so a
/// batch is taken with one call and no wrapper per message.
pub(crate) struct FetchQueue {
    queue: NonNull<bindings::rd_kafka_queue_t>,
    taken: Vec<*mut bindings::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for FetchQueue {}

impl FetchQueue {
    /// A queue that gives at most `most` messages at once. It must be dropped
    /// before its client.
    pub(crate) fn new<C: ClientContext>(client: &Client<C>, most: usize) -> Self {
        // SAFETY: the client is alive; librdkafka ends the process where it has
        // no memory for a queue.
        let queue = unsafe { bindings::rd_kafka_queue_new(client.native_ptr()) };
        Self {
            queue: NonNull::new(queue).expect("librdkafka makes queues"),
            taken: vec![ptr::null_mut(); most],
        }
    }

    /// Leads a partition's messages here. Before it is assigned, so that none
    /// goes elsewhere.
    pub(crate) fn lead<C: ClientContext>(&self, client: &Client<C>, topic: &str, partition: i32) {
        let Ok(topic) = CString::new(topic) else {
            return;
        };
        // SAFETY: client, name and queue are alive through the calls; the
        // partition's queue is given back after its last use here.
        unsafe {
            let source = bindings::rd_kafka_queue_get_partition(
                client.native_ptr(),
                topic.as_ptr(),
                partition,
            );
            if !source.is_null() {
                bindings::rd_kafka_queue_forward(source, self.queue.as_ptr());
                bindings::rd_kafka_queue_destroy(source);
            }
        }
    }

    /// Waits for a message, then takes all that are there, up to `batch`. Every
    /// one must be dropped before the client.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        batch: usize,
        mut take: impl FnMut(Fetched),
    ) -> usize {
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // librdkafka waits for a full batch, so only one is waited for.
        let mut count = self.fill(0, 1, timeout);
        let batch = batch.min(self.taken.len());
        if count > 0 && batch > 1 {
            count += self.fill(1, batch, 0);
        }
        for message in &self.taken[..count] {
            if let Some(message) = NonNull::new(*message) {
                take(Fetched {
                    message,
                    headers: ptr::null_mut(),
                });
            }
        }
        count
    }

    fn fill(&mut self, from: usize, to: usize, timeout: i32) -> usize {
        let room = &mut self.taken[from..to];
        // SAFETY: the queue is alive, and the room is as long as said.
        let count = unsafe {
            bindings::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                timeout,
                room.as_mut_ptr(),
                room.len(),
            )
        };
        usize::try_from(count).unwrap_or(0)
    }
}

impl Drop for FetchQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; partitions that lead here keep it alive
        // inside librdkafka as long as they need it.
        unsafe { bindings::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Where the outcomes of commits arrive; rdkafka's own are not told of an
/// asynchronous one.
pub(crate) struct CommitQueue(NonNull<bindings::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for CommitQueue {}

impl CommitQueue {
    /// Must be dropped before its client.
    pub(crate) fn new<C: ClientContext>(client: &Client<C>) -> Self {
        // SAFETY: the client is alive; librdkafka ends the process where it has
        // no memory for a queue.
        let queue = unsafe { bindings::rd_kafka_queue_new(client.native_ptr()) };
        Self(NonNull::new(queue).expect("librdkafka makes queues"))
    }

    /// Begins to commit the stored offsets of all assigned partitions. Unless it
    /// fails at once, there is an outcome later.
    pub(crate) fn commit_stored<C: ClientContext>(
        &self,
        client: &Client<C>,
    ) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: client and queue are alive; no offsets means the stored ones,
        // and without a callback nothing is called.
        let err = unsafe {
            bindings::rd_kafka_commit_queue(
                client.native_ptr(),
                ptr::null(),
                self.0.as_ptr(),
                None,
                ptr::null_mut(),
            )
        };
        code(err)
    }

    /// How a commit ended, if one did.
    pub(crate) fn outcome(&self) -> Option<Result<(), RDKafkaErrorCode>> {
        // SAFETY: the queue is alive; the event is ours and freed after its last use.
        unsafe {
            let event = bindings::rd_kafka_queue_poll(self.0.as_ptr(), 0);
            if event.is_null() {
                return None;
            }
            let err = bindings::rd_kafka_event_error(event);
            bindings::rd_kafka_event_destroy(event);
            Some(code(err))
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; commits under way keep it alive inside
        // librdkafka as long as they need it.
        unsafe { bindings::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

fn code(err: RDKafkaRespErr) -> Result<(), RDKafkaErrorCode> {
    match err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        err => Err(err.into()),
    }
}

/// Visits a message's headers in order.
pub(crate) fn for_each_header(
    message: &BorrowedMessage<'_>,
    mut visit: impl FnMut(&[u8], Option<&[u8]>),
) {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive for the whole call and owns the headers.
    let err = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &mut headers) };
    if err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return;
    }
    for index in 0.. {
        // SAFETY: the headers belong to the living message.
        let Some((name, value)) = (unsafe { header(headers, index) }) else {
            return;
        };
        visit(name, value);
    }
}

/// Visits the headers of a record that is not sent yet.
#[cfg(feature = "__fuzz")]
pub(crate) fn for_each_own_header(
    headers: &OwnedHeaders,
    mut visit: impl FnMut(&[u8], Option<&[u8]>),
) {
    let list = ptr::from_ref::<BorrowedHeaders>(headers.as_borrowed());
    for index in 0.. {
        // SAFETY: rdkafka hands out the native list under the type
        // BorrowedHeaders; OwnedHeaders lives through the call.
        let Some((name, value)) = (unsafe { header(list.cast(), index) }) else {
            return;
        };
        visit(name, value);
    }
}

/// Appends a header whose name need not be UTF-8, as rdkafka's own `insert` demands.
pub(crate) fn append_header(headers: &OwnedHeaders, name: &[u8], value: Option<&[u8]>) {
    let list = ptr::from_ref::<BorrowedHeaders>(headers.as_borrowed()).cast_mut();
    let (bytes, size) = value.map_or((ptr::null::<u8>(), 0), |value| {
        (value.as_ptr(), value.len())
    });
    // SAFETY: rdkafka hands out the native list under the type BorrowedHeaders;
    // OwnedHeaders owns that list and lives through the call; librdkafka copies
    // name and value. A slice never exceeds isize::MAX bytes.
    unsafe {
        bindings::rd_kafka_header_add(
            list.cast(),
            name.as_ptr().cast::<c_char>(),
            name.len() as isize,
            bytes.cast::<c_void>(),
            size as isize,
        );
    }
}

/// Lets the first member of a group on the client's mock cluster begin at once,
/// and not after three seconds.
pub(crate) fn no_initial_rebalance_delay<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the client is alive; the cluster it owns is null or lives as long.
    unsafe {
        let cluster = bindings::rd_kafka_handle_mock_cluster(client.native_ptr());
        if !cluster.is_null() {
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}

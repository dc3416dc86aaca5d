//! The only unsafe code: what librdkafka can do and rdkafka does not offer.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::raw::{c_char, c_void};
use std::ptr;

use rdkafka::bindings;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, OwnedHeaders};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, client::Client};

/// Visits a message's headers in order. rdkafka's own reader panics on a name
/// that is not UTF-8.
pub(crate) fn for_each_header(
    message: &BorrowedMessage<'_>,
    visit: impl FnMut(&[u8], Option<&[u8]>),
) {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive for the whole call and owns the headers.
    let err = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &mut headers) };
    if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: the headers live as long as the message.
        unsafe { visit_all(headers, visit) };
    }
}

/// Visits the headers of a record that is not sent yet.
#[cfg(feature = "__fuzz")]
pub(crate) fn for_each_own_header(headers: &OwnedHeaders, visit: impl FnMut(&[u8], Option<&[u8]>)) {
    let list = ptr::from_ref::<BorrowedHeaders>(headers.as_borrowed());
    // SAFETY: as in `append_header`, this is the native list, alive through the call.
    unsafe { visit_all(list.cast(), visit) };
}

/// # Safety
///
/// `headers` is a native list that lives through the call.
unsafe fn visit_all(
    headers: *const bindings::rd_kafka_headers_t,
    mut visit: impl FnMut(&[u8], Option<&[u8]>),
) {
    for index in 0.. {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list is alive; an index behind the last one is answered
        // with an error.
        let err = unsafe {
            bindings::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size)
        };
        if err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: the name is a C string, the value `size` bytes or null, both
        // alive as long as the list.
        let (name, value) = unsafe {
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            (CStr::from_ptr(name).to_bytes(), value)
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

use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

/// What may stand as an event's key. Text goes out as UTF-8, numbers in
/// decimal, UUIDs in their hyphenated form, bytes as they are.
///
/// Implement it for an identifier type of your own:
///
/// ```
/// use std::borrow::Cow;
/// use eventkit::EventKey;
///
/// struct OrderId(u64);
///
/// impl EventKey for OrderId {
///     fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
///         self.0.key_bytes()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an event's key",
    label = "not a key",
    note = "strings, integers, `Uuid`, byte vectors, and `Option` of these can; for a type of your own implement `eventkit::EventKey`"
)]
pub trait EventKey {
    /// The key as it goes to Kafka; `None` is a record without a key.
    fn key_bytes(&self) -> Option<Cow<'_, [u8]>>;
}

impl EventKey for str {
    fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(self.as_bytes()))
    }
}

impl EventKey for [u8] {
    fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(self))
    }
}

impl EventKey for Uuid {
    fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Owned(self.hyphenated().to_string().into_bytes()))
    }
}

macro_rules! by_deref {
    ($($t:ty => $target:ty),*) => {$(
        impl EventKey for $t {
            fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
                <$target>::key_bytes(self)
            }
        }
    )*};
}
by_deref!(String => str, Box<str> => str, Arc<str> => str, Vec<u8> => [u8], Box<[u8]> => [u8]);

macro_rules! in_decimal {
    ($($t:ty),*) => {$(
        impl EventKey for $t {
            fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
                Some(Cow::Owned(self.to_string().into_bytes()))
            }
        }
    )*};
}
in_decimal!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize
);

impl<K: EventKey> EventKey for Option<K> {
    fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
        self.as_ref().and_then(EventKey::key_bytes)
    }
}

impl<K: EventKey + ?Sized> EventKey for &K {
    fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
        K::key_bytes(self)
    }
}

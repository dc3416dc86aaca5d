//! Notification: tells the customer how an order ended.

use eventkit::prelude::*;

use super::operations::mend_faults;
use super::{Mending, Timings};
use crate::events::{CustomerNotified, OrderCancelled, OrderConfirmed, OrderId};
use crate::faults::Faults;

pub(super) fn app(app: App, faults: Faults, mending: Mending, timings: Timings) -> App {
    app.handlers(handlers![mail_confirmation, mail_cancellation, mend_faults])
        .state(MailServer { faults })
        .state(mending)
        .state(timings)
}

#[derive(Debug, Clone)]
struct MailServer {
    faults: Faults,
}

impl MailServer {
    fn mail(
        &self,
        order: OrderId,
        customer: u32,
        attempt: u32,
    ) -> Result<CustomerNotified, &'static str> {
        if self.faults.mail_server_hangs_up(order, attempt) {
            return Err("the mail server hung up");
        }
        Ok(CustomerNotified { order, customer })
    }
}

#[handler(
    event = "OrderConfirmed.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    dedup(ttl = "7d")
)]
async fn mail_confirmation(
    confirmed: Envelope<OrderConfirmed>,
    Attempt(attempt): Attempt,
    State(mail): State<MailServer>,
    State(timings): State<Timings>,
) -> Result<CustomerNotified, HandlerError> {
    let mailed = mail.mail(confirmed.event.order, confirmed.event.customer, attempt)?;
    timings.handled(&confirmed.metadata);
    Ok(mailed)
}

#[handler(
    event = "OrderCancelled.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    dedup(ttl = "7d")
)]
async fn mail_cancellation(
    cancelled: Envelope<OrderCancelled>,
    Attempt(attempt): Attempt,
    State(mail): State<MailServer>,
    State(timings): State<Timings>,
) -> Result<CustomerNotified, HandlerError> {
    let mailed = mail.mail(cancelled.event.order, cancelled.event.customer, attempt)?;
    timings.handled(&cancelled.metadata);
    Ok(mailed)
}

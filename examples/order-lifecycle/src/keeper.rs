//! The run from the Order service's side: place the orders, wait for their end,
//! draw up the books, mend the faults, and draw them up again.

use std::time::{Duration, Instant};

use anyhow::Context;
use eventkit::{Message, PublishError, Publisher};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::ServiceName;
use crate::books::Books;
use crate::data::Purchase;
use crate::events::{FaultsMended, OrderId, OrderPlaced, OrderPlacedInText};
use crate::faults::Faults;
use crate::journey::Journey;
use crate::ledger::Ledger;
use crate::platform::Platform;
use crate::services::Service;
use crate::{letters, progress, report};

/// Orders that are on their way at once, as many as an eager shop may have.
const OPEN_ORDERS: u32 = 1_000;
const PLACED_TOGETHER: usize = 100;
/// Without any order coming to its end for so long, something is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// The service that is slowest to hear of it is told again.
const MEND_AGAIN: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_millis(250);

pub(crate) struct Keeper<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) faults: &'a Faults,
    pub(crate) services: &'a [Service],
    pub(crate) ledger: &'a Ledger,
    pub(crate) run: u32,
    pub(crate) units_at_start: u32,
}

impl Keeper<'_> {
    /// `false`: the books did not balance, before or after.
    pub(crate) async fn keep(&self) -> anyhow::Result<bool> {
        let stop = CancellationToken::new();
        let watch = letters::watch(
            self.platform.bootstrap_servers(),
            self.ledger.clone(),
            stop.clone(),
        )?;
        let balanced = self.both_books().await;
        stop.cancel();
        let _ = tokio::task::spawn_blocking(move || watch.join()).await;
        balanced
    }

    async fn both_books(&self) -> anyhow::Result<bool> {
        let orders = self.ledger.pages().orders.len();
        let progress = AbortOnDrop(tokio::spawn(progress::report(self.ledger.counts(), orders)));
        let started = Instant::now();
        self.place_all().await?;
        let settled = self.settle().await;
        let took = started.elapsed();
        self.quiet().await;
        drop(progress);
        progress::clear();

        let counts = self.ledger.pages().counts;
        if let Some(journey) = &self.ledger.pages().journey {
            println!("\nThe journey of order {}\n{journey}", journey.order);
        }
        println!("The services");
        report::table(self.services);
        println!("\nThe rate");
        report::rate(self.services, counts, took);
        println!("\nThe books");
        let left = self.letters_left().await?;
        let first = self.books(left);
        println!("{first}");
        if !settled {
            println!(
                "{} orders have no end after {PATIENCE:?} without news.",
                counts.open()
            );
            return Ok(false);
        }
        if left == 0 {
            println!("Nothing is left to be mended.");
            return Ok(first.problems.is_empty());
        }

        println!("The faults are mended, the {left} dead letters sent back. The books again");
        let left = self.mend().await?;
        let mut second = self.books(left);
        second.expect_no_letters(&self.ledger.pages(), left);
        println!("{second}");
        Ok(first.problems.is_empty() && second.problems.is_empty())
    }

    /// Places the orders, each customer's in order, as fast as they are settled.
    async fn place_all(&self) -> anyhow::Result<()> {
        let publisher = self.publisher()?;
        let purchases: Vec<Purchase> = {
            let pages = self.ledger.pages();
            pages
                .orders
                .iter()
                .map(|page| page.purchase.clone())
                .collect()
        };
        let orders: Vec<(OrderId, Purchase)> = (1..)
            .map(|number| OrderId {
                run: self.run,
                number,
            })
            .zip(purchases)
            .collect();
        if let Some((order, _)) = orders
            .iter()
            .find(|(order, _)| self.faults.is_eventful(*order))
        {
            self.ledger.follow(Journey::new(*order));
        } else if let Some((order, _)) = orders.first() {
            self.ledger.follow(Journey::new(*order));
        }
        let mut counts = self.ledger.counts();
        for orders in orders.chunks(PLACED_TOGETHER) {
            let waiting = counts.wait_for(|counts| counts.open() < OPEN_ORDERS);
            if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
                return Ok(());
            }
            let placed = orders
                .iter()
                .map(|(order, purchase)| self.place(publisher, *order, purchase));
            try_join_all(placed).await?;
        }
        Ok(())
    }

    async fn place(
        &self,
        publisher: &Publisher,
        order: OrderId,
        purchase: &Purchase,
    ) -> Result<(), PublishError> {
        let &Purchase {
            customer,
            date,
            units,
            cents,
            ..
        } = purchase;
        let id = Uuid::now_v7();
        let is_twice = self.faults.published_twice(order);
        self.ledger.placed(order);
        if let Some(journey) = &mut self.ledger.pages().journey
            && journey.order == order
        {
            let said = if is_twice { "published twice" } else { "" };
            journey.begins(id.to_string(), said.to_owned());
        }
        for _ in 0..1 + usize::from(is_twice) {
            if self.faults.published_in_text(order) {
                let units = units.to_string();
                let placed = OrderPlacedInText {
                    order,
                    customer,
                    date,
                    units,
                    cents,
                };
                publisher
                    .send(Message::new(&placed).id(id).correlation_id(order))
                    .await?;
            } else {
                let placed = OrderPlaced {
                    order,
                    customer,
                    date,
                    units,
                    cents,
                };
                publisher
                    .send(Message::new(&placed).id(id).correlation_id(order))
                    .await?;
            }
        }
        Ok(())
    }

    /// Waits until every order has ended or stands in a dead-letter topic;
    /// `false` when nothing moves any more.
    async fn settle(&self) -> bool {
        let mut counts = self.ledger.counts();
        loop {
            let now = *counts.borrow_and_update();
            if now.open() == 0 {
                return true;
            }
            if tokio::time::timeout(PATIENCE, counts.changed())
                .await
                .is_err()
            {
                return false;
            }
        }
    }

    /// Waits for those who only listen.
    async fn quiet(&self) {
        let deliveries = || self.services.iter().map(Service::deliveries).sum::<u64>();
        let mut before = deliveries();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = deliveries();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Says that the faults are mended until no dead letter is left; returns
    /// how many are left after all.
    async fn mend(&self) -> anyhow::Result<u64> {
        self.ledger.reopen();
        let started = Instant::now();
        loop {
            let mended = FaultsMended { run: self.run };
            self.publisher()?.publish(&mended).await?;
            let told = Instant::now();
            while told.elapsed() < MEND_AGAIN {
                self.quiet().await;
                let left = self.letters_left().await?;
                let is_over = left == 0 && self.ledger.pages().counts.open() == 0;
                if is_over || started.elapsed() > PATIENCE {
                    return Ok(left);
                }
            }
        }
    }

    fn books(&self, letters_left: u64) -> Books {
        Books::draw_up(&self.ledger.pages(), self.units_at_start, letters_left)
    }

    async fn letters_left(&self) -> anyhow::Result<u64> {
        let servers = self.platform.bootstrap_servers().to_owned();
        let left = tokio::task::spawn_blocking(move || letters::left(&servers)).await?;
        left.context("counting dead letters")
    }

    fn publisher(&self) -> anyhow::Result<&Publisher> {
        let order = self
            .services
            .iter()
            .find(|service| service.name == ServiceName::Order);
        Ok(order
            .context("the Order service places the orders")?
            .running()
            .publisher())
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

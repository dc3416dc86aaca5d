//! The run from the till's side: place the orders, wait for their end, draw up the
//! books, mend the faults, and draw them up again. It speaks to the services by
//! the Order service's outbox only.

use std::time::{Duration, Instant};

use anyhow::Context;
use eventkit::Message;
use sqlx::Connection as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::books::{self, Books, Run};
use super::services::Service;
use super::tables::Store;
use super::{Connection, Databases, counts};
use crate::args::ServiceName;
use crate::data::Purchase;
use crate::events::{FaultsMended, OrderId, OrderPlaced, OrderPlacedInText};
use crate::faults::Faults;
use crate::journey::{Ends, Journey};
use crate::letters::Letter;
use crate::platform::Platform;
use crate::processes::Processes;
use crate::progress::Counts;
use crate::{letters, progress, report};

/// Orders that are on their way at once, as many as an eager shop may have.
const OPEN_ORDERS: i64 = 1_000;
/// In one transaction: a commit for each would be most of the work.
const PLACED_TOGETHER: usize = 50;
/// Without any order coming to its end for so long, something is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// The service that is slowest to hear of it is told again.
const MEND_AGAIN: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_millis(250);

pub(crate) struct Keeper<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) databases: &'a Databases,
    /// The Order service's.
    pub(crate) store: &'a Store,
    pub(crate) faults: &'a Faults,
    /// Those of this process.
    pub(crate) services: &'a [Service],
    pub(crate) purchases: &'a [Purchase],
    pub(crate) run: Run,
}

impl Keeper<'_> {
    /// `false`: the books did not balance, before or after.
    pub(crate) async fn keep(&self, processes: Option<&mut Processes>) -> anyhow::Result<bool> {
        let stop = CancellationToken::new();
        let (tell, told) = mpsc::unbounded_channel();
        let servers = self.platform.bootstrap_servers();
        let watch = letters::watch(servers, tell, stop.clone())?;
        let (count, counts) = watch::channel(Counts::default());
        let balanced = tokio::select! {
            balanced = self.both_books(processes, counts) => balanced,
            end = counts::follow(self.databases, self.run.run, &count) => end.context("counting").map(|()| false),
            end = self.write_letters(told) => end.context("writing down dead letters").map(|()| false),
        };
        stop.cancel();
        let _ = tokio::task::spawn_blocking(move || watch.join()).await;
        balanced
    }

    async fn write_letters(
        &self,
        mut letters: mpsc::UnboundedReceiver<Letter>,
    ) -> sqlx::Result<()> {
        while let Some(letter) = letters.recv().await {
            if letter.order.run == self.run.run {
                counts::write_letter(&self.store.pool, &letter).await?;
            }
        }
        std::future::pending().await
    }

    async fn both_books(
        &self,
        mut processes: Option<&mut Processes>,
        mut counts: watch::Receiver<Counts>,
    ) -> anyhow::Result<bool> {
        let mut connection = self.databases.all().await?;
        books::open(&mut connection).await?;
        let since = self.ask_kafka(|servers| Ends::now(&servers)).await?;
        let reporting = progress::report(counts.clone(), self.run.orders);
        let progress = AbortOnDrop(tokio::spawn(reporting));
        let started = Instant::now();
        self.place_all(processes.as_deref_mut(), &mut counts)
            .await?;
        if let Some(processes) = &mut processes {
            processes.ready().await?;
        }
        let settled = settle(&mut counts).await;
        let took = started.elapsed();
        self.quiet(&mut connection).await?;
        drop(progress);
        progress::clear();

        let order = self.eventful();
        let journey = self
            .ask_kafka(move |servers| Journey::read(&servers, &since, order))
            .await?;
        println!("\nThe journey of order {order}\n{journey}");
        println!("The services");
        match processes {
            Some(processes) => processes.report(),
            None => {
                let rows: Vec<_> = self.services.iter().map(Service::row).collect();
                report::table(&rows);
            }
        }
        println!("\nThe rate");
        let now = *counts.borrow();
        report::rate(now.ended() + now.dead_lettered, took);
        println!("\nThe books");
        let left = self.letters_left().await?;
        let first = Books::draw_up(&mut connection, self.run, left).await?;
        println!("{first}");
        if !settled {
            println!(
                "{} orders have no end after {PATIENCE:?} without news.",
                now.open()
            );
            return Ok(false);
        }
        if left == 0 {
            println!("Nothing is left to be mended.");
            return Ok(first.problems.is_empty());
        }

        println!("The faults are mended, the {left} dead letters sent back. The books again");
        let left = self.mend(&mut connection, &mut counts).await?;
        let mut second = Books::draw_up(&mut connection, self.run, left).await?;
        second.expect_no_letters(left);
        println!("{second}");
        connection.close().await?;
        Ok(first.problems.is_empty() && second.problems.is_empty())
    }

    /// Places the orders, each customer's in order, as fast as they are settled.
    async fn place_all(
        &self,
        mut processes: Option<&mut Processes>,
        counts: &mut watch::Receiver<Counts>,
    ) -> anyhow::Result<()> {
        let orders: Vec<(OrderId, &Purchase)> = (1..)
            .map(|number| self.order(number))
            .zip(self.purchases)
            .collect();
        let mut placed = 0;
        for orders in orders.chunks(PLACED_TOGETHER) {
            let ended =
                counts.wait_for(|now| placed - now.ended() - now.dead_lettered < OPEN_ORDERS);
            match tokio::time::timeout(PATIENCE, ended).await {
                Ok(ended) => drop(ended?),
                Err(_) => return Ok(()),
            }
            self.place(orders).await?;
            placed += orders.len() as i64;
            if let Some(processes) = &mut processes {
                processes.kill_in_turn(placed as usize).await?;
            }
        }
        Ok(())
    }

    /// Orders and the events that tell of them: all of it, or nothing.
    async fn place(&self, orders: &[(OrderId, &Purchase)]) -> anyhow::Result<()> {
        let mut tx = self.store.pool.begin().await?;
        for (order, purchase) in orders {
            sqlx::query(
                "INSERT INTO orders (run, number, customer, nth, units, cents)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(i64::from(order.run))
            .bind(i64::from(order.number))
            .bind(i64::from(purchase.customer))
            .bind(i64::from(purchase.nth))
            .bind(i64::from(purchase.units))
            .bind(purchase.cents as i64)
            .execute(&mut *tx)
            .await?;
            let id = Uuid::now_v7();
            for _ in 0..1 + usize::from(self.faults.published_twice(*order)) {
                self.tell(&mut tx, *order, purchase, id).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    async fn tell(
        &self,
        tx: &mut sqlx::Transaction<'_, super::Db>,
        order: OrderId,
        purchase: &Purchase,
        id: Uuid,
    ) -> anyhow::Result<()> {
        let &Purchase {
            customer,
            date,
            units,
            cents,
            ..
        } = purchase;
        let outbox = &self.store.outbox;
        if self.faults.published_in_text(order) {
            let units = units.to_string();
            let placed = OrderPlacedInText {
                order,
                customer,
                date,
                units,
                cents,
            };
            let message = Message::new(&placed).id(id).correlation_id(order);
            outbox.send(tx, message).await?;
        } else {
            let placed = OrderPlaced {
                order,
                customer,
                date,
                units,
                cents,
            };
            let message = Message::new(&placed).id(id).correlation_id(order);
            outbox.send(tx, message).await?;
        }
        Ok(())
    }

    fn order(&self, number: u32) -> OrderId {
        OrderId {
            run: self.run.run,
            number,
        }
    }

    /// The order whose journey is told.
    fn eventful(&self) -> OrderId {
        let mut orders = (1..=self.run.orders as u32).map(|number| self.order(number));
        let eventful = orders.find(|order| self.faults.is_eventful(*order));
        eventful.unwrap_or_else(|| self.order(1))
    }

    /// Waits for what is still on its way: unpublished events, second copies, and
    /// those who only listen.
    async fn quiet(&self, connection: &mut Connection) -> anyhow::Result<()> {
        if self.services.len() < ServiceName::ALL.len() {
            let started = Instant::now();
            while started.elapsed() < PATIENCE {
                // In this order: what is published in between is seen in Kafka.
                let unpublished = counts::unpublished(connection).await?;
                let lag = self.ask_kafka(|servers| letters::lag(&servers)).await?;
                if unpublished == 0 && lag == 0 {
                    break;
                }
                tokio::time::sleep(QUIET).await;
            }
            return Ok(());
        }
        let deliveries = || self.services.iter().map(Service::deliveries).sum::<u64>();
        let mut before = deliveries();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = deliveries();
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    /// Says that the faults are mended until no dead letter is left; returns
    /// how many are left after all.
    async fn mend(
        &self,
        connection: &mut Connection,
        counts: &mut watch::Receiver<Counts>,
    ) -> anyhow::Result<u64> {
        let started = Instant::now();
        loop {
            // Each time: one that came in the meantime is sent back too.
            counts::send_letters_back(&self.store.pool, self.run.run).await?;
            let mended = FaultsMended { run: self.run.run };
            let mut tx = self.store.pool.begin().await?;
            self.store.outbox.publish(&mut tx, &mended).await?;
            tx.commit().await?;
            let told = Instant::now();
            while told.elapsed() < MEND_AGAIN {
                self.quiet(connection).await?;
                let left = self.letters_left().await?;
                let is_over = left == 0 && counts.borrow_and_update().is_settled();
                if is_over || started.elapsed() > PATIENCE {
                    return Ok(left);
                }
            }
        }
    }

    async fn letters_left(&self) -> anyhow::Result<u64> {
        let left = self.ask_kafka(|servers| letters::left(&servers)).await;
        left.context("counting dead letters")
    }

    async fn ask_kafka<T: Send + 'static>(
        &self,
        ask: impl FnOnce(String) -> Result<T, rdkafka::error::KafkaError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let servers = self.platform.bootstrap_servers().to_owned();
        Ok(tokio::task::spawn_blocking(move || ask(servers)).await??)
    }
}

/// Waits until every order has ended or stands in a dead-letter topic; `false`
/// when nothing moves any more.
async fn settle(counts: &mut watch::Receiver<Counts>) -> bool {
    loop {
        if counts.borrow_and_update().is_settled() {
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

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! A connection to a cell instance together with what drives it. No task of its own: the request that uses it polls
//! it, which saves two task switches a request and makes "was it sent?" a question with an answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::limits;
use crate::proxy::body::ForwardBody;

pub struct Link {
    sender: SendRequest<ForwardBody>,
    /// None once the connection is closed. Dropping it gives an unsent request back.
    driver: Option<Connection<TokioIo<TcpStream>, ForwardBody>>,
}

/// Why an exchange brought no answer.
pub enum Broken {
    /// Nothing was written; here it is back.
    Unsent(Box<Request<ForwardBody>>),
    /// Some or all of it was written. Whether it was processed is unknown.
    Sent,
    /// The caller's patience ended after it was written.
    Expired,
}

impl Link {
    pub async fn open(io: TokioIo<TcpStream>) -> hyper::Result<Box<Self>> {
        let mut builder = Builder::new();
        // Head and body in one piece: a short copy costs less than a gathering write.
        builder.max_buf_size(limits::ANSWER_HEAD_MAX_BYTES).writev(false);
        let (sender, driver) = builder.handshake(io).await?;
        Ok(Box::new(Self { sender, driver: Some(driver) }))
    }

    /// Sends a request and waits for the head of its answer, or until `expired` says so.
    pub async fn exchange(
        &mut self,
        request: Request<ForwardBody>,
        mut expired: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Result<Response<Incoming>, Broken> {
        let mut answer = pin!(self.sender.try_send_request(request));
        // The answer only ever comes from driving the connection, which happens right before it is looked for: its own
        // waker would wake the very task that is running.
        let mut silent = Context::from_waker(Waker::noop());
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            match answer.as_mut().poll(&mut silent) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => Broken::Unsent(Box::new(request)),
                    None => Broken::Sent,
                })),
                Poll::Pending if self.driver.is_none() => Poll::Ready(Err(Broken::Sent)),
                Poll::Pending if expired(cx) => Poll::Ready(Err(Broken::Expired)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    pub fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// Detaches the connection from the task that used it; true if it can take another request.
    pub fn rest(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

fn drive(driver: &mut Option<Connection<TokioIo<TcpStream>, ForwardBody>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
        *driver = None;
    }
}

//! What `tonic-prost-build` makes of `fib.proto`, without what nobody here uses: a program has
//! `tonic::include_proto!("fib")`, and a build script.

/// A number, or the place of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Number {
    /// The number.
    #[prost(uint64, tag = "1")]
    pub value: u64,
}

/// The client.
pub mod fib_client {
    use tonic::client::Grpc;
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic::transport::Channel;

    /// A client of the service.
    #[derive(Clone, Debug)]
    pub struct FibClient {
        inner: Grpc<Channel>,
    }

    impl FibClient {
        /// Connects to a server.
        ///
        /// # Errors
        ///
        /// That of the connection.
        pub async fn connect(to: String) -> Result<Self, tonic::transport::Error> {
            let channel = tonic::transport::Endpoint::new(to)?.connect().await?;
            Ok(Self { inner: Grpc::new(channel) })
        }

        /// Calls the method.
        ///
        /// # Errors
        ///
        /// What the server answers, or what became of the connection.
        pub async fn compute(
            &mut self,
            request: impl tonic::IntoRequest<super::Number>,
        ) -> Result<tonic::Response<super::Number>, tonic::Status> {
            let ready = self.inner.ready().await;
            ready.map_err(|error| tonic::Status::unknown(error.to_string()))?;
            let codec = tonic_prost::ProstCodec::default();
            let path = PathAndQuery::from_static("/fib.Fib/Compute");
            self.inner.unary(request.into_request(), path, codec).await
        }
    }
}

/// The server.
pub mod fib_server {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use tonic::body::Body;
    use tonic::codegen::{BoxFuture, Service, http};
    use tonic::server::{Grpc, NamedService, UnaryService};

    /// What a program implements.
    #[tonic::async_trait]
    pub trait Fib: Send + Sync + 'static {
        /// The method.
        async fn compute(
            &self,
            request: tonic::Request<super::Number>,
        ) -> Result<tonic::Response<super::Number>, tonic::Status>;
    }

    /// The service that is made of it.
    #[derive(Debug)]
    pub struct FibServer<T> {
        inner: Arc<T>,
    }

    impl<T> FibServer<T> {
        /// The service of an implementation.
        pub fn new(inner: T) -> Self {
            Self { inner: Arc::new(inner) }
        }
    }

    impl<T> Clone for FibServer<T> {
        fn clone(&self) -> Self {
            Self { inner: self.inner.clone() }
        }
    }

    struct Compute<T>(Arc<T>);

    impl<T: Fib> UnaryService<super::Number> for Compute<T> {
        type Response = super::Number;
        type Future = BoxFuture<tonic::Response<super::Number>, tonic::Status>;

        fn call(&mut self, request: tonic::Request<super::Number>) -> Self::Future {
            let inner = self.0.clone();
            Box::pin(async move { inner.compute(request).await })
        }
    }

    impl<T: Fib> Service<http::Request<Body>> for FibServer<T> {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Self::Response, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let method = Compute(self.inner.clone());
            let known = request.uri().path() == "/fib.Fib/Compute";
            Box::pin(async move {
                if !known {
                    return Ok(tonic::Status::unimplemented("no such method").into_http());
                }
                let mut grpc = Grpc::new(tonic_prost::ProstCodec::default());
                Ok(grpc.unary(method, request).await)
            })
        }
    }

    impl<T> NamedService for FibServer<T> {
        const NAME: &'static str = "fib.Fib";
    }
}

pub mod server;
pub struct Admin;
impl Admin {
    pub async fn respond(
        &self,
        _c: std::net::IpAddr,
        _r: http::Request<hyper::body::Incoming>,
    ) -> http::Response<bytes::Bytes> {
        todo!()
    }
}

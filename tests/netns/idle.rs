//! Manifests of pods whose container idles: what they are asked, tests answer beside it.

/// A Deployment, with more in the metadata of its pods where they need it.
macro_rules! deployment {
    ($name:literal, $replicas:literal $(, $more:literal)?) => {
        concat!("
apiVersion: apps/v1
kind: Deployment
metadata: {name: ", $name, ", namespace: mc-demo}
spec:
  replicas: ", $replicas, "
  selector: {matchLabels: {app: ", $name, "}}
  template:
    metadata: {labels: {app: ", $name, "}" $(, ", ", $more)?, "}
    spec: {containers: [{name: idle, image: 'buoyantio/bb:v0.0.6', args: [terminus, '--h1-server-port=8080']}]}
")
    };
}
pub(crate) use deployment;

/// The Service before it, whose port is HTTP.
macro_rules! service {
    ($name:literal $(, $more:literal)?) => {
        concat!("
apiVersion: v1
kind: Service
metadata: {name: ", $name, ", namespace: mc-demo" $(, ", ", $more)?, "}
spec:
  ports: [{name: http, port: 9001, targetPort: 9001}]
  selector: {app: ", $name, "}
")
    };
}
pub(crate) use service;

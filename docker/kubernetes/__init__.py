"""The service in a Kubernetes cluster: kustomize files, and the writer of their alerts."""

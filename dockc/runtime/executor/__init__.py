"""Running processes of exec ops: in our own namespaces (`embedded`) or by an OCI runtime (`runc`)."""

"""The names of BuildKit's protocol, which both ends know: services, calls, and what goes along with a call.

Source: BuildKit, `api/services/control`, `frontend/gateway/pb`, `session`, `sourcepolicy/policysession`; containerd,
`api/services/content/v1`; gRPC, "Health checking"; OpenTelemetry, "OTLP/gRPC".
"""

# --- services, in front of the names of their calls ---------------------------------------------------

AUTH = "/moby.filesync.v1.Auth/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
CONTENT = "/containerd.services.content.v1.Content/"
CONTROL = "/moby.buildkit.v1.Control/"
EXPORTER = "/moby.exporter.v1.Exporter/"

# --- calls of services that have one or two -----------------------------------------------------------

CHECK_POLICY = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy"
FILE_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
FILE_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
HEALTH = "/grpc.health.v1.Health/Check"
SECRETS = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
SSH_CHECK = "/moby.sshforward.v1.SSH/CheckAgent"
SSH_FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
UPLOAD = "/moby.upload.v1.Upload/Pull"

# --- keys of metadata ---------------------------------------------------------------------------------

BUILD_ID = "buildkit-controlapi-buildid"
"""Which build a call of `BRIDGE` is for."""
NOW = "buildkit-current-timestamp"
"""The builder's clock, with progress and history."""
SESSION_ID = "x-docker-expose-session-uuid"
SESSION_KEY = "x-docker-expose-session-sharedkey"
"""The same for every build of the same directories."""
SESSION_METHODS = "x-docker-expose-session-grpc-method"
"""What the client serves, one path a value."""
SESSION_HEALTH = "x-buildkit-session-health-custom-timeout"
"""Milliseconds between two looks at whether the client lives, and for its answer."""
STORE_ID = "buildkit-attachable-store-id"
"""Which of a client's stores a call of `CONTENT` is for."""
EXPORTER_ID = "buildkit-attachable-exporter-id"
"""Which output `FILE_SEND` carries, by its number."""
EXPORTER_FACT = "exporter-md-"
"""In front of what is known of it."""
EXPORTER_PLATFORMS = "buildkit-exporter-multi-platform"
"""That the builder can send several platforms into one directory."""
SSH_ID = "buildkit.ssh.id"
DIRECTORY, INCLUDE, EXCLUDE, FOLLOW = "dir-name", "include-patterns", "exclude-patterns", "followpaths"
"""What `FILE_SYNC` is to send."""
UPLOAD_HOST, UPLOAD_PATH = "urlhost", "urlpath"

UPLOADS = "http://buildkit-session/"
"""In front of the address of a file that the client sends when it is asked for; no name server knows it."""

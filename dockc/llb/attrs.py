"""Keys of the `attrs` map of a source operation, and the schemes of its identifier (wire facts)."""

from __future__ import annotations

SCHEME_IMAGE = "docker-image://"
SCHEME_IMAGE_BLOB = "docker-image+blob://"
SCHEME_OCI_LAYOUT = "oci-layout://"
SCHEME_OCI_LAYOUT_BLOB = "oci-layout+blob://"
SCHEME_LOCAL = "local://"
SCHEME_GIT = "git://"
SCHEME_HTTP = "http://"
SCHEME_HTTPS = "https://"

IMAGE_RESOLVE_MODE = "image.resolvemode"
IMAGE_RECORD_TYPE = "image.recordtype"
IMAGE_LAYER_LIMIT = "image.layerlimit"
IMAGE_CHECKSUM = "image.checksum"

RESOLVE_DEFAULT = "default"
RESOLVE_PULL = "pull"
RESOLVE_LOCAL = "local"

OCI_SESSION = "oci.session"
OCI_STORE = "oci.store"
OCI_LAYER_LIMIT = "oci.layerlimit"

LOCAL_SESSION = "local.session"
LOCAL_UNIQUE = "local.unique"
LOCAL_INCLUDE = "local.includepattern"
LOCAL_FOLLOW = "local.followpaths"
LOCAL_EXCLUDE = "local.excludepatterns"
LOCAL_SHARED_KEY_HINT = "local.sharedkeyhint"
LOCAL_DIFFER = "local.differ"
LOCAL_METADATA_TRANSFER = "local.metadatatransfer"
LOCAL_METADATA_TRANSFER_EXCLUDE = "local.metadatatransferexclude"
DIFFER_NONE = "none"
DIFFER_METADATA = "metadata"

GIT_KEEP_DIR = "git.keepgitdir"
GIT_FULL_URL = "git.fullurl"
GIT_AUTH_HEADER_SECRET = "git.authheadersecret"  # noqa: S105 - an attribute key
GIT_AUTH_TOKEN_SECRET = "git.authtokensecret"  # noqa: S105 - an attribute key
GIT_KNOWN_SSH_HOSTS = "git.knownsshhosts"
GIT_MOUNT_SSH_SOCK = "git.mountsshsock"
GIT_CHECKSUM = "git.checksum"
GIT_SKIP_SUBMODULES = "git.skipsubmodules"
GIT_MTIME = "git.mtime"
GIT_FETCH_BY_COMMIT = "git.fetchbycommit"
GIT_BUNDLE = "git.bundle"
GIT_CHECKOUT_BUNDLE = "git.checkoutbundle"
GIT_SIGNATURE_PUBKEY = "git.sig.pubkey"
GIT_SIGNATURE_REJECT_EXPIRED = "git.sig.rejectexpired"
GIT_SIGNATURE_REQUIRE_SIGNED_TAG = "git.sig.requiresignedtag"
GIT_SIGNATURE_IGNORE_SIGNED_TAG = "git.sig.ignoresignedtag"

HTTP_CHECKSUM = "http.checksum"
HTTP_FILENAME = "http.filename"
HTTP_PERM = "http.perm"
HTTP_UID = "http.uid"
HTTP_GID = "http.gid"
HTTP_AUTH_HEADER_SECRET = "http.authheadersecret"  # noqa: S105 - an attribute key
HTTP_HEADER_PREFIX = "http.header."
HTTP_SIGNATURE_PUBKEY = "http.sig.pubkey"
HTTP_SIGNATURE = "http.sig.signature"

LLB_DEFINITION_FILENAME = "llbbuild.filename"


def is_platform_specific(identifier: str) -> bool:
    """Whether a source's content depends on the platform of the vertex (only image sources do)."""
    return identifier.startswith((SCHEME_IMAGE, SCHEME_OCI_LAYOUT))

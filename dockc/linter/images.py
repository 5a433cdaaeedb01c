"""What well-known images are known for: distribution, the shell behind `/bin/sh`, the user and the working directory
they set.

By the name alone, tag included: `python:3.12` is Debian, `python:3.12-alpine` is not. What no line here knows is
unknown.
"""

from __future__ import annotations

from functools import lru_cache

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple

_SHELLS = {
    "alpine": "busybox", "busybox": "busybox", "wolfi": "busybox", "debian": "dash", "ubuntu": "dash", "rhel": "bash",
    "suse": "bash", "arch": "bash", "photon": "bash", "mariner": "bash", "gentoo": "bash", "mageia": "bash",
    "distroless": "none", "scratch": "none",
}  # fmt: skip


class About(NamedTuple):
    """What a name tells; see `Base`."""

    distribution: str = ""
    shell: str = ""
    user: str | None = None
    workdir: str = ""


# What words anywhere in a name say. The first that is found counts.
_WORDS = (
    ("windows", pattern(r"(^|[/:.-])(windows|nanoserver|windowsservercore|servercore|dotnet/framework|ltsc20\d\d)", 0)),
    ("alpine", pattern(r"(^|[/:._-])(alpine|musllinux)", 0)),
    ("busybox", pattern(r"(^|[/:._-])(busybox|uclibc)", 0)),
    ("distroless", pattern(r"(^|[/:._-])distroless", 0)),
    ("wolfi", pattern(r"(^|[/:._-])(wolfi|chainguard)", 0)),
    ("photon", pattern(r"(^|[/:._-])photon(:|$|os)", 0)),
    ("mariner", pattern(r"(^|[/:._-])(cbl-?mariner|mariner|azurelinux)", 0)),
    ("rhel", pattern(r"(^|[/:._-])(fedora|centos|rocky(linux)?|alma(linux)?|ubi[0-9]*|rhel|amazonlinux|al20\d\d|oraclelinux|ol[789]|scientificlinux|manylinux\w*|openeuler|anolis)", 0)),
    ("suse", pattern(r"(^|[/:._-])(opensuse|leap|tumbleweed|sles?\d*|bci)([/:._-]|$)", 0)),
    ("arch", pattern(r"(^|[/:._-])(archlinux|manjaro)", 0)),
    ("gentoo", pattern(r"(^|[/:._-])gentoo", 0)),
    ("mageia", pattern(r"(^|[/:._-])mageia", 0)),
    ("ubuntu", pattern(r"(^|[/:._-])(ubuntu|trusty|xenial|bionic|focal|jammy|noble)", 0)),
    ("debian", pattern(r"(^|[/:._-])(debian|buildpack-deps|jessie|stretch|buster|bullseye|bookworm|trixie|sid|bitnami)", 0)),
)  # fmt: skip

# Whole names of repositories, registry and tag taken off, whose tags say nothing else.
_REPOSITORIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("alpine", ("bash", "docker", "caddy", "traefik", "registry", "eclipse-mosquitto", "composer", "vault", "consul", "moby/buildkit",
                "hashicorp/vault", "hashicorp/consul", "hashicorp/terraform", "koalaman/shellcheck-alpine", "alpine/git", "tonistiigi/xx")),
    ("debian", ("python", "golang", "rust", "node", "ruby", "php", "perl", "gcc", "erlang", "elixir", "haskell", "julia", "dart", "openjdk-slim", "nginx",
                "httpd", "redis", "postgres", "memcached", "haproxy", "clojure", "pypy", "hylang", "r-base", "rocker/r-ver-debian", "drupal",
                "wordpress", "joomla", "matomo", "ghost", "nextcloud", "couchdb", "influxdb", "telegraf", "chronograf", "kapacitor", "crystallang/crystal-debian",
                "google/cloud-sdk", "gcr.io/google.com/cloudsdktool/cloud-sdk", "gcr.io/google.com/cloudsdktool/google-cloud-cli", "cypress/base",
                "cypress/browsers", "denoland/deno", "oven/bun", "kong", "solr-debian", "rabbitmq-debian", "mcr.microsoft.com/devcontainers/base",
                "mcr.microsoft.com/dotnet/sdk", "mcr.microsoft.com/dotnet/aspnet", "mcr.microsoft.com/dotnet/runtime", "mcr.microsoft.com/dotnet/runtime-deps",
                "mcr.microsoft.com/dotnet/core/sdk", "mcr.microsoft.com/dotnet/core/aspnet", "mcr.microsoft.com/dotnet/core/runtime")),
    ("ubuntu", ("eclipse-temurin", "adoptopenjdk", "swift", "mongo", "mariadb", "rabbitmq", "gradle", "maven", "tomcat", "jetty", "solr", "rocker/r-ver",
                "rocker/rstudio", "nvidia/cuda", "tensorflow/tensorflow", "pytorch/pytorch",
                "cassandra", "neurodebian", "sonarqube", "jupyter/base-notebook", "crystallang/crystal", "mcr.microsoft.com/playwright",
                "devcontainers/universal", "phusion/baseimage")),
    ("rhel", ("amazon/aws-cli", "mysql", "openjdk", "amazon/aws-lambda-python", "amazon/aws-lambda-nodejs", "amazoncorretto")),
)  # fmt: skip
_KNOWN = {name: kind for kind, names in _REPOSITORIES for name in names}

# Beginnings of names, registry included.
_BEGINNINGS = (
    ("rhel", ("public.ecr.aws/lambda/", "amazon/aws-lambda", "lambci/", "public.ecr.aws/sam/", "quay.io/pypa/manylinux", "registry.access.redhat.com/",
              "registry.redhat.io/", "container-registry.oracle.com/", "quay.io/centos/", "quay.io/fedora/", "docker.elastic.co/elasticsearch")),
    ("wolfi", ("cgr.dev/chainguard/",)),
    ("distroless", ("gcr.io/distroless/",)),
    ("ubuntu", ("cimg/", "gitpod/", "jupyter/", "quay.io/jupyter/", "nvidia/", "nvcr.io/nvidia/cuda", "rocker/", "mcr.microsoft.com/playwright", "mcr.microsoft.com/openjdk/jdk")),
    ("debian", ("circleci/", "bitnami/", "docker.io/bitnami/", "mcr.microsoft.com/dotnet/", "mcr.microsoft.com/devcontainers/", "mcr.microsoft.com/vscode/devcontainers/", "cypress/",
                "continuumio/", "debian/")),
)  # fmt: skip

# Users that images set, by the beginning of their names.
_USERS = (
    ("cimg/", "circleci"), ("circleci/", "circleci"), ("gitpod/", "gitpod"), ("jupyter/", "jovyan"), ("quay.io/jupyter/", "jovyan"),
    ("mcr.microsoft.com/devcontainers/universal", "codespace"), ("mcr.microsoft.com/vscode/devcontainers/universal", "codespace"), ("bitnami/", "1001"), ("docker.io/bitnami/", "1001"), ("cgr.dev/chainguard/", "65532"),
    ("jenkins/", "jenkins"), ("jenkins", "jenkins"), ("codercom/", "coder"), ("linuxbrew/", "linuxbrew"), ("homebrew/", "linuxbrew"),
    ("ocaml/opam", "opam"), ("ghcr.io/actions/actions-runner", "runner"), ("apache/airflow", "airflow"), ("apache/flink", "root"), ("solr", "solr"),
    ("sonarqube", "sonarqube"), ("elasticsearch", "elasticsearch"), ("docker.elastic.co/", "1000"), ("grafana/grafana", "472"), ("prom/", "nobody"),
    ("selenium/", "1200"), ("rootproject/", "root"), ("nixery.dev/", "root"), ("registry.access.redhat.com/ubi8/nodejs", "1001"), ("kong", "kong"),
    ("denoland/deno", "root"), ("docker", "root"), ("quay.io/keycloak/", "1000"), ("sagemath/", "sage"), ("returntocorp/", "root"), ("amazon/aws-lambda", "root"),
)  # fmt: skip

# WORKDIRs that images set.
_WORKDIRS = {
    "golang": "/go", "gradle": "/home/gradle", "jupyter/": "/home/jovyan", "quay.io/jupyter/": "/home/jovyan", "httpd": "/usr/local/apache2",
    "php": "/var/www/html", "wordpress": "/var/www/html", "tomcat": "/usr/local/tomcat", "ghost": "/var/lib/ghost", "composer": "/app",
    "cimg/": "/home/circleci/project", "gitpod/": "/home/gitpod", "public.ecr.aws/lambda/": "/var/task", "amazon/aws-lambda": "/var/task",
    "lambci/": "/var/task", "perl": "/usr/src/app", "redis": "/data", "mautic": "/var/www/html", "drupal": "/opt/drupal", "solr": "/opt/solr",
    "oven/bun": "/home/bun/app", "caddy": "/srv", "dart": "/root", "pytorch/pytorch": "/workspace", "nvcr.io/nvidia/": "/workspace",
    "apache/airflow": "/opt/airflow", "apache/flink": "/opt/flink", "flink": "/opt/flink", "logstash": "/usr/share/logstash", "nextcloud": "/var/www/html",
    "ghcr.io/puppeteer/puppeteer": "/home/pptruser", "tiangolo/": "/app", "jetty": "/var/lib/jetty", "rocker/shiny": "/", "sonarqube": "/opt/sonarqube",
    "apache/spark": "/opt/spark/work-dir", "directus/directus": "/directus", "elixir": "", "postman/newman": "/etc/newman", "docker/compose": "",
}  # fmt: skip


@lru_cache(maxsize=1024)
def about(image: str) -> About:
    """What is known of an image by its name."""
    text = image.lower()
    if text == "scratch":
        return About("scratch", "none", None, "/")
    name, plain = _name(text)
    distribution = next((kind for kind, known in _WORDS if known.search(text)), "")
    if not distribution:
        distribution = next((kind for kind, begins in _BEGINNINGS if plain.startswith(begins)), "") or _KNOWN.get(
            name, _KNOWN.get(plain, "")
        )
        if name == "openjdk" and ("slim" in text or ":8" in text or ":11" in text or ":7" in text):
            distribution = "debian"
    if not distribution and "slim" in text:
        distribution = "debian"
    user = next((user for begin, user in _USERS if _begins(plain, name, begin)), None)
    workdir = next((place for begin, place in _WORKDIRS.items() if _begins(plain, name, begin)), "")
    shell = _SHELLS.get(distribution, "")
    if distribution == "distroless":
        shell = "busybox" if "debug" in text else "none"
    if user is None and "nonroot" in text:
        user = "nonroot"
    return About(distribution, shell, user, workdir)


def _begins(plain: str, name: str, begin: str) -> bool:
    """Whether an image is the repository `begin`, or for one that ends with `/` in that namespace; with a path, any
    whose name goes on.
    """
    if begin.endswith("/"):
        return plain.startswith(begin)
    return name == begin or ("/" in begin and plain.startswith(begin))


def _name(text: str) -> tuple[str, str]:
    """The repository in Docker Hub's short form, and the whole name, both without tag and digest."""
    plain = text.partition("@")[0]
    slash = plain.rfind("/")
    colon = plain.find(":", slash + 1)
    plain = plain[:colon] if colon >= 0 else plain
    name = plain
    for registry in (
        "docker.io/library/",
        "docker.io/",
        "index.docker.io/library/",
        "index.docker.io/",
        "library/",
        "public.ecr.aws/docker/library/",
        "mirror.gcr.io/library/",
    ):
        if name.startswith(registry):
            name = name[len(registry) :]
            break
    return name, plain


_PLAIN = frozenset(
    [
        "debian",
        "ubuntu",
        "alpine",
        "busybox",
        "rockylinux",
        "almalinux",
        "amazonlinux",
        "oraclelinux",
        "opensuse/leap",
        "opensuse/tumbleweed",
        "archlinux",
        "scratch",
    ]
)


def is_plain(image: str) -> bool:
    """Whether an image is a distribution and nothing else: its config sets PATH at most, no user and no directory."""
    return _name(image.lower())[0] in _PLAIN

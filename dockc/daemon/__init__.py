"""The daemon: one engine for the clients of BuildKit's protocol.

    daemon/server.py     sockets, signals, the end
    daemon/control.py    Control: builds, workers, disk usage, history
    daemon/gateway.py    LLBBridge: what a client or a frontend asks of a build
    daemon/builds.py     builds that run, and those that were
    daemon/events.py     their progress, for whoever watches
    daemon/sessions.py   clients' sessions, and asking one of them something
    daemon/lending.py    what a build sees of one: secrets, agents, uploads, and the next three
    daemon/directories.py  its contexts and Dockerfiles
    daemon/mirrors.py    their copies here
    daemon/layouts.py    its stores of blobs
    daemon/sinks.py      outputs to it
    daemon/config.py     flags and buildkitd.toml
    daemon/keys.py       what each key of the file is
    daemon/log.py        the log as lines of JSON
    daemon/platforms.py  what can be run, by itself and by emulators
    daemon/tracing.py    spans of its builds and of its clients
    daemon/debug.py      /metrics and /debug
    daemon/resident.py   builds of commands of the same user, by forks
    daemon/start.py      starting it

It translates; what a build is, the engine knows.
"""

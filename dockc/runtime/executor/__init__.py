"""Running the processes of exec operations, each in a container of its own.

    base      what every executor understands        choose    which one runs
    rootless  the builder's own namespaces           prepare   before and after each run
    embedded  -> child -> sandbox                    our own containers, on the kernel alone
    runc      -> spec                                containers of crun or runc
    policy, seccomp                                  what a container is made of, for both

The network of a step is the host's, unless `--network=none` gives it loopback alone: there is no bridge,
because a bridge needs root and tools that a builder cannot ask for.
"""

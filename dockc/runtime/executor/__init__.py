"""Running the processes of exec operations, each in a container of its own.

    base      what every executor understands        choose    which one runs
    rootless  the builder's own namespaces           prepare   before and after each run
    embedded  -> child -> sandbox                    our own containers, on the kernel alone
    runc      -> spec                                containers of crun or runc
    cni                                              networks that plugins make, around any executor
    policy, seccomp                                  what a container is made of, for both

The network of a step is the host's, unless `--network=none` gives it loopback alone. A daemon of root that is told so
lets CNI plugins make one (`cni`); a build that needs nothing installed cannot ask for that.
"""

from dockc.base.system import only_linux

only_linux("builds and stores")

"""Inside the new namespaces: the mount tree, then the process's identity, up to the moment before execve.

Runs in the container's first process, between fork and exec, as a plain single-threaded program. The order
matters and is the one that OCI runtimes use: mounts, pivot, bounding set, seccomp, ids, capabilities.
Everything is mounted through descriptors opened inside the new root (`rootpath`), so that links in the
image cannot redirect a mount.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import struct

from dockc.runtime.kernel import syscalls as sc
from dockc.runtime.kernel.rootpath import open_in_root

TYPE_CHECKING = False  # importing typing would cost more than all the rest
if TYPE_CHECKING:
    from dockc.runtime.executor.plan import Plan
    from dockc.runtime.executor.policy import MountEntry

_FLAGS = {
    "ro": (sc.MS_RDONLY, sc.MOUNT_ATTR_RDONLY),
    "nosuid": (sc.MS_NOSUID, sc.MOUNT_ATTR_NOSUID),
    "nodev": (sc.MS_NODEV, sc.MOUNT_ATTR_NODEV),
    "noexec": (sc.MS_NOEXEC, sc.MOUNT_ATTR_NOEXEC),
}
_REFUSED = (errno.EPERM, errno.EACCES)
_DEV_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
)


def build_root(plan: Plan) -> None:
    """Mount everything below the rootfs and make it this process's root.

    Raises:
        OSError: what the kernel refused, with the mount in `filename`.
    """
    if plan["own_network"]:
        import socket  # noqa: F401 - for loopback_up, when the interpreter's own files are out of sight
    sc.mount("none", "/", None, sc.MS_REC | sc.MS_PRIVATE)
    rootfs = plan["rootfs"]
    sc.mount(rootfs, rootfs, None, sc.MS_BIND | sc.MS_REC)
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if plan["sandboxed"]:
        # Whoever holds CAP_MKNOD can make any device node; on a nodev mount none of them opens.
        restrict(root, ["nodev"], recursive=True)
    nodes, mask = _device_nodes(plan, root)
    for entry in plan["mounts"]:
        try:
            _mount(plan, root, entry, nodes)
        except OSError as exc:
            kind, dest = entry["type"], entry["destination"]
            raise OSError(exc.errno, f"{exc.strerror} (mounting {kind} on {dest})") from exc
    for path in plan["masked"]:
        _mask(root, path, mask)
    for path in plan["readonly"]:
        _freeze(root, path)
    if plan["readonly_rootfs"]:
        restrict(root, ["ro"], recursive=False)
    os.fchdir(root)
    for fd in (root, mask, *(node.fd for node in nodes)):
        os.close(fd)
    sc.pivot_root(".", ".")
    sc.umount(".", sc.MNT_DETACH)
    os.chdir("/")


def _mount(plan: Plan, root: int, entry: MountEntry, nodes: list[_Node]) -> None:
    kind, options = entry["type"], entry["options"]
    target = _target(plan, root, entry)
    try:
        if kind == "bind":
            _bind(plan, target, entry)
        elif kind == "cgroup":
            _cgroup(root, target, entry["destination"], options)
        else:
            _file_system(target, entry)
    finally:
        os.close(target)
    if kind == "tmpfs" and entry["destination"] == "/dev":
        _fill_dev(plan, root, nodes)


def _target(plan: Plan, root: int, entry: MountEntry) -> int:
    """The mount point, made if missing: a directory, or an empty file for a source that is not one."""
    is_file = entry["type"] == "bind" and not _is_dir_source(plan, entry)
    return open_in_root(root, entry["destination"], make="file" if is_file else "dir")


def _open_source(plan: Plan, entry: MountEntry) -> int:
    source = os.open(entry["source"], os.O_PATH | os.O_CLOEXEC)
    selector = plan["selectors"].get(entry["destination"], "")
    if not selector:
        return source
    try:
        return open_in_root(source, selector)
    finally:
        os.close(source)


def _is_dir_source(plan: Plan, entry: MountEntry) -> bool:
    fd = _open_source(plan, entry)
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _bind(plan: Plan, target: int, entry: MountEntry) -> None:
    names = [name for name in entry["options"] if name in _FLAGS]
    source = _open_source(plan, entry)
    try:
        attach(source, target, names, recursive=True)
    finally:
        os.close(source)


def attach(source: int, target: int, names: list[str], *, recursive: bool) -> None:
    """Bind one descriptor's tree on another's place, already restricted when it appears there."""
    try:
        tree = sc.open_tree_clone(source)
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
        sc.mount(f"/proc/self/fd/{source}", f"/proc/self/fd/{target}", None, sc.MS_BIND | sc.MS_REC)
        # The descriptor still names the place below the new mount; its path leads onto it.
        tree = os.open(os.readlink(f"/proc/self/fd/{target}"), os.O_PATH | os.O_CLOEXEC)  # noqa: PTH115
        try:
            restrict(tree, names, recursive=recursive)
        finally:
            os.close(tree)
        return
    try:
        restrict(tree, names, recursive=recursive)
        sc.move_mount(tree, target)
    finally:
        os.close(tree)


def restrict(fd: int, names: list[str], *, recursive: bool) -> None:
    """Add `ro`, `nosuid`, `nodev` or `noexec` to the mount that an O_PATH descriptor is the top of."""
    if not names:
        return
    attributes = 0
    for name in names:
        attributes |= _FLAGS[name][1]
    try:
        sc.mount_setattr(fd, attributes, recursive=recursive)
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
    else:
        return
    # Before Linux 5.12: a remount sets all flags anew, so those that are there must be repeated.
    now = os.fstatvfs(fd).f_flag
    flags = sc.MS_REMOUNT | sc.MS_BIND
    flags |= now & (sc.MS_RDONLY | sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC | sc.MS_NOATIME | sc.MS_NODIRATIME)
    for name in names:
        flags |= _FLAGS[name][0]
    sc.mount(None, f"/proc/self/fd/{fd}", None, flags)


def _file_system(target: int, entry: MountEntry) -> None:
    kind, where = entry["type"], f"/proc/self/fd/{target}"
    flags, data = 0, []
    for option in entry["options"]:
        if option in _FLAGS:
            flags |= _FLAGS[option][0]
        elif option == "strictatime":
            flags |= sc.MS_STRICTATIME
        else:
            data.append(option)
    try:
        sc.mount(entry["source"], where, kind, flags, ",".join(data))
    except OSError as exc:
        if kind == "devpts" and exc.errno == errno.EINVAL:
            # Group 5 (tty) is not mapped in a user namespace of one id.
            kept = [option for option in data if not option.startswith("gid=")]
            sc.mount(entry["source"], where, kind, flags, ",".join(kept))
        elif kind in ("proc", "sysfs") and exc.errno in _REFUSED:
            # In a user namespace the kernel mounts these anew only if the builder sees all of its own.
            names = [name for name in entry["options"] if name in _FLAGS]
            source = os.open("/proc" if kind == "proc" else "/sys", os.O_PATH | os.O_CLOEXEC)
            try:
                attach(source, target, names, recursive=True)
            finally:
                os.close(source)
        else:
            raise


def _cgroup(root: int, target: int, destination: str, options: list[str]) -> None:
    """Show the process its own control groups; without them a step works as well."""
    try:
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # noqa: PTH110
            flags = 0
            for option in options:
                flags |= _FLAGS[option][0]
            sc.mount("cgroup", f"/proc/self/fd/{target}", "cgroup2", flags)
        else:
            flags = sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
            sc.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", flags, "mode=755")
            # The descriptor still names the place below the new mount: the top of it is opened inside the root.
            top = open_in_root(root, destination)
            try:
                _fill_cgroup_v1(top, options)
            finally:
                os.close(top)
    except OSError:
        return


def _fill_cgroup_v1(top: int, options: list[str]) -> None:
    for point, source in own_groups("cgroup"):
        name = point.rsplit("/", 1)[1]
        os.mkdir(name, 0o755, dir_fd=top)
        place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        try:
            group = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                attach(group, place, options, recursive=True)
            finally:
                os.close(group)
        finally:
            os.close(place)
        for alias in name.split(",") if "," in name else ():
            os.symlink(name, alias, dir_fd=top)
    restrict(top, options, recursive=True)


def own_groups(kind: str, pid: int | str = "self") -> list[tuple[str, str]]:
    """`(mount point, directory of the group)` for each hierarchy that is mounted.

    Args:
        kind: type of the file system: `cgroup` (version 1) or `cgroup2`.
        pid: of the process; this one if none is given.

    Raises:
        OSError: it has gone.
    """
    own: dict[str, str] = {}
    with open(f"/proc/{pid}/cgroup") as stream:  # noqa: PTH123
        for line in stream:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            own[controllers] = path
    found = []
    with open("/proc/self/mountinfo") as stream:  # noqa: PTH123
        for line in stream:
            left, _, right = line.partition(" - ")
            fields, fstype = left.split(" "), right.split(" ")[0]
            root, point = fields[3], fields[4]
            if fstype != kind or not (point + "/").startswith("/sys/fs/cgroup/"):
                continue
            name = point.rsplit("/", 1)[1]
            words = {*name.split(","), f"name={name}"} if kind == "cgroup" else {""}
            path = next((p for c, p in own.items() if set(c.split(",")) & words), "/")
            below = path[len(root) :] if root != "/" and path.startswith(root) else path
            found.append((point, point + below.rstrip("/")))
    return found


class _Node:
    """A device node to show in /dev: its name there, a descriptor, and whether it is the container's own or the
    host's.
    """

    def __init__(self, name: str, fd: int, *, own: bool) -> None:
        self.name, self.fd, self.own = name, fd, own


def _device_nodes(plan: Plan, root: int) -> tuple[list[_Node], int]:
    """The device nodes for /dev, and a file of our own that masks are made of.

    They are made on a file system that /dev is mounted over afterwards: there the step sees single nodes, and has no
    place to make others that would open. The host's nodes serve where none can be made, in a user namespace.
    """
    nodes: list[_Node] = []
    place = open_in_root(root, "/dev", make="dir")
    try:
        sc.mount("devices", f"/proc/self/fd/{place}", "tmpfs", sc.MS_NOSUID | sc.MS_NOEXEC, "mode=755,size=64k")
    finally:
        os.close(place)
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    place = open_in_root(root, "/dev")
    try:
        for name in plan["devices"]:
            try:
                host = os.stat(f"/dev/{name}")  # noqa: PTH116
            except OSError:
                continue
            parent = open_in_root(place, os.path.dirname(name), make="dir")  # noqa: PTH120
            base = os.path.basename(name)  # noqa: PTH119
            try:
                os.mknod(base, stat.S_IFMT(host.st_mode) | 0o666, host.st_rdev, dir_fd=parent)
                nodes.append(_Node(name, os.open(base, flags, dir_fd=parent), own=True))
            except PermissionError:
                nodes.append(_Node(name, os.open(f"/dev/{name}", flags), own=False))
            finally:
                os.close(parent)
        try:
            os.mknod("mask", stat.S_IFCHR | 0o666, os.makedev(1, 3), dir_fd=place)
        except PermissionError:
            # An empty file reads as /dev/null does, and unlike that one it is nobody else's.
            os.close(os.open("mask", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o444, dir_fd=place))
        return nodes, os.open("mask", flags, dir_fd=place)
    finally:
        os.close(place)


def _fill_dev(plan: Plan, root: int, nodes: list[_Node]) -> None:
    dev = open_in_root(root, "/dev")
    try:
        for node in nodes:
            point = open_in_root(dev, node.name, make="file")
            # A device opens for writing on a read-only mount too; its mode, owner and times stay as they are. That
            # keeps a step from changing the host's node where its root is the host's (a user namespace that maps 0 to
            # 0).
            fixed = plan["sandboxed"] and not node.own
            try:
                attach(node.fd, point, ["nosuid", "noexec", *(["ro"] if fixed else [])], recursive=False)
            finally:
                os.close(point)
        for target, name in _DEV_LINKS:
            os.symlink(target, name, dir_fd=dev)
        os.symlink("pts/ptmx", "ptmx", dir_fd=dev)
    finally:
        os.close(dev)


def _mask(root: int, path: str, mask: int) -> None:
    try:
        target = open_in_root(root, path)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    try:
        if stat.S_ISDIR(os.fstat(target).st_mode):
            flags = sc.MS_RDONLY | sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
            sc.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", flags)
        else:
            attach(mask, target, ["ro", "nosuid", "noexec"], recursive=False)
    finally:
        os.close(target)


def _freeze(root: int, path: str) -> None:
    try:
        target = open_in_root(root, path)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    try:
        attach(target, target, ["ro"], recursive=True)
    finally:
        os.close(target)


def load_terminals() -> None:
    """Load what `own_terminal` needs while the builder's files are to be seen."""
    import array  # noqa: F401 - socket.send_fds loads it, and it loads more
    import socket  # noqa: F401
    import termios  # noqa: F401


def own_terminal(door: int) -> str:
    """Make a new terminal the three streams of this process, a session leader, and send its master away.

    Args:
        door: a Unix socket for the master.

    Returns:
        The terminal's name here.
    """
    import socket
    import termios

    master, own = os.openpty()
    name = os.ttyname(own)
    fcntl.ioctl(own, termios.TIOCSCTTY, 0)
    with socket.socket(fileno=door) as there:
        socket.send_fds(there, [b"\n"], [master])
    os.close(master)
    for stream in (0, 1, 2):
        os.dup2(own, stream)
    os.close(own)
    return name


def show_console(name: str) -> None:
    """Show a terminal as /dev/console, too."""
    os.close(os.open("/dev/console", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    sc.mount(name, "/dev/console", None, sc.MS_BIND)


def loopback_up() -> None:
    """Switch on `lo`, the only interface of a new network namespace."""
    import socket

    get_flags, set_flags, up_and_running = 0x8913, 0x8914, 0x41
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(sock, get_flags, request), 16)
        fcntl.ioctl(sock, set_flags, struct.pack("16sh14x", b"lo", flags | up_and_running))


def set_limits(plan: Plan) -> None:
    """Apply the resource limits."""
    for number, soft, hard in plan["rlimits"]:
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError) as exc:
            raise OSError(errno.EPERM, f"the kernel refuses ulimit {number}={soft}:{hard}: {exc}") from exc


def become(plan: Plan) -> None:
    """Give up privileges: bounding set, seccomp, ids, capabilities, in this order.

    The filter is installed while CAP_SYS_ADMIN is still there: without it the kernel demands
    no_new_privs, and then setuid programs would not work.
    """
    for number in range(plan["last_capability"] + 1):
        if not plan["capabilities"] >> number & 1:
            sc.prctl(sc.PR_CAPBSET_DROP, number)
    entered = _try_chdir(plan["cwd"])
    for fd in (1, 2):
        # A user who is not root must be able to open /dev/stdout again.
        try:
            os.fchown(fd, plan["uid"], -1)
        except OSError:
            break
    if plan["no_new_privileges"]:
        sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    if plan["seccomp"]:
        sc.set_seccomp_filter(plan["seccomp"])
    sc.prctl(sc.PR_SET_KEEPCAPS, 1)
    _set_ids(plan)
    mask = plan["capabilities"]
    if plan["ambient"]:
        sc.capset(mask, mask, mask)
        for number in range(plan["last_capability"] + 1):
            if mask >> number & 1:
                sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_RAISE, number)
    else:
        sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_CLEAR_ALL)
        sc.capset(mask, mask, 0)
    sc.prctl(sc.PR_SET_KEEPCAPS, 0)
    if not entered:
        os.chdir(plan["cwd"])


def _try_chdir(cwd: str) -> bool:
    try:
        os.makedirs(cwd, 0o755, exist_ok=True)  # noqa: PTH103
    except OSError:
        pass
    try:
        os.chdir(cwd)
    except PermissionError:
        return False  # perhaps only the user may enter (a home on NFS): tried again as the user
    return True


def _set_ids(plan: Plan) -> None:
    uid, gid = plan["uid"], plan["gid"]
    try:
        os.setgroups(plan["groups"])
    except PermissionError:
        # A user namespace of one id has no setgroups(2); the groups it came with stay.
        with open("/proc/self/setgroups") as stream:  # noqa: PTH123
            if stream.read().strip() != "deny":
                raise
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            raise OSError(errno.EINVAL, unmapped("group", plan["groups"])) from exc
        raise
    try:
        os.setresgid(gid, gid, gid)
    except OSError as exc:
        raise OSError(exc.errno, unmapped("group", [gid])) from exc
    try:
        os.setresuid(uid, uid, uid)
    except OSError as exc:
        raise OSError(exc.errno, unmapped("user", [uid])) from exc


def unmapped(what: str, ids: list[int]) -> str:
    """Says that ids are not mapped, and where they would be."""
    numbers = ", ".join(str(number) for number in ids)
    return f"{what} {numbers} does not exist in this user namespace (/etc/subuid and /etc/subgid give the ranges)"

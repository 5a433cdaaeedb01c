# Says what a step may do, a line each: `row<TAB>value`. Runs inside of the step, as its root; harmless where it may.
$| = 1;
sub say_row { my ($row, $value) = @_; print "$row\t$value\n" }
sub slurp { my ($path) = @_; open(my $in, '<', $path) or return undef; local $/; my $all = <$in>; close $in; return $all }
sub word { my ($errno) = @_; return $errno == 0 ? "may" : $errno == 1 || $errno == 13 ? "refused" : $errno == 38 ? "not there" : $errno == 30 ? "read-only" : do { local $! = $errno; "may ($!)" } }

# --- who it is
my %status = map { split /:\s*/, $_, 2 } split /\n/, slurp("/proc/self/status");
my @names = qw(CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
  NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT
  SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
  WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE);
for my $set (qw(CapEff CapBnd CapInh CapAmb)) {
  my $mask = hex($status{$set});
  my @held = map { $names[$_] } grep { ($mask >> $_) & 1 } 0 .. $#names;
  say_row("capabilities: " . {CapEff => "of its root", CapBnd => "that any program can get", CapInh => "inheritable", CapAmb => "ambient"}->{$set},
    @held ? join(" ", sort @held) : "none");
}
say_row("setuid programs (no_new_privs)", $status{NoNewPrivs} ? "do nothing" : "work");
say_row("system call filter", $status{Seccomp} == 2 ? "yes" : "no");

# --- system calls: name, number on x86_64, arguments that change nothing
my $buffer = "\0" x 256;
for my $call (
  ["mount", 165, 0, 0, 0, 0, 0], ["umount2", 166, "/none", 0], ["pivot_root", 155, "/none", "/none"], ["open_tree", 428, -1, "", 1],
  ["move_mount", 429, -1, "", -1, "", 0], ["fsopen", 430, 0, 0], ["mount_setattr", 442, -1, "", 0, 0, 0],
  ["unshare (user namespace)", 272, 0x10000000], ["unshare (mount namespace)", 272, 0x20000], ["setns", 308, -1, 0],
  ["clone (user namespace)", 56, 0x10000011, 0, 0, 0, 0], ["clone3", 435, 0, 0], ["chroot", 161, "/"],
  ["init_module", 175, 0, 0, 0], ["finit_module", 313, -1, 0, 0], ["kexec_load", 246, 0, 0, 0, 0], ["bpf", 321, 0, 0, 0],
  ["perf_event_open", 298, 0, 0, 0, 0, 0], ["userfaultfd", 323, 0], ["io_uring_setup", 425, 0, 0], ["keyctl", 250, 0, 0, 0],
  ["add_key", 248, 0, 0, 0, 0, 0], ["request_key", 249, 0, 0, 0, 0], ["settimeofday", 164, 0, 0], ["clock_settime", 227, 0, 0],
  ["reboot", 169, 0, 0, 0, 0], ["swapon", 167, 0, 0], ["acct", 163, "/none"], ["quotactl", 179, 0, 0, 0, 0], ["syslog", 103, 10, 0, 0],
  ["iopl", 172, 0], ["ioperm", 173, 0, 1, 0], ["sethostname", 170, 0, 0], ["vhangup", 153], ["kcmp", 312, 0, 0, 0, 0, 0],
  ["pidfd_getfd", 438, -1, -1, 0], ["process_madvise", 440, -1, 0, 0, 0, 0], ["open_by_handle_at", 304, -1, 0, 0],
  ["fanotify_init", 300, 0, 0], ["personality (no address randomisation)", 135, 0x40000], ["mbind", 237, 0, 0, 0, 0, 0, 0],
  ["move_pages", 279, 0, 0, 0, 0, 0, 0], ["ptrace (itself)", 101, 0, 0, 0, 0],
  ["socket AF_UNIX", 41, 1, 1, 0], ["socket AF_INET", 41, 2, 1, 0], ["socket AF_NETLINK", 41, 16, 3, 0], ["socket AF_VSOCK", 41, 40, 1, 0],
  ["socket AF_ALG", 41, 38, 5, 0], ["socket raw (ping)", 41, 2, 3, 1], ["socket AF_PACKET", 41, 17, 3, 0],
) {
  my ($name, $number, @args) = @$call;
  my $child = fork();
  if (!$child) {
    $! = 0;
    my $got = syscall($number, @args);
    exit($got >= 0 ? 0 : $! + 0);
  }
  waitpid($child, 0);
  say_row("system call: $name", word($? >> 8));
}

# --- mounts: the last one on each place is what is seen
my (%tops, %types, @places);
for my $line (split /\n/, slurp("/proc/self/mountinfo")) {
  my @field = split / /, $line;
  push @places, $field[4] unless $tops{$field[4]};
  ($types{$field[4]}) = $line =~ / - (\S+)/;
  $tops{$field[4]} = [grep { /^(ro|rw|nosuid|nodev|noexec)$/ } split /,/, $field[5]];
}
my @masked = qw(/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug
  /sys/firmware /sys/devices/virtual/powercap /proc/scsi);
my %masked = map { $_ => 1 } @masked;
for my $place (sort @places) {
  next if $masked{$place} || $place =~ m{^/sys/.} || $place =~ m{^/dev/(null|zero|full|random|urandom|tty)$};
  say_row("mount: $place", join(" ", @{$tops{$place}}));
}
my %flags; $flags{join(" ", @{$tops{$_}})}++ for grep { m{^/sys/.} && !$masked{$_} && $types{$_} ne "tmpfs" } @places;
say_row("mounts below /sys", %flags ? join("; ", sort keys %flags) : "none");
%flags = (); $flags{join(" ", @{$tops{$_}})}++ for grep { m{^/dev/(null|zero|full|random|urandom|tty)$} } @places;
say_row("mounts of single nodes in /dev", %flags ? join("; ", sort keys %flags) : "none");

# --- masked and read-only paths
my (@open, @changed);
for my $path (grep { -e $_ } @masked) {
  my $seen = -d $path ? do { opendir(my $d, $path); scalar grep { !/^\.\.?$/ } readdir $d } : length(slurp($path) // "");
  push @open, $path if $seen;
  push @changed, $path if utime(undef, undef, $path);
}
say_row("masked paths (" . join(", ", @masked) . ")", @open ? "open: @open" : "empty");
say_row("touching a masked path", @changed ? "may" : "refused");
for my $path (qw(/proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/drop_caches /sys/kernel/uevent_helper /sys/power/state)) {
  my $ok = open(my $out, '>>', $path); say_row("writing $path", $ok ? "may" : $! == 2 ? "refused" : word($! + 0) eq "read-only" ? "refused" : word($! + 0));
}
opendir(my $top, "/sys/fs/cgroup"); my @groups = ("/sys/fs/cgroup", map { "/sys/fs/cgroup/$_" } grep { !/^\./ } $top ? readdir $top : ());
say_row("writing its control groups", (grep { -e "$_/cgroup.procs" && open(my $out, ">>", "$_/cgroup.procs") } @groups) ? "may" : "refused");

# --- devices
opendir(my $dev, "/dev"); my @dev = sort grep { !/^(\.\.?|core|console)$/ } readdir $dev;
say_row("in /dev", "@dev");
for my $where ("/", "/tmp", "/dev", "/dev/shm", "/t", "/cache", "/bound") {
  my $made = "$where/made"; $made =~ s{^//}{/};
  my $error = syscall(133, $made, 0020666, 261) == 0 ? 0 : $! + 0;  # mknod of 1:5, a second /dev/zero
  my $opens = $error == 0 && open(my $in, '<', $made) ? "opens" : $error == 0 ? "does not open" : "cannot be made";
  say_row("a device node made in $where", $opens); unlink $made;
}
say_row("writing /dev/null", open(my $null, '>', "/dev/null") ? "may" : word($! + 0));
my $mode = (stat "/dev/null")[2] & 07777;
say_row("chmod of /dev/null", chmod(0600, "/dev/null") ? "may, it is its own" : word($! + 0)); chmod($mode, "/dev/null");
say_row("files for programs to come (/etc/hosts, /etc/resolv.conf)", open(my $hosts, '>>', "/etc/hosts") ? "may change" : word($! + 0));

# --- descriptors, processes, namespaces
opendir(my $fds, "/proc/self/fd"); my @fds = grep { /^\d+$/ && $_ > 2 && (readlink("/proc/self/fd/$_") // "") !~ m{^/proc/\d+/fd$} } readdir $fds;
my @inherited = grep { my $to = readlink("/proc/self/fd/$_") // ""; $to ne "/dev/null" && $to !~ m{^/(dev|proc|sys|etc)(/|$)} && $to !~ /probe/ } @fds;
say_row("descriptors beyond 0, 1 and 2", @inherited ? join(" ", map { readlink("/proc/self/fd/$_") } @inherited) : "none");
opendir(my $proc, "/proc"); my @pids = grep { /^\d+$/ } readdir $proc;
say_row("processes in sight", @pids <= 3 ? "its own" : "others too");
say_row("its process 1", readlink("/proc/1/root") // "refused");
for my $kind (qw(user mnt pid ipc uts net cgroup)) {
  print "ns:$kind\t", readlink("/proc/self/ns/$kind") // "none", "\n";
}

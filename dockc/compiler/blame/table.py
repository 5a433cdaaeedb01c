"""Every message of lowering by its form: the error's code, where to look for the words that it is about, and what to do.

The first row whose pattern is all of the message (without its suggestion) counts. Groups of the pattern may stand in the help as `{0}`,
`{1}`; `{keyword}` is the instruction's.
"""

from __future__ import annotations

from dockc.base.record import NamedTuple
from dockc.compiler.blame.places import (
    Place,
    all_of_it,
    argument,
    base,
    checksum,
    copy_from,
    destination,
    directive,
    exec_form,
    expanded,
    flag,
    last_line,
    mount,
    mount_from,
    mount_key,
    mount_of,
    mount_option,
    mount_target,
    nowhere,
    remote_source,
    stage_platform,
)


class Row(NamedTuple):
    """A form of message."""

    pattern: str
    code: str
    place: Place
    help: str = ""


_PLATFORM = "write OS/ARCHITECTURE, such as linux/amd64, linux/arm64 or linux/arm/v7"
_MODIFIERS = "known are ${{x:-word}} ${{x:+word}} ${{x:?word}}, the same without colon, and ${{x#pattern}} ${{x%pattern}} ${{x/pattern/word}}"
_QUOTE = "close the quote, or put the escape character before it"
_OPTIONS = "options are type, from, source, target, readonly, readwrite, id, sharing, required, size, mode, uid, gid and env"
_PORT = "write PORT, FIRST-LAST or either with /tcp or /udp; ports go from 0 to 65535"

#: A word that cannot be expanded. No pattern begins with what may be anything: messages hold text of the file, and that may be long.
_WORD = r'(?:failed to process arguments for platform : )?failed to process (".*"): '

ROWS: tuple[Row, ...] = (
    # words
    Row(_WORD + r'(unsupported modifier .*)', "bad-substitution", expanded, _MODIFIERS),
    Row(_WORD + r'(syntax error: bad substitution)', "bad-substitution", expanded, _MODIFIERS),
    Row(_WORD + r'(syntax error: missing \'/\' .*)', "bad-substitution", expanded, "write ${{name/pattern/word}}"),
    Row(_WORD + r'(syntax error: missing .*)', "bad-substitution", expanded, "write ${{name}}; a literal $ is \\$"),
    Row(_WORD + r'(unexpected end of statement .*)', "unclosed-quote", expanded, _QUOTE),
    Row(
        _WORD + r'(\w+: (?:is )?not allowed to be .*)',
        "unset-variable",
        expanded,
        "set it with ARG or ENV before this line, or with --build-arg",
    ),
    Row(_WORD + r'(.*)', "unset-variable", expanded, "set it with ARG or ENV before this line, or with --build-arg"),
    # FROM
    Row(r"base name \((.*)\) should not be blank", "blank-base", base, "give the ARG a default before the first FROM, or set it with --build-arg"),
    Row(
        r'failed to parse stage name (".*"): .* must be lowercase',
        "bad-image-name",
        base,
        "image names are lower case; only the tag after the colon may be upper case",
    ),
    Row(r'failed to parse stage name (".*"): .*', "bad-image-name", base, "write [HOST[:PORT]/]NAME[:TAG][@DIGEST]"),
    Row(r"empty platform value from expression (.*)", "bad-platform", stage_platform, "give the ARG a default before the first FROM"),
    Row(r"failed to parse platform (.*?): .*", "bad-platform", stage_platform, _PLATFORM),
    Row(r"dockerfile contains no stages to build", "no-stage", last_line, "add a stage: FROM IMAGE, or FROM scratch"),
    Row(r"(\S+): failed to resolve source metadata for .*", "image-not-available", base),
    Row(r"failed to parse (?:ref|image config)\b.*", "bad-image", base),
    Row(
        r"ONBUILD triggers (?:of image \S+ lead back to it|lead to more than \S+ further images)",
        "endless-triggers",
        base,
        "the triggers of this image read images with triggers of their own; use another base",
    ),
    Row(r"target stage (.*) could not be found", "unknown-target", nowhere),
    # who reads whom
    Row(r"invalid stage index (\d+)", "unknown-stage", copy_from, "stages are numbered from 0 in the order of their FROM; a name is safer"),
    Row(
        r"cannot copy from stage (\".*?\"), it needs .*",
        "later-stage",
        copy_from,
        "move that stage above this one; a stage can copy from earlier stages only",
    ),
    Row(
        r'cannot mount from stage (".*?") to .*',
        "later-stage",
        mount_from,
        "move that stage above this one; a stage can mount earlier stages only",
    ),
    Row(
        r"circular dependency detected on stage: (.*)",
        "circular-stages",
        base,
        "a stage cannot need itself, neither directly nor through another",
    ),
    Row(
        r"variable expansion is not supported for --from, .*",
        "variable-in-from",
        copy_from,
        "add FROM ${{NAME}} AS stage, with an ARG NAME before the first FROM, and copy from the stage",
    ),
    # RUN
    Row(r"arguments are required", "empty-command", exec_form, 'name a program: RUN ["program", "argument"]'),
    Row(r"parsing produced an invalid run command: .*", "empty-command", all_of_it, "a heredoc needs the shell form of RUN"),
    Row(r"unsupported mount type (.*)", "bad-mount", mount_option, "mounts are of type bind, cache, secret, ssh or tmpfs"),
    Row(r"unsupported sharing value (.*)", "bad-mount", mount_option, "write shared, private or locked"),
    Row(
        r"unexpected key '(.*)' for mount type '(.*)'",
        "bad-mount",
        mount_option,
        "a mount of type {1} has no such option (type= must stand before options of its own)",
    ),
    Row(r"unexpected key '.*' in '(.*)'", "bad-mount", mount_key, _OPTIONS),
    Row(r"invalid field '(.*)' must be a key=value pair", "bad-mount", mount_option, "write {0}=VALUE"),
    Row(r"invalid value for size: (.*)", "bad-mount", mount_option, "a number of bytes, or one with a unit, such as 64m"),
    Row(r"invalid value for \w+: (.*)", "bad-mount", mount_option, "write true or false"),
    Row(r"invalid value (.*) for mode", "bad-mount", mount_option, "write an octal number, such as 0755"),
    Row(r"invalid value (.*) for \w+", "bad-mount", mount_option, "write a number; names of users are not looked up here"),
    Row(r'(\w+) not allowed for ".*" type mounts', "bad-mount", mount_option, "{0}= belongs to mounts of type cache, secret and ssh"),
    Row(
        r'invalid mount target (".*")',
        "bad-mount",
        mount_target,
        "name a directory below /: target=/path",
    ),
    Row(r"secret mount should not have a (from)", "bad-mount", mount_of("type=secret", "from"), "a secret comes from --secret id=ID,src=FILE"),
    Row(r"secret mount should not define (sharing)", "bad-mount", mount_of("type=secret", "sharing"), "sharing= belongs to mounts of type cache"),
    Row(r"(?:invalid secret mount\. )?one of source, target required", "bad-mount", mount_of("type=secret"), "name the secret: type=secret,id=ID"),
    Row(r"both (source) and id can't be set", "bad-mount", mount_of("type=secret", "source", "src"), "keep id="),
    Row(r"invalid cache (sharing) set for .* mount", "bad-mount", mount_option, "sharing= belongs to mounts of type cache"),
    Row(r"ssh does not support (source)", "bad-mount", mount_of("type=ssh", "source", "src"), "name the agent with id="),
    Row(r"'(.*)' doesn't support variable expansion, .*", "variable-in-from", mount_option, "mount from a stage of this file"),
    Row(r"failed to parse csv mounts: .*", "bad-mount", mount, "write key=value,key=value; a value with a comma goes in double quotes"),
    # COPY and ADD
    Row(
        r"invalid chmod parameter: '(.*)'\. .*",
        "bad-mode",
        flag("chmod"),
        "write an octal mode, such as 0644, or a symbolic one, such as u+x,go-w",
    ),
    Row(r"invalid syntax", "bad-mode", flag("chmod"), "write an octal mode, such as 0644, or a symbolic one, such as u+x,go-w"),
    Row(r"source can't be a URL for COPY", "remote-copy", remote_source, "use ADD for URLs"),
    Row(r"source can't be a git ref for COPY", "remote-copy", remote_source, "use ADD for git repositories"),
    Row(r"checksum can't be specified for multiple sources", "bad-checksum", checksum, "write one ADD for each source"),
    Row(r"checksum requires HTTP\(S\) or Git sources", "bad-checksum", checksum, "files of the context need no checksum"),
    Row(r"(?:invalid|unsupported) (?:checksum )?digest .*", "bad-checksum", checksum, "write sha256: and 64 hexadecimal digits"),
    Row(r"checksum mismatch (\S+) != (\S+)", "bad-checksum", checksum, "the address and the flag name different commits"),
    Row(r"inconsistent keep-git-dir configuration", "git-conflict", flag("keep-git-dir"), "the address says otherwise: keep one of them"),
    Row(
        r"(?:unexpected query|query) (\".*?\").*|invalid \w+ value: (\".*\").*|\w+ conflicts: (\".*?\") vs \".*\"|branch conflicts with tag",
        "bad-git-address",
        remote_source,
        "git addresses take ?ref=, branch=, tag=, commit=, subdir=, keep-git-dir= and submodules=",
    ),
    # the image config
    Row(r"VOLUME specified can not be an empty string", "blank-name", argument, "name a directory"),
    Row(r"invalid signal: (.*)", "bad-signal", argument, "write a name, such as SIGTERM, or a number"),
    Row(r'invalid port: (".*"): .*', "bad-port", argument, _PORT),
    Row(r"invalid (?:container|host)Port: (.*)", "bad-port", argument, _PORT),
    Row(r"invalid ranges specified for container and host Ports: (.*) and (.*)", "bad-port", argument, "both ranges must have the same length"),
    Row(r"invalid IP address:? (.*?)(?:: .*)?", "bad-port", argument, "EXPOSE needs no address: write the port alone"),
    Row(r"EXPOSE names more than \d+ ports", "bad-port", all_of_it, "expose the ports that are really served"),
    Row(
        r"(?:removing drive letter|normalizing workdir|normalizing working directory): .*",
        "bad-path",
        destination,
        "on Windows, paths are on drive C:",
    ),
    # directives and the epoch
    Row(
        r'failed to parse check options: (?:failed to parse check option |invalid check option )"(?:error=)?(.*?)(?:=.*)?".*',
        "bad-check-directive",
        directive("check"),
        "write # check=skip=RULE,RULE or skip=all; error=true makes errors of warnings",
    ),
    Row(r"failed to parse check options: .*", "bad-check-directive", directive("check"), "write # check=skip=RULE,RULE or # check=error=true"),
    Row(r"lint violation found for rules: (.*)", "check-failed", directive("check"), "mend what the warnings above name, or drop error=true"),
    Row(r"SOURCE_DATE_EPOCH stage .*", "bad-epoch-stage", base, "the stage holds one ADD of one URL or git commit, and nothing else"),
    Row(r"invalid SOURCE_DATE_EPOCH: (.*)", "bad-epoch", nowhere, "write seconds since 1970"),
)

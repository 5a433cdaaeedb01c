"""`dockc completion SHELL`: a script that makes a shell complete dockc's lines; the answers come from
`line.complete`.
"""

from __future__ import annotations

from dockc.base.options import Options, argument
from dockc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.base.output import Output


class CompletionOptions(Options):
    """Print a script that teaches a shell to complete dockc's commands, options, stages, rules, passes and images."""

    shell: str = argument(required=True, help="bash, zsh or fish.", completes="bash|zsh|fish")
    examples = (
        "dockc completion bash > ~/.local/share/bash-completion/completions/dockc",
        "dockc completion zsh > ~/.zfunc/_dockc",
        "dockc completion fish > ~/.config/fish/completions/dockc.fish",
    )


def run(options: CompletionOptions, out: Output) -> int:
    """`dockc completion`."""
    script = SCRIPTS.get(options.shell)
    if script is None:
        raise UsageError(f"no completion for {options.shell}", hint=f"Choose one of {', '.join(SCRIPTS)}.")
    out.write(script)
    return 0


SCRIPTS = {
    "bash": r"""# bash completion of dockc
_dockc() {
    local line=${COMP_LINE:0:COMP_POINT} words word text typed
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    typed=${words[${#words[@]}-1]}
    COMPREPLY=()
    # bash breaks words at = and :, and replaces what follows the last of them
    local cut=${typed%"${2}"}
    while IFS=$'\t' read -r word text; do
        case $word in
            :file) COMPREPLY+=($(compgen -f -- "$2")); compopt -o filenames ;;
            :directory) COMPREPLY+=($(compgen -d -- "$2")); compopt -o filenames ;;
            *) COMPREPLY+=("${word#"$cut"}") ;;
        esac
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
}
complete -F _dockc dockc
""",
    "zsh": r"""#compdef dockc
_dockc() {
    local -a found
    local word text
    while IFS=$'\t' read -r word text; do
        case $word in
            :file) _files ;;
            :directory) _files -/ ;;
            *) found+=("${word//:/\\:}${text:+:$text}") ;;
        esac
    done < <("${words[1]}" __complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)
    (( ${#found} )) && _describe dockc found
}
if [ "$funcstack[1]" = "_dockc" ]; then _dockc "$@"; else compdef _dockc dockc; fi
""",
    "fish": r"""# fish completion of dockc
function __dockc_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    for line in ($words[1] __complete -- $words[2..-1] "$typed" 2>/dev/null)
        switch $line
            case ':file*'
                __fish_complete_path "$typed"
            case ':directory*'
                __fish_complete_directories "$typed"
            case '*'
                echo $line
        end
    end
end
complete -c dockc -f -a '(__dockc_complete)'
""",
}

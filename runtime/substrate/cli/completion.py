"""Shell completion: the script for a shell, and the answers it asks for.

click knows what may come next, from the commands `help.py` makes of the table. Its own scripts
ask through an environment variable read at every start; the runtime of an engine reads nothing
from the environment, so these scripts call the verb `completion --answer` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import get_completion_class

from substrate.cli.help import program
from substrate.cli.options import RUNTIME
from substrate.cli.terminal import write

if TYPE_CHECKING:
    from substrate.cli.grammar import Program
    from substrate.cli.parse import Arguments

# What comes back is what click's scripts read: a type (plain, dir, file), the word, its help.
_SCRIPTS = {
    "bash": """\
_substrate_runtime() {
    local reply type value
    COMPREPLY=()
    reply=$(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD "$1" completion --answer bash)
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done <<< "$reply"
}
complete -o nosort -F _substrate_runtime substrate-runtime
""",
    "zsh": """\
#compdef substrate-runtime
_substrate_runtime() {
    local -a reply described
    local type key help
    reply=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        substrate-runtime completion --answer zsh)}")
    for type key help in ${reply}; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                if [[ $help == _ ]]; then
                    compadd -U -- "$key"
                else
                    described+=("$key:$help")
                fi
                ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _substrate_runtime "$@"
else
    compdef _substrate_runtime substrate-runtime
fi
""",
    "fish": """\
function _substrate_runtime
    set -l reply (env COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \\
        substrate-runtime completion --answer fish)
    for line in $reply
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command substrate-runtime --arguments '(_substrate_runtime)'
""",
}


def run(arguments: Arguments) -> int:
    """Print the script of the shell, or with --answer what may come next on its line."""
    return show(RUNTIME, arguments)


def show(shown: Program, arguments: Arguments) -> int:
    """Do so for one program."""
    shell = arguments.operands[0]
    write(answer(shown, shell) if arguments.flag("answer") else _script(shown, shell))
    return 0


def answer(shown: Program, shell: str) -> str:
    """Return the completions of the line in COMP_WORDS and COMP_CWORD, as click's scripts do."""
    dialect = get_completion_class(shell)
    if dialect is None:
        return ""
    lines = dialect(program(shown), {}, shown.name, "").complete()
    return lines + "\n" if lines else ""


def _script(shown: Program, shell: str) -> str:
    function = "_" + shown.name.replace("-", "_")
    script = _SCRIPTS[shell].replace(RUNTIME.name, shown.name)
    return script.replace("_substrate_runtime", function)
